"""A media worker process: `python -m signaling.engines.sfu.worker`, started by the engine.

It holds rooms and one UDP port, and ends when the engine's socket closes, however that comes about.
"""

import argparse
import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import Sequence

import msgspec

from signaling.engines import EngineEvent
from signaling.engines.sfu import control
from signaling.engines.sfu.control import AnyReport, Done, FrameReader, FrameTooLong, Ready, encode_frame
from signaling.engines.sfu.hub import MediaHub
from signaling.engines.sfu.reachability import ReachabilityPeer
from signaling.engines.sfu.sdp import SdpError
from signaling.engines.sfu.udp import PortUnavailable, UdpMux

log = logging.getLogger("signaling.engines.sfu.worker")

MAX_UNSENT_BYTES = 16 << 20
"""Reports that the engine has not taken. A web process that far behind is as good as dead."""
EXIT_PORT_UNAVAILABLE = 3
EXIT_ENGINE_STALLED = 4
_INTERNAL = "the media worker could not handle it"


class ControlLink(asyncio.Protocol):
    """The worker's end of the control socket."""

    def __init__(self, hub_made: asyncio.Future[MediaHub]) -> None:
        self._hub_made = hub_made
        self._reader = FrameReader()
        self._transport: asyncio.WriteTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """The exit code."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(0)

    def _end(self, code: int) -> None:
        if not self.ended.done():
            self.ended.set_result(code)

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._reader.feed(data):
                self._receive(control.command_decoder.decode(frame))
        except (FrameTooLong, msgspec.DecodeError):
            log.exception("the engine's command cannot be read")
            self._end(1)

    def send(self, report: AnyReport) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(encode_frame(report))
        if self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self._end(EXIT_ENGINE_STALLED)

    def emit(self, event: EngineEvent) -> None:
        self.send(control.event_report(event))

    def _receive(self, command: control.AnyCommand) -> None:
        hub = self._hub_made.result()
        match command:
            case control.PublishOffer() | control.AcceptWhip() | control.AcceptWhep():
                # These may wait for their turn to join; what follows them need not.
                task = asyncio.create_task(self._answer_later(hub, command))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case control.ReceiveVoice():
                _take_voice(hub, command)
            case _:
                self.send(_obey_safely(hub, command))

    async def _answer_later(
        self, hub: MediaHub, command: control.PublishOffer | control.AcceptWhip | control.AcceptWhep
    ) -> None:
        done = Done(request=command.request)
        try:
            match command:
                case control.PublishOffer():
                    await hub.receive_publish_offer(command.session_id, command.negotiation, command.sdp, command.media)
                case control.AcceptWhip():
                    done.sdp = await hub.accept_whip(command.session_id, command.sdp)
                case control.AcceptWhep():
                    done.sdp = await hub.accept_whep(command.session_id, command.sdp)
        except SdpError as error:
            done.refused = str(error)
        except KeyError:
            done.gone = True
        except Exception:
            log.exception("a command could not be carried out")
            done.refused = _INTERNAL
        self.send(done)


def _take_voice(hub: MediaHub, command: control.ReceiveVoice) -> None:
    try:
        hub.receive_voice(command.session_id, command.runs)
    except Exception:
        log.exception("a voice could not be taken")


def _obey_safely(hub: MediaHub, command: control.AnyAnswered) -> Done:
    """One session's command must not end the worker for all rooms."""
    try:
        return _obey(hub, command)
    except Exception:
        log.exception("a command could not be carried out")
        return Done(request=command.request, refused=_INTERNAL)


def _obey(hub: MediaHub, command: control.AnyAnswered) -> Done:
    done = Done(request=command.request)
    match command:
        case control.OpenSession():
            hub.open_session(command.room_id, command.session_id, command.participant_id, command.grants)
        case control.SetGrants():
            hub.set_grants(command.session_id, command.grants)
        case control.CloseSession():
            hub.close_session(command.session_id)
        case control.SubscribeAnswer():
            try:
                hub.receive_subscribe_answer(command.session_id, command.negotiation, command.sdp)
            except SdpError as error:
                done.refused = str(error)
        case control.SetMuted():
            hub.set_track_muted(command.session_id, command.track_id, command.muted)
        case control.Unpublish():
            hub.unpublish(command.session_id, command.track_id)
        case control.SetSubscription():
            hub.subscribe(command.session_id, command.wanted)
        case control.SetLayout():
            hub.set_layout(command.session_id, command.shown)
        case control.SetFallback():
            try:
                hub.set_fallback(command.session_id, command.wish)
            except SdpError as error:
                done.refused = str(error)
        case control.Rebuild():
            hub.rebuild(command.session_id, command.pc)
        case control.AskStatistics():
            done.statistics = hub.statistics()
    return done


async def run_worker(control_fd: int, addresses: Sequence[str], port: int) -> int:
    """Serve until the socket closes; the exit code."""
    loop = asyncio.get_running_loop()
    hub_made: asyncio.Future[MediaHub] = loop.create_future()
    sock = socket.socket(fileno=control_fd)
    sock.setblocking(False)
    link = ControlLink(hub_made)
    mux = UdpMux(addresses, port)
    hub = MediaHub(mux, link.emit)
    try:
        hub.open()
    except PortUnavailable as error:
        log.error("%s", error)
        return EXIT_PORT_UNAVAILABLE
    hub_made.set_result(hub)
    await loop.create_unix_connection(lambda: link, sock=sock)
    # What was made so far lives as long as the process; collections need not look at it again.
    gc.freeze()
    reachability = ReachabilityPeer(mux)
    link.send(Ready(mux.candidates[0][1], reachability.ufrag, reachability.password))
    code = await link.ended
    await hub.close()
    return code


def main() -> int:
    parser = argparse.ArgumentParser(prog="signaling.engines.sfu.worker")
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--address", action="append", required=True)
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s media-worker %(levelname)s %(message)s")
    # The engine ends its workers when it has drained; a terminal's Ctrl-C must not do it before.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return asyncio.run(run_worker(arguments.control_fd, arguments.address, arguments.port))


if __name__ == "__main__":
    sys.exit(main())
