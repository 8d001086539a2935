"""A class behind the proxy: people with the Python SDK, over WebSocket and long polling, who write one text."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pycrdt

from passerelle_client import PasserelleApi, Room
from passerelle_client.document import SharedDocument
from tests.support.cluster import API_KEY
from tests.support.deadlines import SECOND

DOCUMENT = "texte"
DEADLINE_S = 20 * SECOND


@dataclass(eq=False)
class Member:
    """One participant. `wrote`: each of their words, which nobody else has; `back_at`: when each connection stood, in
    seconds of the monotonic clock."""

    name: str
    role: str
    room: Room
    document: SharedDocument
    wrote: list[str] = field(default_factory=list)
    back_at: list[float] = field(default_factory=list)
    lost: int = 0

    @property
    def text(self) -> str:
        return str(self.document.doc.get("text", type=pycrdt.Text))

    @property
    def instance(self) -> str | None:
        """Where the proxy's cookie keeps them; None while they have no connection."""
        client = self.room._connection._client
        if client is None or client.eio.http is None:
            return None
        return next((cookie.value for cookie in client.eio.http.cookie_jar if cookie.key == "PASSERELLE"), None)

    def write(self, more: str = "") -> None:
        """A word that nobody else has, which ends with `more`."""
        word = f"<{self.name}-{len(self.wrote)}>{more}"
        self.wrote.append(word)
        text = self.document.doc.get("text", type=pycrdt.Text)
        text += word

    def _state(self, state: str) -> None:
        if state == "connected":
            self.back_at.append(time.monotonic())
        elif state == "reconnecting":
            self.lost += 1


class ClusterClass:
    """Made by `class_behind`. `members[0]` is the host."""

    def __init__(
        self, url: str, room_id: str, api: PasserelleApi, members: list[Member], codes: dict[str, str]
    ) -> None:
        self.url = url
        self.room_id = room_id
        self.api = api
        self.members = members
        self.codes = codes

    @property
    def host(self) -> Member:
        return self.members[0]

    async def join(self, role: str, transport: Any) -> Member:
        number = len(self.members)
        joined = await self.api.join(f"Élève {number}", code=self.codes[role])
        return await self.enter(f"{number}", role, joined.token, transport)

    async def enter(self, name: str, role: str, token: str, transport: Any, url: str = "") -> Member:
        room = Room(url or self.url, token, transports=[transport])
        member = Member(name, role, room, room.document(DOCUMENT))
        self.members.append(member)
        room.on("state", member._state)
        async with asyncio.timeout(DEADLINE_S):
            await room.open()
            await member.document.when_synced()
        return member

    async def until(self, condition: Callable[[], Any], seconds: float = 20) -> None:
        """Raises: TimeoutError."""
        async with asyncio.timeout(seconds * SECOND):
            while not condition():
                await asyncio.sleep(0.02)

    async def until_all_read_all(self, members: Sequence[Member] | None = None) -> None:
        """Until each has every word of everyone, once, and everything is saved. Raises: AssertionError."""
        members = self.members if members is None else members
        words = [word for member in self.members for word in member.wrote]
        texts: set[str] = set()

        def done() -> bool:
            nonlocal texts
            texts = {member.text for member in members}
            return len(texts) == 1 and all(member.document.state == "saved" for member in members)

        try:
            await self.until(done)
        except TimeoutError:
            states = {member.name: (member.document.state, member.room.connection_state) for member in members}
            raise AssertionError(f"{len(texts)} texts; {states}") from None
        (text,) = texts
        assert {word: text.count(word) for word in words if text.count(word) != 1} == {}

    async def close(self) -> None:
        await asyncio.gather(*(member.room.close() for member in self.members))


@asynccontextmanager
async def class_behind(
    url: str, people: Sequence[tuple[str, str]] = (), kind: str = "interclass", host_transport: str = "websocket"
) -> AsyncIterator[ClusterClass]:
    """A room made through the proxy, its host, and `people`: role and transport of each."""
    async with PasserelleApi(url) as api:
        created = await api.create_room("Les oiseaux", kind=kind, host_name="Mme Roy", api_key=API_KEY)
        codes = {}
        for role in {role for role, _transport in people}:
            made = await api.create_invitation(created.room.id, created.token, role, lobby=False)
            codes[role] = made.code
        here = ClusterClass(url, created.room.id, api, [], codes)
        try:
            await here.enter("0", "host", created.token, host_transport)
            for role, transport in people:
                await here.join(role, transport)
            yield here
        finally:
            await here.close()
