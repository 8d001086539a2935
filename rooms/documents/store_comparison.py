"""Compare a copy in memory with what is stored, after an instance has gone or could not tell all.

An instance that dies between storing and publishing leaves text in the store that no other has heard of. One
that dies while its store fails leaves text that others have shown and nobody has stored: they store it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from rooms.documents.document import YjsDocument
from rooms.documents.errors import DocumentBroken, DocumentUnavailable
from rooms.documents.exchange import DocumentExchange
from rooms.documents.limits import HubLimits
from rooms.documents.live import Arrival, LiveDocument
from rooms.documents.scan import Scan
from rooms.documents.statement import bindings_beyond
from rooms.documents.sync import read_state_vector
from rooms.ports import ClientBinding, DocumentKey, StoredDocument

COMPARED_AT_ONCE: Final = 2
"""Documents read at a time, when an instance has gone that had many."""


class StoreHome(Protocol):
    """What the comparison asks of the hub."""

    limits: HubLimits

    def give_up(self, live: LiveDocument) -> None: ...
    async def scan(self, update: bytes) -> Scan:
        """Off the event loop when it is long. Raises: MalformedMessage."""

    async def read_stored(self, key: DocumentKey) -> tuple[StoredDocument, YjsDocument]:
        """What is stored, and a copy of its own of it; to be let go of. Raises: DocumentUnavailable."""

    def let_go(self, copy: YjsDocument) -> None: ...
    async def read_owners(self, key: DocumentKey) -> Mapping[int, str]:
        """Participants by client id, as stored. Raises: DocumentUnavailable."""

    async def adopt(self, live: LiveDocument, update: bytes, bindings: Sequence[ClientBinding]) -> None:
        """Store what another instance could not."""


class StoreComparison:
    def __init__(self, home: StoreHome, found: Callable[[LiveDocument, DocumentExchange, Arrival], None]) -> None:
        """`found` is called with what is stored and not in the copy."""
        self._home = home
        self._found = found
        self._turns = asyncio.Semaphore(COMPARED_AT_ONCE)
        self._comparing: dict[LiveDocument, asyncio.Task[None]] = {}
        self._learning: dict[LiveDocument, asyncio.Task[None]] = {}

    def begin(self, live: LiveDocument, exchange: DocumentExchange) -> None:
        """Compare, and store what is to be adopted (`exchange.is_adopting`). While the store cannot be read
        it stays due (`exchange.is_reading_due`): begin again."""
        exchange.is_reading_due = True
        if live not in self._comparing:
            self._comparing[live] = asyncio.create_task(self._compare_while_due(live, exchange))

    def look_up_owners(self, live: LiveDocument) -> None:
        """Whose the client ids are that somebody brought text of. While the store cannot be read, it stays to
        be looked up (`live.has_relayed`)."""
        if live not in self._learning:
            self._learning[live] = asyncio.create_task(self._learn_owners(live))

    async def stop(self) -> None:
        tasks = [*self._comparing.values(), *self._learning.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _learn_owners(self, live: LiveDocument) -> None:
        try:
            live.has_relayed = False
            owners = await self._home.read_owners(live.key)
            live.owners = {**owners, **live.owners}
            await asyncio.sleep(self._home.limits.store_retry_s)  # not with every flush
        except DocumentUnavailable:
            live.has_relayed = True
        finally:
            del self._learning[live]

    async def _compare_while_due(self, live: LiveDocument, exchange: DocumentExchange) -> None:
        try:
            while live.exchange is exchange and exchange.is_reading_due:
                async with self._turns:
                    await self._compare(live, exchange)
                await asyncio.sleep(self._home.limits.store_retry_s)
        except DocumentUnavailable:
            exchange.is_reading_due = True
        except DocumentBroken:
            self._home.give_up(live)
        finally:
            del self._comparing[live]

    async def _compare(self, live: LiveDocument, exchange: DocumentExchange) -> None:
        exchange.is_reading_due = False
        stored, copy = await self._home.read_stored(live.key)
        try:
            if live.copy is None or live.exchange is not exchange:
                return
            missing, reach = copy.difference(live.copy.state_vector()), copy.state_vector()
        finally:
            self._home.let_go(copy)
        live.owners = {**stored.bindings, **live.owners}
        if exchange.is_adopting:
            exchange.is_adopting = False
            bindings = bindings_beyond(live, live.copy, read_state_vector(reach))
            await self._home.adopt(live, live.copy.difference(reach), bindings)
        arrival = Arrival(b"", missing, await self._home.scan(missing), is_repair=True)
        if live.exchange is exchange:
            self._found(live, exchange, arrival)
