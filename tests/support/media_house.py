"""A media service with engines that stand still, for tests of what it decides."""

import asyncio
from dataclasses import dataclass, field

from signaling.engines import MediaEngine, MediaGrants
from signaling.engines.p2p import P2pEngine
from signaling.media_session import MediaService
from signaling.messages import EngineName, MediaStarted, StartMedia
from tests.support.clock import Clock
from tests.support.media_service import ChangingRights, PassiveEngine, RecordedOutbox

SILENT = MediaGrants(publish_audio=False, publish_video=False, publish_screen=False, subscribe=True)


@dataclass
class MediaHouse:
    outbox: RecordedOutbox = field(default_factory=RecordedOutbox)
    rights: ChangingRights = field(default_factory=ChangingRights)
    clock: Clock = field(default_factory=Clock)
    engines: dict[EngineName, MediaEngine] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.media = MediaService(
            self.engines,
            self.rights,
            self.outbox,
            turn_urls=["turn:turn.example.org:3478"],
            turn_secret="secret",
            clock=self.clock,
        )
        self.sfu = PassiveEngine(self.media.receive_engine_event)
        self.p2p = P2pEngine(self.media.receive_engine_event)
        self.engines.update(sfu=self.sfu, p2p=self.p2p)
        self.rights.engines["room"] = "sfu"
        self.rights.engines["private"] = "p2p"

    async def start(
        self, connection: str, *, who: str = "p", room: str = "room", session: str | None = None
    ) -> MediaStarted:
        """As the adapter does: the answer first, then what waited."""
        started = await self.media.start(room, who, connection, StartMedia(session_id=session))
        await asyncio.sleep(0)
        return started

    async def two_peers(self) -> tuple[str, str]:
        first = await self.start("c1", who="p1", room="private")
        later = await self.start("c2", who="p2", room="private")
        self.outbox.sent.clear()
        return first.session_id, later.session_id
