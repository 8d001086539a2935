"""Joins the documents of this hub with those of other instances, over the bus.

Every instance that has a document in memory hears its topic. It makes known what its own readers changed, once
that is stored (or marked as unsaved while the store fails), and shows its readers what it hears, by way of the
flush loop. `exchange` knows what was missed of whom; here it is asked for, answered, or read from the store.

While nobody else was heard of a document, nothing is merged or encoded for the bus but a heartbeat.
"""

import asyncio
import heapq
import logging
import secrets
import weakref
from collections.abc import Coroutine, Mapping
from functools import partial
from itertools import count
from typing import Any, Final, Protocol

from rooms.documents.bus_message import (
    EVERYONE,
    INSTANCE_ID_BYTES,
    BusMessage,
    Kind,
    encode_message,
    is_for,
    read_message,
    topic_of,
)
from rooms.documents.deletion_digest import DeletionDigests
from rooms.documents.document import YjsDocument
from rooms.documents.errors import DocumentBroken, MalformedMessage
from rooms.documents.exchange import DocumentExchange
from rooms.documents.flush import FlushedDocument
from rooms.documents.limits import KIB, HubLimits
from rooms.documents.live import Arrival, LiveDocument
from rooms.documents.outbox import BusOutbox
from rooms.documents.scan import Scan, scan_update
from rooms.documents.statement import Entries, answer_message, change_message, state_message
from rooms.documents.store_comparison import StoreComparison, StoreHome
from rooms.documents.sync import read_state_vector
from rooms.ports import Bus, Subscription

logger = logging.getLogger(__name__)

INLINE_VECTOR_BYTES: Final = 16 * KIB
"""A state vector up to this size (2,500 client ids) is read in 3 ms; a longer one in a thread."""


class BridgeHome(StoreHome, Protocol):
    """What the bridge asks of the hub."""

    limits: HubLimits

    def now(self) -> float: ...
    def reserve(self, size_bytes: int) -> bool: ...
    def mark(self, live: LiveDocument, patience_s: float = 0.0) -> None: ...


class DocumentBridge:
    """Without a bus every call does nothing."""

    def __init__(self, bus: Bus | None, home: BridgeHome) -> None:
        self._bus = bus
        self._home = home
        self._outbox = BusOutbox(bus, home.limits) if bus is not None else None
        self._subscriptions: dict[LiveDocument, Subscription] = {}
        self._beats: list[tuple[float, int, weakref.ref[LiveDocument]]] = []
        """A heap of when each document's next heartbeat is due. Of one that has left, no more than this stays until
        then."""
        self._order = count()
        self._asking: set[LiveDocument] = set()
        """Those that wait for an answer."""
        self._digests = DeletionDigests(self.settle)
        self._comparison = StoreComparison(home, self._take_update)
        self._tasks: set[asyncio.Task[None]] = set()
        self.received = 0
        self.malformed = 0
        self.repaired = 0

    @property
    def published(self) -> int:
        return self._outbox.published if self._outbox is not None else 0

    @property
    def lost(self) -> int:
        return self._outbox.lost if self._outbox is not None else 0

    # --- for the library: documents come and go ------------------------------------------------------

    async def join(self, live: LiveDocument) -> None:
        """Hear the document from now on: to be called before its copy is loaded, so that what is stored
        after that is heard. `greet` when it is loaded."""
        if self._bus is None or live.exchange is not None:
            return
        live.exchange = DocumentExchange(secrets.token_bytes(INSTANCE_ID_BYTES), self._home.now(), self._home.limits)
        heapq.heappush(self._beats, (live.exchange.next_beat, next(self._order), weakref.ref(live)))
        await self._subscribe(live, live.exchange)

    def greet(self, live: LiveDocument) -> None:
        """Its copy has been loaded (again): ask the others how they stand."""
        if live.exchange is not None:
            self._guarded(live, self._say_state, live.exchange, wants_reply=True)

    def leave(self, live: LiveDocument) -> None:
        """It leaves memory."""
        exchange, live.exchange = live.exchange, None
        if exchange is None:
            return
        if exchange.peers:
            self._send(live, BusMessage(Kind.GOODBYE, exchange.instance, exchange.number, is_unsaved=live.is_failing))
        self._asking.discard(live)
        subscription = self._subscriptions.pop(live, None)
        if subscription is not None:
            self._run(subscription.cancel())

    async def stop(self) -> None:
        """To be called when every document has left."""
        if self._outbox is not None:
            await self._outbox.stop()
        await self._digests.stop()
        await self._comparison.stop()
        tasks = list(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=self._home.limits.bus_timeout_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- for the flush ---------------------------------------------------------------------------------

    def publish(self, flushed: FlushedDocument) -> None:
        """Make known what the readers of this instance changed: once it is stored (or the store fails), and
        before it is shown."""
        live, exchange = flushed.live, flushed.live.exchange
        if exchange is None:
            return
        self._note_arrivals(flushed, exchange)
        if live.has_relayed and self.received:
            self._comparison.look_up_owners(live)
        if not exchange.peers:
            exchange.number += 1  # not looked at closer: one that hears of it later only asks once too often
            return
        awareness = live.awareness.changes_to_publish()
        if flushed.has_own_change or awareness:
            exchange.number += 1
            self._say_change(flushed, exchange, awareness)

    def show_begun(self, live: LiveDocument, update: bytes, *, is_untold: bool) -> None:
        """What the document begins with is stored: show it, if that has not been done. `is_untold`: by this instance.
        If there is no memory for it now, nobody is shown it before the copy is loaded again."""
        arrival = Arrival(b"", update, scan_update(update), is_repair=False, is_untold=is_untold)
        self._take_update(live, live.exchange, arrival)

    def forget_arrivals(self, live: LiveDocument) -> None:
        """The copy that they were for is given up; another is loaded from the store, and greets."""
        if live.exchange is not None:
            live.exchange.integrated += len(live.arrivals)
        live.arrivals = []

    def settle(self, live: LiveDocument) -> None:
        """Answer what was asked, and ask for what is missing, if the copy may be shown now."""
        exchange = live.exchange
        if exchange is not None and exchange.peers and not live.flushing:
            self._guarded(live, self._settle, exchange)

    def tick(self) -> None:
        """To be called a few times a second: heartbeats, and those who do not answer."""
        now = self._home.now()
        while self._beats and self._beats[0][0] <= now:
            _due, _order, reference = heapq.heappop(self._beats)
            live = reference()
            if live is None:
                continue
            if live.exchange is not None:
                live.exchange.beat(now)  # with a copy or, while it is loaded again, without: or this would never end
                self._guarded(live, self._beat, live.exchange)
            if live.exchange is not None:
                heapq.heappush(self._beats, (live.exchange.next_beat, next(self._order), reference))
        for live in list(self._asking):
            self.settle(live)
            if live.exchange is None or not live.exchange.is_asking:
                self._asking.discard(live)

    def instance_lost(self) -> None:
        """Some instance fell silent; which documents it had is not known here. What it stored and could not make
        known any more is in the store, where whoever comes now would see it in the next heartbeats only."""
        for live in list(self._subscriptions):
            if live.exchange is not None and live.exchange.peers:
                self._comparison.begin(live, live.exchange)

    # --- what is said ----------------------------------------------------------------------------------

    def _send(self, live: LiveDocument, message: BusMessage) -> None:
        if self._outbox is not None:
            self._outbox.put(topic_of(live.key), encode_message(message))

    def _say_change(self, flushed: FlushedDocument, exchange: DocumentExchange, awareness: Entries) -> None:
        message = change_message(flushed, exchange, awareness)
        if message is not None:
            self._send(flushed.live, message)
        else:
            # Its number is missed at once, and what it holds is asked for or read from the store.
            self._guarded(flushed.live, self._say_state, exchange)

    def _say_state(
        self,
        live: LiveDocument,
        copy: YjsDocument,
        exchange: DocumentExchange,
        *,
        to: bytes = EVERYONE,
        wants_reply: bool = False,
    ) -> None:
        digest = self._digests.get(live, copy) if exchange.peers else b""
        self._send(live, state_message(live, copy, exchange, digest, to=to, wants_reply=wants_reply))

    def _answer(
        self, live: LiveDocument, copy: YjsDocument, exchange: DocumentExchange, to: bytes, state_vector: bytes
    ) -> None:
        try:
            self._send(live, answer_message(live, copy, exchange, to, state_vector))
        except MalformedMessage:
            self.malformed += 1

    # --- what is heard ---------------------------------------------------------------------------------

    async def _subscribe(self, live: LiveDocument, exchange: DocumentExchange) -> None:
        if self._bus is None:
            return
        try:
            async with asyncio.timeout(self._home.limits.bus_timeout_s):
                subscription = await self._bus.subscribe(
                    topic_of(live.key), partial(self._hear, live, exchange), partial(self._mend, live, exchange)
                )
        except Exception as error:
            # Whatever a bus raises, the document opens; the next heartbeat tries again.
            if self._outbox is not None and not self._outbox.is_failing:  # that has been said
                logger.warning("document not heard over the bus", extra={"kind": type(error).__name__})
            return
        if live.exchange is exchange:
            self._subscriptions[live] = subscription
        else:
            await subscription.cancel()

    async def _mend(self, live: LiveDocument, exchange: DocumentExchange) -> None:
        """The bus may have lost messages."""
        if live.exchange is exchange:
            exchange.note_gap()
            self.greet(live)
            self.settle(live)

    async def _hear(self, live: LiveDocument, exchange: DocumentExchange, data: bytes) -> None:
        # Until the copy is loaded nothing is taken or remembered: `greet` then asks for all of it.
        if live.copy is None or not is_for(data, exchange.instance):
            return
        self.received += 1
        try:
            message = read_message(data)
            scan = await self._home.scan(message.update) if message.update else Scan()
            clocks = await _read_clocks(message.state_vector) if message.kind is Kind.STATE else None
        except MalformedMessage:
            self.malformed += 1
            return
        if live.exchange is exchange:
            self._guarded(live, self._take, exchange, message=message, scan=scan, clocks=clocks)
            self.settle(live)

    def _take(
        self,
        live: LiveDocument,
        _copy: YjsDocument,
        exchange: DocumentExchange,
        *,
        message: BusMessage,
        scan: Scan,
        clocks: Mapping[int, int] | None,
    ) -> None:
        if message.kind is Kind.GOODBYE:
            self._hear_goodbye(live, exchange, message)
            return
        heard = exchange.hear(message, self._home.now(), clocks)
        if heard is None:
            return
        for binding in message.bindings:
            live.owners.setdefault(binding.client_id, binding.participant_id)
        if message.awareness.update and not heard.is_late:
            self._take_awareness(live, message)
        self._take_update(live, exchange, Arrival(message.sender, message.update, scan, message.kind is Kind.ANSWER))
        if message.is_too_large:
            self._comparison.begin(live, exchange)
        self._release_waiting(live, exchange)

    def _release_waiting(self, live: LiveDocument, exchange: DocumentExchange) -> None:
        """What others had not stored is stored: who brought it back is told so."""
        if not exchange.holds_unsaved and not live.is_failing:
            for reader in [each for each in live.readers if each.waits_for_others]:
                reader.waits_for_others = False
                reader.acknowledge()

    def _take_update(self, live: LiveDocument, exchange: DocumentExchange | None, arrival: Arrival) -> None:
        # One for which there is no memory is not taken; a heartbeat will tell that it is missing.
        if not arrival.scan.is_empty and self._home.reserve(len(arrival.update)):
            if exchange is not None:
                exchange.arrived += 1
            live.arrivals.append(arrival)
            self._home.mark(live)

    def _take_awareness(self, live: LiveDocument, message: BusMessage) -> None:
        try:
            gone = live.awareness.receive_from_instance(
                message.sender.hex(), message.awareness.update, is_whole=message.kind is not Kind.CHANGE
            )
        except MalformedMessage:
            self.malformed += 1
            return
        for client in gone:
            live.depart(client)
        for owner in message.awareness.owners:
            if owner.client_id not in live.owners:
                live.announced.setdefault(owner.client_id, owner.participant_id)
        if live.awareness.has_changes():
            self._home.mark(live, self._home.limits.cursor_patience_s)

    def _hear_goodbye(self, live: LiveDocument, exchange: DocumentExchange, message: BusMessage) -> None:
        peer = exchange.forget(message.sender)
        self._remove_awareness(live, message.sender)
        exchange.is_adopting = exchange.is_adopting or message.is_unsaved
        if message.is_unsaved or (peer is not None and (message.number > peer.number or peer.is_wanted)):
            self._comparison.begin(live, exchange)  # whom to ask has gone, but what it could store is there

    def _remove_awareness(self, live: LiveDocument, instance: bytes) -> None:
        for client in live.awareness.remove_connection(instance.hex()):
            live.depart(client)
        if live.awareness.has_changes():
            self._home.mark(live, self._home.limits.cursor_patience_s)

    def _note_arrivals(self, flushed: FlushedDocument, exchange: DocumentExchange) -> None:
        exchange.integrated += len(flushed.arrivals)
        for index, arrival in enumerate(flushed.arrivals):
            was_placed = flushed.arrived is not None and index not in flushed.arrived.incomplete
            if not was_placed and not arrival.is_repair:  # an answer that does not help is not asked for again
                exchange.want(arrival.sender)
        if flushed.arrived is None or flushed.arrived.change is None:
            return
        flushed.live.note_heard(flushed.arrived.change)
        if any(arrival.is_repair for arrival in flushed.arrivals):
            self.repaired += 1

    # --- what is missing -------------------------------------------------------------------------------

    def _settle(self, live: LiveDocument, copy: YjsDocument, exchange: DocumentExchange) -> None:
        asked, exchange.asked = exchange.asked, {}
        for instance, state_vector in asked.items():
            self._answer(live, copy, exchange, instance, state_vector)
        greeting, exchange.greeting = exchange.greeting, set()
        for instance in greeting:
            self._say_state(live, copy, exchange, to=instance)
        for instance in exchange.claims():
            self._compare(live, copy, exchange, instance)
        wanted = exchange.next_to_ask(self._home.now())
        if wanted is not None:
            state_vector = copy.state_vector()
            self._send(live, BusMessage(Kind.ASK, exchange.instance, exchange.number, wanted, state_vector))
        if exchange.is_asking:
            self._asking.add(live)

    def _compare(self, live: LiveDocument, copy: YjsDocument, exchange: DocumentExchange, instance: bytes) -> None:
        if exchange.compare(instance, copy.clocks):
            digest = self._digests.get(live, copy)
            if digest:
                exchange.compare_digests(instance, digest)

    def _beat(self, live: LiveDocument, copy: YjsDocument, exchange: DocumentExchange) -> None:
        now = self._home.now()
        if live not in self._subscriptions:
            self._run(self._subscribe(live, exchange))
        silent = exchange.forget_silent(now)
        for instance, peer in silent.items():
            self._remove_awareness(live, instance)
            exchange.is_adopting = exchange.is_adopting or peer.is_unsaved
        if silent or exchange.is_adopting or exchange.is_reading_due:
            # It may have stored what it could not make known any more; others may have heard more of it.
            self._comparison.begin(live, exchange)
        self._release_waiting(live, exchange)
        self._say_state(live, copy, exchange, wants_reply=bool(silent))

    # --- inside ----------------------------------------------------------------------------------------

    def _guarded(self, live: LiveDocument, act: Any, exchange: DocumentExchange, **options: Any) -> None:
        """Do it with the copy, if there is one; a copy that turns out to be broken is given up."""
        if live.copy is None:
            return
        try:
            act(live, live.copy, exchange, **options)
        except DocumentBroken:
            self._home.give_up(live)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _read_clocks(state_vector: bytes) -> Mapping[int, int]:
    """Raises: MalformedMessage."""
    if len(state_vector) <= INLINE_VECTOR_BYTES:
        return read_state_vector(state_vector)
    return await asyncio.to_thread(read_state_vector, state_vector)
