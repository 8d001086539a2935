"""Compare a copy in memory with what is stored, after an instance has gone or could not tell all.

An instance that dies between storing and publishing leaves text in the store that no other has heard of. One
that dies while its store fails leaves text that others have shown and nobody has stored: they store it.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from rooms.documents.document import YjsDocument
from rooms.documents.errors import DocumentUnavailable
from rooms.documents.exchange import DocumentExchange
from rooms.documents.live import Arrival, LiveDocument
from rooms.documents.scan import Scan
from rooms.documents.statement import bindings_beyond
from rooms.documents.sync import read_state_vector
from rooms.ports import ClientBinding, DocumentKey, StoredDocument

COMPARED_AT_ONCE: Final = 2
"""Documents read at a time, when an instance has gone that had many."""


class StoreHome(Protocol):
    """What the comparison asks of the hub."""

    async def scan(self, update: bytes) -> Scan:
        """Off the event loop when it is long. Raises: MalformedMessage."""

    async def read_stored(self, key: DocumentKey) -> tuple[StoredDocument, YjsDocument]:
        """What is stored, and a copy of its own of it; to be closed. Raises: DocumentUnavailable."""

    async def adopt(self, live: LiveDocument, update: bytes, bindings: Sequence[ClientBinding]) -> None:
        """Store what another instance could not."""


class StoreComparison:
    def __init__(self, home: StoreHome) -> None:
        self._home = home
        self._turns = asyncio.Semaphore(COMPARED_AT_ONCE)

    async def compare(self, live: LiveDocument, exchange: DocumentExchange) -> Arrival | None:
        """What is stored and not in the copy; and store what is to be adopted. None: the store cannot be read
        (it stays due), or the document has left. Raises: DocumentBroken: the copy in memory."""
        async with self._turns:
            exchange.is_reading_due = False
            try:
                stored, copy = await self._home.read_stored(live.key)
            except DocumentUnavailable:
                exchange.is_reading_due = True
                return None
            try:
                if live.copy is None or live.exchange is not exchange:
                    return None
                missing, reach = copy.difference(live.copy.state_vector()), copy.state_vector()
            finally:
                copy.close()
        live.owners = {**stored.bindings, **live.owners}
        if exchange.is_adopting:
            exchange.is_adopting = False
            bindings = bindings_beyond(live, live.copy, read_state_vector(reach))
            await self._home.adopt(live, live.copy.difference(reach), bindings)
        return Arrival(b"", missing, await self._home.scan(missing), is_repair=True)
