"""What people may do, told to media and documents: asked of the permissions table, and followed when it changes."""

import asyncio

import structlog

from rooms.events import RoomConfigured
from rooms.manager import RoomChange, RoomManager
from rooms.models import ParticipantStatus, RoomKind
from rooms.roles import Permission
from server.house import House
from signaling.engines import MediaGrants
from signaling.messages import EngineName

logger = structlog.get_logger(__name__)


class RoomMediaRights:
    """`signaling.media_session.MediaRights`, from the permissions table. `server_engine` carries every room
    whose media may touch a server."""

    def __init__(self, rooms: RoomManager, server_engine: EngineName) -> None:
        self._rooms = rooms
        self._server_engine = server_engine

    def engine_of(self, room_id: str) -> EngineName:
        """A private room's media never touch a server; an unknown room is taken for one."""
        kind = self._rooms.kind_of(room_id)
        return "p2p" if kind is None or kind is RoomKind.CONSULTATION else self._server_engine

    def grants_of(self, room_id: str, participant_id: str) -> MediaGrants:
        def can(permission: Permission) -> bool:
            return self._rooms.can(room_id, participant_id, permission)

        return MediaGrants(
            publish_audio=can(Permission.PUBLISH_AUDIO),
            publish_video=can(Permission.PUBLISH_VIDEO),
            publish_screen=can(Permission.PUBLISH_SCREEN),
            subscribe=can(Permission.SUBSCRIBE_MEDIA),
        )

    def is_silenced(self, room_id: str, participant_id: str) -> bool:
        return self._rooms.is_silenced(room_id, participant_id)


class RightsFollow:
    """What somebody may do changed, or they are out: documents and media follow at once."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, change: RoomChange) -> None:
        house = self._house
        if any(isinstance(event, RoomConfigured) for _before, _after, event in change.steps):
            house.documents.rights_changed(room_id=change.room_id)
            self._spawn(house.media.refresh_grants(change.room_id))
        if change.before.watch.is_frozen != change.after.watch.is_frozen:
            house.documents.rights_changed(room_id=change.room_id)
            self._spawn(house.media.follow_silence(change.room_id))
            self._note_freeze(change)
        for person_id, person in change.after.participants.items():
            old = change.before.participants.get(person_id)
            if old is not None and old.status is ParticipantStatus.ADMITTED and person.status is not old.status:
                house.documents.rights_changed(room_id=change.room_id, participant_id=person_id)
                self._spawn(house.media.remove_participant(change.room_id, person_id))

    def _note_freeze(self, change: RoomChange) -> None:
        """Counted once: where it was decided."""
        if self._house.sharing is not None and not self._house.sharing.is_home(change.room_id):
            return
        freeze = change.after.watch.freeze
        if change.after.watch.is_frozen:
            self._house.metrics.count_freeze()
            logger.warning("room_frozen", room_id=change.room_id)
        elif freeze is not None and freeze.until is not None:
            logger.info("room_thawed", room_id=change.room_id, frozen_for_s=round(freeze.until - freeze.since, 1))

    def _spawn(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
