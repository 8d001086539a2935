"""A reader that was not there before: what does the server hold, and when has it all arrived?"""

import asyncio
import time
from collections.abc import Callable

import pycrdt

from benchmarks.documents.client import Probe
from benchmarks.documents.servers import RunningServer
from benchmarks.documents.yjs_bytes import update_in
from rooms.documents.sync import read_state_vector

READ_DEADLINE_S = 20.0


class Reader:
    """Keeps the updates as they come; what they make is only worked out when it is asked for, so that
    thirty readers of one load do not wait for each other's decoding."""

    def __init__(self) -> None:
        self._arrived: list[tuple[float, bytes]] = []
        self.received_bytes = 0
        self._news = asyncio.Event()

    def receive(self, message: bytes, at: float) -> None:
        update = update_in(message)
        if update is None or update == b"\x00\x00":
            return
        self._arrived.append((at, update))
        self.received_bytes += len(update)
        self._news.set()

    async def until(self, enough: Callable[["Reader"], bool], deadline_s: float = READ_DEADLINE_S) -> bool:
        """Whether it was enough in time."""
        give_up_at = time.monotonic() + deadline_s
        while not enough(self):
            self._news.clear()
            try:
                async with asyncio.timeout(give_up_at - time.monotonic()):
                    await self._news.wait()
            except TimeoutError:
                return enough(self)
        return True

    def document(self) -> "pycrdt.Doc[pycrdt.Text]":
        doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
        doc.get("text", type=pycrdt.Text)
        for _at, update in self._arrived:
            doc.apply_update(update)
        return doc

    def text(self) -> str:
        return str(self.document().get("text", type=pycrdt.Text))

    def complete_at(self, state_vector: bytes) -> float | None:
        """When the bytes had come with which it knew all of this; None: they have not."""
        doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
        wanted = read_state_vector(state_vector)
        for at, update in self._arrived:
            doc.apply_update(update)
            known = read_state_vector(doc.get_state())
            if all(known.get(client, 0) >= clock for client, clock in wanted.items()):
                return at
        return None


async def read_text(server: RunningServer, document: str, length: int) -> str:
    """The text that a new reader is sent, as soon as it has at least this many characters, or what it has
    after READ_DEADLINE_S. Raises: ConnectionRefused, TimeoutError."""
    reader = Reader()
    probe = await Probe.open(server.url, server.dialect, document, reader.receive)
    try:
        await reader.until(lambda reader: len(reader.text()) >= length)
        return reader.text()
    finally:
        probe.close()


async def clocks_after_restart(server: RunningServer, document: str, wanted: dict[int, int]) -> dict[int, int]:
    """How many characters of each client id the document still has; waits SETTLE for those wanted.
    Raises: ConnectionRefused, TimeoutError."""
    reader = Reader()
    probe = await Probe.open(server.url, server.dialect, document, reader.receive)

    def has_all(reader: Reader) -> bool:
        known = read_state_vector(reader.document().get_state())
        return all(known.get(client, 0) >= clock for client, clock in wanted.items())

    try:
        await reader.until(has_all, deadline_s=AFTER_RESTART_S)
        return dict(read_state_vector(reader.document().get_state()))
    finally:
        probe.close()


AFTER_RESTART_S = 2.0
"""A server that answers from its store at once has done so; one that reads it behind its first answer took
0.6 s for a hundred times as much."""
