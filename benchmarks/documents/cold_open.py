"""Opening a text of 260,000 edits that nobody has open: by one, and by thirty at the same moment."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pycrdt

from benchmarks.documents.client import Probe
from benchmarks.documents.dialects import Dialect
from benchmarks.documents.reading import Reader, read_text
from benchmarks.documents.scenarios import Column, running
from benchmarks.documents.servers import (
    HOCUSPOCUS,
    PASSERELLE,
    PYCRDT_WEBSOCKET,
    Y_WEBSOCKET_SERVER,
    RunningServer,
    Server,
)
from benchmarks.documents.yjs_bytes import UPDATE, sync_message
from tests.support.documents import generated_updates, recorded_history
from tests.support.traces import trace_folder

TRACE = "b4-automerge-paper"
EDITS_PER_UPDATE = 1_000
GENERATED_EDITS = 260_000
AT_ONCE = 30


class History:
    """The recorded editing of a paper, or, where it is not at hand, as much that a generator makes."""

    def __init__(self) -> None:
        folder = trace_folder()
        self.is_recorded = folder is not None and (folder / f"{TRACE}.yupdates.gz").is_file()
        if self.is_recorded:
            edits = recorded_history(TRACE).updates
        else:
            edits = generated_updates(seed=4, count=GENERATED_EDITS)
        # Merged as they are, without an engine: its differences would each repeat all that is deleted.
        self.updates = [
            pycrdt.merge_updates(*edits[start : start + EDITS_PER_UPDATE])
            for start in range(0, len(edits), EDITS_PER_UPDATE)
        ]
        doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
        text = doc.get("text", type=pycrdt.Text)
        for update in self.updates:
            doc.apply_update(update)
        self.edits = len(edits)
        self.text = str(text)
        self.state_vector = doc.get_state()
        self.size_bytes = len(doc.get_update())


class ColdOpen:
    key = "cold-open"
    title = "Cold open of a text with 260,000 edits"
    columns = (
        Column("one", "one person, ms"),
        Column("thirty", "slowest of 30 at once, ms"),
        Column("received_kb", "received by the one, kB", 0),
    )
    servers = (PASSERELLE, HOCUSPOCUS, Y_WEBSOCKET_SERVER, PYCRDT_WEBSOCKET)

    def __init__(self, *, runs: int) -> None:
        self.runs = runs
        self._history: History | None = None
        self._dialects: dict[str, Dialect] = {}
        """By server: what was let in when the text was written may come back to read it."""

    @property
    def history(self) -> History:
        if self._history is None:
            self._history = History()
        return self._history

    @property
    def explanation(self) -> str:
        recorded = "as recorded" if self.history.is_recorded else "generated: the recorded trace is not at hand here"
        return (
            f"{self.history.edits:,} edits ({recorded}), {len(self.history.text):,} characters, "
            f"{self.history.size_bytes:,} bytes as one update. They are stored in {len(self.history.updates)} updates "
            "by a first process, which is stopped; a new one is started for each opening. From the connection to the "
            "last byte that makes the text whole."
        )

    async def measure(self, server: Server, folder: Path, run: int) -> dict[str, float]:
        if run == 0:
            await self._fill(server, folder)
        one, received = await self._open(server, folder, 1)
        thirty, _received = await self._open(server, folder, AT_ONCE)
        return {"one": one, "thirty": thirty, "received_kb": received / 1_000}

    async def _fill(self, server: Server, folder: Path) -> None:
        """Raises: ServerFailed; ValueError when the text is not what was written."""
        async with running(server, folder) as started:
            await started.admit(["texte"], 2 * (AT_ONCE + 5))
            self._dialects[server.key] = started.dialect
            probe = await Probe.open(started.url, started.dialect, "texte", lambda _message, _at: None)
            for update in self.history.updates:
                probe.send(sync_message(UPDATE, update))
                await asyncio.sleep(0.01)
            text = await read_text(started, "texte", len(self.history.text))
            if text != self.history.text:
                raise ValueError(f"{len(text)} of {len(self.history.text)} characters arrived")
            await asyncio.sleep(3.0)  # for who writes some time after
            probe.close()
            await asyncio.sleep(1.0)
            await started.stop()

    async def _open(self, server: Server, folder: Path, people: int) -> tuple[float, int]:
        """Milliseconds of the slowest, bytes of the first. Raises: ServerFailed, ValueError."""
        async with running(server, folder) as started:
            started.dialect = self._dialects[server.key]
            await asyncio.sleep(0.5)  # what a process does once it listens is not what is measured
            readers = [Reader() for _ in range(people)]
            began_at = time.perf_counter()
            probes = await asyncio.gather(*(self._come(started, reader) for reader in readers))
            try:
                arrived = await self._until_whole(readers)
                if readers[0].text() != self.history.text:
                    raise ValueError("the text that was opened is not the one that was stored")
                await asyncio.sleep(0.3)  # a second copy may be on its way
                return 1_000 * (max(arrived) - began_at), probes[0].received_bytes
            finally:
                for probe in probes:
                    probe.close()

    async def _come(self, server: RunningServer, reader: Reader) -> Probe:
        return await Probe.open(server.url, server.dialect, "texte", reader.receive)

    async def _until_whole(self, readers: Sequence[Reader]) -> list[float]:
        """When each had it all. Decoding begins when all have received about as much as there is."""
        about_all = 0.9 * self.history.size_bytes
        for reader in readers:
            await reader.until(lambda reader: reader.received_bytes >= about_all)
        arrived: list[float] = []
        for reader in readers:
            await reader.until(lambda reader: reader.complete_at(self.history.state_vector) is not None)
            at = reader.complete_at(self.history.state_vector)
            if at is None:
                raise ValueError("a reader was not sent the whole text")
            arrived.append(at)
        return arrived
