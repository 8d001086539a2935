"""Sound and pictures by aiortc: publish any `MediaStreamTrack`, receive everybody's.

A media session lives on a link: by way of a server (`server_link`), or from peer to peer
(`peer_link`). Whatever concerns it is done one after the other, in the order in which it was asked
for or arrived.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, overload

import msgspec
from aiortc.mediastreams import MediaStreamTrack

from passerelle_client.emitter import Emitter, Unsubscribe
from passerelle_client.errors import Disconnected, PasserelleError, Refused
from passerelle_client.freeze_hold import is_held
from passerelle_client.media_link import KINDS, LocalTrack, MediaLink, ReceivedTrack, Source, configuration_of
from passerelle_client.media_tracks import IncomingTrack, OutgoingTrack, Reception
from passerelle_client.peer_link import PeerLink
from passerelle_client.protocol import (
    LayersWanted,
    MediaClosed,
    MediaStarted,
    RoomView,
    Track,
    TrackMutedByHost,
)
from passerelle_client.server_link import ServerLink

if TYPE_CHECKING:
    from passerelle_client.room import Room

logger = logging.getLogger("passerelle_client")

MediaState = Literal["idle", "connecting", "connected", "failed"]
TrackIdEvent = Literal["remote_track_ended", "local_track_ended", "muted_by_host"]
EVENTS = (
    "media_description",
    "media_candidate",
    "media_peer_joined",
    "media_peer_left",
    "media_closed",
    "media_muted",
    "media_layers",
)
PERMISSIONS: dict[str, str] = {
    "camera": "publish_video",
    "microphone": "publish_audio",
    "screen": "publish_screen",
    "screen_audio": "publish_screen",
}
RESTART_DELAY_S = 1.0
"""Pause before a session is begun anew that could not be begun, or did not last."""
CALM_S = 10.0
"""A session that lasted so long is begun anew at once."""


@dataclass(frozen=True, slots=True)
class RemoteTrack:
    """A track of somebody else, as it arrives."""

    track: Track
    """As it was when it appeared; `room.view.tracks` says how it is now (muted or not)."""
    media_stream_track: IncomingTrack
    """`await recv()` for its frames. It goes on when a connection is rebuilt."""


@dataclass(slots=True)
class _Job:
    work: Callable[[], Awaitable[Any]]
    done: "asyncio.Future[Any] | None" = None


class Media(Emitter):
    """The media of one participant in a room: `room.media`."""

    def __init__(self, room: "Room") -> None:
        super().__init__()
        self.state: MediaState = "idle"
        self.engine: str | None = None
        self.local_tracks: dict[str, LocalTrack] = {}
        self.remote_tracks: dict[str, RemoteTrack] = {}
        self.configuration = configuration_of(())
        self._room = room
        self._session_id: str | None = None
        self._link: MediaLink | None = None
        self._wanted: dict[str, int | None] | None = None
        self._layout: dict[str, tuple[int, int]] | None = None
        self.without_sound = False
        self._is_wanted = False
        self._begun_at = 0.0
        self._reception = Reception()
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._worker: asyncio.Task[None] | None = None
        self._timers: set[asyncio.TimerHandle] = set()
        self._is_closed = False
        self._off = [
            room.listen(event, lambda payload, event=event: self.do_soon(lambda: self._handle(event, payload)))
            for event in EVENTS
        ]
        self._off.append(room.on("state", self._connection_state))
        self._off.append(room.on("view", self._view_changed))

    @overload
    def on(self, event: Literal["state"], listener: Callable[[MediaState], None]) -> Unsubscribe: ...
    @overload
    def on(self, event: Literal["remote_track"], listener: Callable[[RemoteTrack], None]) -> Unsubscribe: ...
    @overload
    def on(
        self,
        event: Literal["remote_track_ended", "local_track_ended", "muted_by_host"],
        listener: Callable[[str], None],
    ) -> Unsubscribe: ...

    @overload
    def on(self, event: Literal["layers_wanted"], listener: Callable[[str, int], None]) -> Unsubscribe: ...

    def on(self, event: str, listener: Callable[..., None]) -> Unsubscribe:
        """`remote_track`: somebody's track arrives; `remote_track_ended`, `local_track_ended` (a file
        is at its end) and `muted_by_host` give the track's id; `layers_wanted` one's own picture's id and how many of
        its layers anybody looks at, of what is sent here 0 or 1: at 0 a source that costs something may rest."""
        return self.listen(event, listener)

    # --- what one can do ----------------------------------------------------------------------

    async def start(self, *, without_sound: bool = False) -> None:
        """Begin to receive everything, and to send what is published. Once admitted; comes back by
        itself whenever it was lost. `without_sound`: for a device beside one that has the sound; none
        comes, and none may be published. Raises: Refused, Disconnected, Removed."""
        self._is_wanted = True
        self.without_sound = without_sound
        self._set_state("connecting")
        try:
            await self._do(self._begin)
        except BaseException:
            self._is_wanted = False
            self._set_state("idle")
            raise

    async def publish(self, track: MediaStreamTrack, source: Source, *, muted: bool = False) -> LocalTrack:
        """Send a track to the room; before `start` it waits for it. When it ends, it is unpublished.

        Raises: ValueError when the source is not of the track's kind; Refused; Disconnected."""
        if KINDS[source] != track.kind:
            raise ValueError(f"a {source} is {KINDS[source]}, this track is {track.kind}")
        track_id = uuid.uuid4().hex
        outgoing = OutgoingTrack(track, muted, lambda: self.do_soon(lambda: self._local_track_ended(track_id)))
        local = LocalTrack(track_id, source, track, outgoing)
        await self._do(lambda: self._publish(local))
        return local

    async def unpublish(self, track_id: str) -> None:
        """Stop sending it. The track that was given goes on. Raises: Refused, Disconnected."""
        await self._do(lambda: self._unpublish(track_id))

    async def set_muted(self, track_id: str, muted: bool) -> None:
        """Raises: KeyError; Refused, Disconnected (what is muted here is silent all the same)."""
        local = self.local_tracks[track_id]
        local.outgoing.is_muted = muted
        await self._do(lambda: self._tell_muted(local))

    async def subscribe(self, wanted: Mapping[str, int | None]) -> None:
        """Receive these tracks alone, by id, each with the height at which it is shown (None: whatever
        there is). Until this is called everything is received. Raises: Refused, Disconnected."""
        self._wanted = dict(wanted)
        await self._do(self._tell_wanted)

    async def set_layout(self, shown: Mapping[str, tuple[int, int]]) -> None:
        """Receive the pictures of these tracks alone, by id, each with the size (width, height) in pixels at
        which it is shown; sounds all come. Until this is called all pictures come. Raises: Refused,
        Disconnected."""
        self._layout = dict(shown)
        await self._do(self._tell_layout)

    async def stop(self) -> None:
        """End the session; what is published is kept for the next `start`."""
        self._is_wanted = False
        await self._do(self._end)

    async def close(self) -> None:
        """For the room: end everything, and do not wait for the server."""
        if self._is_closed:
            return
        self._is_closed = True
        for off in self._off:
            off()
        for timer in self._timers:
            timer.cancel()
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        while not self._jobs.empty():
            job = self._jobs.get_nowait()
            if job.done is not None and not job.done.done():
                job.done.set_exception(Disconnected("closed"))
        if self._session_id is not None:
            self._room.tell("media_stop", session_id=self._session_id)
        await self._drop_link()
        await self._reception.close()
        self._set_state("idle")

    # --- one after the other --------------------------------------------------------------------

    async def _do(self, work: Callable[[], Awaitable[Any]]) -> Any:
        if self._is_closed:
            raise Disconnected("closed")
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._put(_Job(work, done))
        return await done

    def do_soon(self, work: Callable[[], Awaitable[Any]], delay_s: float = 0.0) -> None:
        """For links: see LinkHost."""
        if self._is_closed:
            return
        if delay_s <= 0.0:
            self._put(_Job(work))
            return

        def due() -> None:
            self._timers.discard(timer)
            self.do_soon(work)

        timer = asyncio.get_running_loop().call_later(delay_s, due)
        self._timers.add(timer)

    def _put(self, job: _Job) -> None:
        self._jobs.put_nowait(job)
        if self._worker is None:
            self._worker = asyncio.create_task(self._run(), name="passerelle media")

    async def _run(self) -> None:
        while True:
            job = await self._jobs.get()
            try:
                result = await job.work()
            except Exception as error:
                self._failed(job, error)
            else:
                if job.done is not None and not job.done.done():
                    job.done.set_result(result)

    def _failed(self, job: _Job, error: Exception) -> None:
        if job.done is not None and not job.done.done():
            job.done.set_exception(error)
        elif isinstance(error, PasserelleError):
            logger.warning("media: %s", error)
        else:  # what one peer sends must not stop the others
            logger.error("media: a message could not be handled", exc_info=error)

    # --- the session ----------------------------------------------------------------------------

    async def _begin(self) -> None:
        """A session, the old one if the server still has it."""
        if not self._is_wanted:
            return
        answer = await self._room.command("media_start", session_id=self._session_id, without_sound=self.without_sound)
        started = msgspec.convert(answer, MediaStarted)
        self.configuration = configuration_of(started.ice_servers)
        if started.resumed and self._link is not None:
            await self._link.resume(started)
            told = {wanted.track_id: wanted.layers for wanted in started.layers}
            for track_id, local in self.local_tracks.items():
                if local.outgoing.kind == "video" and self.engine != "p2p":
                    self.emit("layers_wanted", track_id, told.get(track_id, 1))  # what was said may have been lost
            await self._tell_choice()
            self.changed()
            return
        await self._drop_link()
        self._begun_at = asyncio.get_running_loop().time()
        self._session_id, self.engine = started.session_id, started.engine
        self._hold()
        if started.engine == "p2p":
            peers = self._link = PeerLink(self)
            await peers.greet(started.peers)
            await self._tell_choice()
        else:
            self._link = ServerLink(self)
            await self._tell_choice()  # first: what is not wanted need not be offered
            if self.local_tracks:
                await self._link.local_tracks_changed()
        self.changed()

    async def _begin_again(self) -> None:
        try:
            await self._begin()
        except Refused as error:
            logger.warning("media: not begun again: %s", error)
            self.do_soon(self._begin_again, RESTART_DELAY_S)
        except Disconnected:
            return  # the next connection comes back to it

    def begin_anew(self) -> None:
        """For links: see LinkHost."""
        lasted_s = asyncio.get_running_loop().time() - self._begun_at
        self.do_soon(self._begin_anew, 0.0 if lasted_s > CALM_S else RESTART_DELAY_S)

    async def _begin_anew(self) -> None:
        self._session_id = None
        self._set_state("connecting")
        await self._begin_again()

    async def _end(self) -> None:
        session_id, self._session_id = self._session_id, None
        await self._drop_link()
        self._set_state("idle")
        if session_id is not None:
            await self._room.command("media_stop", session_id=session_id)

    async def _drop_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()
        self.received([])

    async def _publish(self, local: LocalTrack) -> None:
        self.local_tracks[local.id] = local
        self._hold()
        if self._link is None:
            return
        try:
            await self._link.local_tracks_changed()
        except Refused:
            del self.local_tracks[local.id]
            self.begin_anew()  # the offer cannot be taken back
            raise

    async def _unpublish(self, track_id: str) -> None:
        local = self.local_tracks.pop(track_id, None)
        if local is None:
            return
        local.outgoing.is_muted = True  # at once, however long the negotiation takes
        try:
            if self._link is not None:
                await self._link.local_tracks_changed()
                await self.signal("media_unpublish", track_id=track_id)
        finally:
            local.outgoing.release()

    async def _local_track_ended(self, track_id: str) -> None:
        if track_id in self.local_tracks:
            self.emit("local_track_ended", track_id)
            await self._unpublish(track_id)

    async def _tell_muted(self, local: LocalTrack) -> None:
        if self._link is not None and local.id in self.local_tracks:
            await self.signal("media_mute", track_id=local.id, muted=local.muted)

    async def _tell_choice(self) -> None:
        """What is to be received, which a new session does not know, and one that goes on may not have heard."""
        with contextlib.suppress(Disconnected):  # the next connection comes back to it
            await self._tell_wanted()
            await self._tell_layout()

    async def _tell_wanted(self) -> None:
        if self._link is not None and self._wanted is not None:
            tracks = [{"track_id": track_id, "max_height": height} for track_id, height in self._wanted.items()]
            await self.signal("media_subscribe", tracks=tracks)

    async def _tell_layout(self) -> None:
        if self._link is not None and self._layout is not None and self.engine != "p2p":
            tracks = [
                {"track_id": track_id, "width": width, "height": height}
                for track_id, (width, height) in self._layout.items()
            ]
            await self.signal("media_layout", tracks=tracks)

    # --- what arrives -----------------------------------------------------------------------------

    def _connection_state(self, state: str) -> None:
        if state == "connected" and self._is_wanted:
            self.do_soon(self._begin_again)

    def _hold(self) -> None:
        """Bring every track in line with the room: it froze or thawed, or tracks changed."""
        view = self._room.view
        is_ours_held = view is not None and self._is_held(view.self_id)
        for local in self.local_tracks.values():
            local.outgoing.is_held = is_ours_held
        for remote in self.remote_tracks.values():
            remote.media_stream_track.hold(self._is_held(remote.track.participant_id))

    def _is_held(self, participant_id: str) -> bool:
        return is_held(self._room.view, self.engine, participant_id)

    def _view_changed(self, view: RoomView) -> None:
        """What may no longer be sent is sent no longer."""
        self._hold()
        for local in tuple(self.local_tracks.values()):
            if PERMISSIONS[local.source] not in view.permissions and self._link is not None:
                local.outgoing.is_muted = True
                self.do_soon(partial(self._local_track_ended, local.id))

    async def _handle(self, event: str, payload: Any) -> None:
        if payload.get("session_id") != self._session_id or self._link is None:
            return
        if event == "media_closed":
            await self._closed(msgspec.convert(payload, MediaClosed))
        elif event == "media_muted":
            track_id = msgspec.convert(payload, TrackMutedByHost).track_id
            if (local := self.local_tracks.get(track_id)) is not None:
                local.outgoing.is_muted = True
                self.emit("muted_by_host", track_id)
        elif event == "media_layers":
            wanted = msgspec.convert(payload, LayersWanted)
            if wanted.track_id in self.local_tracks:
                self.emit("layers_wanted", wanted.track_id, wanted.layers)
        else:
            await self._link.receive(event, payload)

    async def _closed(self, message: MediaClosed) -> None:
        assert self._link is not None
        if not message.retry:
            self._session_id, self._is_wanted = None, False
            await self._drop_link()
            self._set_state("failed")
        elif message.pc is not None:
            await self._link.lost_by_server(message.pc)
        else:
            await self._begin_anew()

    # --- for links: see LinkHost ------------------------------------------------------------------

    async def signal(self, event: str, **fields: Any) -> Any:
        session_id = self._session_id
        try:
            return await self._room.command(event, session_id=session_id, **fields)
        except Refused as error:
            if error.code != "unknown-session":
                raise
            # It was begun over a connection that has been replaced since.
            if session_id == self._session_id:
                self.begin_anew()
            raise Disconnected(str(error)) from error

    def expects_media(self, track_ids: Collection[str] | None = None) -> bool:
        view = self._room.view
        if view is None or "subscribe_media" not in view.permissions:
            return False
        wanted = self._wanted if track_ids is None else track_ids
        return any(
            not track.muted
            and not self._is_held(track.participant_id)
            and not (self.without_sound and track.kind == "audio")
            and track.participant_id != view.self_id
            and (wanted is None or track.id in wanted)
            for track in view.tracks
        )

    def received(self, tracks: Sequence[ReceivedTrack]) -> None:
        now = {each.media.track_id: each for each in tracks}
        for track_id in self.remote_tracks.keys() - now.keys():
            remote = self.remote_tracks.pop(track_id)
            remote.media_stream_track.stop()
            self.emit("remote_track_ended", track_id)
        appeared: list[RemoteTrack] = []
        for track_id in now.keys() - self.remote_tracks.keys():
            remote = RemoteTrack(self._described(now[track_id]), IncomingTrack(now[track_id].kind))
            self.remote_tracks[track_id] = remote
            appeared.append(remote)
        self._hold()
        self._reception.connect(
            {each.media_stream_track: self.remote_tracks[track_id].media_stream_track for track_id, each in now.items()}
        )
        for remote in appeared:
            self.emit("remote_track", remote)

    def _described(self, received: ReceivedTrack) -> Track:
        """As the room knows it; the room's word may come a moment later than the track."""
        for track in self._room.view.tracks if self._room.view is not None else []:
            if track.id == received.media.track_id:
                return track
        return Track(
            id=received.media.track_id,
            participant_id=received.media.participant_id,
            session_id="",
            source="camera" if received.kind == "video" else "microphone",
            kind="video" if received.kind == "video" else "audio",
            muted=False,
        )

    def changed(self) -> None:
        if self._link is not None and self.state in ("connecting", "connected"):
            self._set_state("connected" if self._link.is_connected else "connecting")

    def _set_state(self, state: MediaState) -> None:
        if state != self.state:
            self.state = state
            self.emit("state", state)


__all__ = ["IncomingTrack", "LocalTrack", "Media", "MediaState", "RemoteTrack"]
