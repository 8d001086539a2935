"""The engine's handle on one worker process: started, watched, asked, restarted.

A worker is lost when its process ends, its socket closes, it speaks nonsense, owes an answer and has come to a
stop, or does not answer for `ANSWER_S`; whatever it was, it is killed and, after a pause that grows, started anew.
"""

import asyncio
import contextlib
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

import signaling
from signaling.engines import EngineEvent
from signaling.engines.sfu import control
from signaling.engines.sfu.control import Done, FrameReader, FrameTooLong, Happened, Ready, WorkerStatistics
from signaling.engines.sfu.stopped_process import LOOK_EVERY_S, ActivityWatch, read_activity
from signaling.voice_packet import VoiceRun

log = logging.getLogger(__name__)

START_S = 15.0
"""To import, bind and report ready; a busy two-core machine needs 2 s."""
ANSWER_S = 60.0
"""A command's answer; joins wait their turn, a whole worker full of them for 40 s."""
SIGN_OF_LIFE_S = 8.0
"""The statistics' answer, which waits for nothing: a worker that takes longer hangs, and is killed; one that has come
to a stop sooner."""
ASK_EVERY_S = 2.0
STOP_S = 3.0
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
COMING_BACK_S = 6.0
"""While other workers are up, the successor of one that was lost waits this long: its start costs a second of a core,
which those who come back to the others need first (5 s are promised to them)."""
STEADY_S = 30.0
"""A worker that lived this long begins with the first pause again."""
MAX_VOICE_UNSENT_BYTES = 256 << 10
"""A worker that is so far behind would play what is late."""
MAX_UNSENT_BYTES = 16 << 20
"""Commands that the worker has not taken: it hangs."""


_SOURCE = str(Path(signaling.__file__).resolve().parent.parent)
"""For a worker started from a checkout that is not installed."""


class WorkerLost(Exception):
    """The worker is not there (any more)."""


class _Link(asyncio.Protocol):
    """The engine's end of the control socket."""

    def __init__(self, on_report: Callable[[control.AnyReport], None], on_end: Callable[[], None]) -> None:
        self._on_report = on_report
        self._on_end = on_end
        self._reader = FrameReader()
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asserted: uvloop has transports of its own classes.
        self.transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._reader.feed(data):
                self._on_report(control.report_decoder.decode(frame))
        except (FrameTooLong, msgspec.DecodeError, KeyError):
            log.exception("a media worker's report cannot be read")
            if self.transport is not None:
                self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_end()


class WorkerProcess:
    """One life of a worker: `start`, `request`, `stop`. `lost` is set when it is over."""

    def __init__(self, arguments: Sequence[str], on_event: Callable[[EngineEvent], None]) -> None:
        self._arguments = arguments
        self._on_event = on_event
        self._process: asyncio.subprocess.Process | None = None
        self._link: _Link | None = None
        self._ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        self._waiting: dict[int, asyncio.Future[Done]] = {}
        self._next_request = 0
        self.lost = asyncio.Event()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def start(self) -> Ready:
        """Its UDP port, and how to try whether it can be reached. Raises: WorkerLost when it does not come up."""
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            path = os.pathsep.join(filter(None, (_SOURCE, os.environ.get("PYTHONPATH"))))
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "signaling.engines.sfu.worker",
                "--control-fd",
                str(theirs.fileno()),
                *self._arguments,
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": path},
                start_new_session=True,
            )
        link = self._link = _Link(self._receive, self._end)
        await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=ours)
        try:
            async with asyncio.timeout(START_S):
                return await self._ready
        except TimeoutError:
            raise WorkerLost("the media worker did not become ready") from None

    def _receive(self, report: control.AnyReport) -> None:
        match report:
            case Happened():
                self._on_event(control.event_of(report))
            case Done():
                waiting = self._waiting.pop(report.request, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(report)
            case Ready():
                if not self._ready.done():
                    self._ready.set_result(report)

    def _end(self) -> None:
        self.lost.set()
        for waiting in self._waiting.values():
            _fail(waiting)
        self._waiting.clear()
        _fail(self._ready)

    async def request(self, make: Callable[[int], control.AnyAnswered], timeout_s: float = ANSWER_S) -> Done:
        """Send the command that `make` makes of a request number, and wait for its answer.

        Raises: WorkerLost."""
        transport = None if self._link is None else self._link.transport
        if transport is None or transport.is_closing() or self.lost.is_set():
            raise WorkerLost("the media worker is gone")
        self._next_request += 1
        number = self._next_request
        waiting: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        transport.write(control.encode_frame(make(number)))
        if transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.kill()
        try:
            async with asyncio.timeout(timeout_s):
                return await waiting
        except TimeoutError:
            raise WorkerLost("the media worker does not answer") from None
        finally:
            self._waiting.pop(number, None)

    def tell_voice(self, session_id: str, runs: Sequence[VoiceRun]) -> None:
        """What a microphone sent by the signaling connection; lost when the worker is."""
        transport = None if self._link is None else self._link.transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size() > MAX_VOICE_UNSENT_BYTES:
            return
        transport.write(control.encode_frame(control.ReceiveVoice(session_id=session_id, runs=list(runs))))

    async def statistics(self) -> WorkerStatistics:
        """Raises: WorkerLost."""
        watching = asyncio.create_task(self._end_if_stopped())
        try:
            done = await self.request(lambda number: control.AskStatistics(request=number), SIGN_OF_LIFE_S)
        finally:
            watching.cancel()
        if done.statistics is None:
            raise WorkerLost("the media worker answered without statistics")
        return done.statistics

    async def _end_if_stopped(self) -> None:
        watch = ActivityWatch()
        while self.pid is not None:
            await asyncio.sleep(LOOK_EVERY_S)
            if watch.has_stopped(read_activity(self.pid)):
                log.error("a media worker has come to a stop")
                self.kill()
                return

    def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        if self._link is not None and self._link.transport is not None:
            self._link.transport.abort()

    async def stop(self) -> None:
        """Close its socket, which ends it; kill it when that takes too long."""
        if self._link is not None and self._link.transport is not None:
            self._link.transport.close()
        if self._process is None:
            return
        try:
            async with asyncio.timeout(STOP_S):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()


def _fail(waiting: asyncio.Future[Any]) -> None:
    if not waiting.done():
        waiting.set_exception(WorkerLost("the media worker is gone"))
        # Nobody may be waiting for it any more; then it is no news.
        waiting.exception()


class WorkerKeeper:
    """Keeps one worker alive from `start` to `stop`."""

    def __init__(
        self,
        arguments: Sequence[str],
        on_event: Callable[[EngineEvent], None],
        on_lost: Callable[[], None],
        has_others: Callable[[], bool] = lambda: False,
    ) -> None:
        """`on_lost` is called when a worker that was ready is gone, before the next one starts; `has_others`: whether
        other workers are up that its sessions can go to. When those end too, call `hurry`."""
        self._arguments = arguments
        self._on_event = on_event
        self._on_lost = on_lost
        self._has_others = has_others
        self._hurried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.current: WorkerProcess | None = None
        """The worker, once it is ready."""
        self.ready: Ready | None = None
        """What it, or the one before it, said at its start."""
        self.became_ready = asyncio.Event()
        self.restarts = 0
        self.statistics: WorkerStatistics | None = None
        self.cpu_share = 0.0
        """Of one core, between the last two answers."""

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            started_at = time.monotonic()
            was_ready = await self._one_life()
            pause = FIRST_PAUSE_S if time.monotonic() - started_at > STEADY_S else min(pause * 2, LONGEST_PAUSE_S)
            self.restarts += 1
            if was_ready and self._has_others():
                await self._let_them_come_back()
            await asyncio.sleep(pause)

    async def _let_them_come_back(self) -> None:
        self._hurried.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COMING_BACK_S):
                await self._hurried.wait()

    def hurry(self) -> None:
        """No worker is up: the next one is to start at once."""
        self._hurried.set()

    async def _one_life(self) -> bool:
        """Whether it was ready."""
        worker = WorkerProcess(self._arguments, self._on_event)
        try:
            self.ready = await worker.start()
            self.current = worker
            self.became_ready.set()
            await self._watch(worker)
        except (WorkerLost, OSError):
            log.exception("a media worker is lost")
            worker.kill()
        finally:
            was_ready = self.current is worker
            self.current = None
            self.became_ready.clear()
            await worker.stop()
        if was_ready:
            self._on_lost()
        return was_ready

    async def _watch(self, worker: WorkerProcess) -> None:
        self.statistics, self.cpu_share = None, 0.0
        asked_at = time.monotonic()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ASK_EVERY_S):
                    await worker.lost.wait()
            if worker.lost.is_set():
                raise WorkerLost("the media worker has ended")
            before: WorkerStatistics | None = self.statistics
            statistics = self.statistics = await worker.statistics()
            now = time.monotonic()
            if before is not None:
                self.cpu_share = max(0.0, statistics.cpu_s - before.cpu_s) / max(now - asked_at, 0.001)
            asked_at = now
