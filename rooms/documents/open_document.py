"""One reader's way into a document: its rights, its limits, what it may still be sent.

Each message is read, scanned and judged here, before it waits for the flush. A refused update is answered
with permission denied and is as if it had never come; a connection that goes on past every limit is
closed. Readers without the right to write may have a cursor: awareness says who looks where, writes
nothing, and ends with them.
"""

from collections.abc import Coroutine, Generator, Sequence
from typing import Any, NoReturn, Protocol

from rooms.documents import close_codes, sync
from rooms.documents.acknowledgement import Acknowledgements
from rooms.documents.errors import DocumentBroken, MalformedMessage, ProtocolViolation
from rooms.documents.limits import HubLimits
from rooms.documents.live import Incoming, LiveDocument
from rooms.documents.long_answers import LONG_BYTES, LongAnswers
from rooms.documents.long_messages import INLINE_SCAN_BYTES, LongMessages, Result, found, work_off
from rooms.documents.reader import DocumentAccess, FanOut, Reader
from rooms.documents.scan import Scan, scan_update
from rooms.documents.sync import ClientMessage, Denial, Kind
from rooms.documents.typing_run import TypingRun

EMPTY_UPDATE = b"\x00\x00"
AWARENESS_KIND = bytes((sync.AWARENESS,))


class Home(Protocol):
    """What a reader asks of the hub."""

    limits: HubLimits
    long_answers: LongAnswers

    @property
    def incoming_bytes(self) -> int:
        """What waits for the flush, of all documents."""

    def now(self) -> float: ...
    def reserve(self, size_bytes: int) -> bool:
        """Room for an update until it is flushed; False when too much waits for the store already."""

    def mark(self, live: LiveDocument, patience_s: float = 0.0) -> None:
        """Something waits for the flush; it may wait this long for company."""

    def write_whole(self, live: LiveDocument) -> bool:
        """Begin to write the whole of a large document, apart. False: it cannot be done now."""

    def is_writing_whole(self, live: LiveDocument) -> bool: ...
    def note_lag(self, reader: "OpenDocument") -> None: ...
    def leave(self, reader: "OpenDocument") -> None: ...
    def give_up(self, live: LiveDocument) -> None:
        """The copy is broken: its readers must open it again."""

    def run_apart(self, work: Coroutine[Any, Any, None]) -> None: ...
    async def in_steps(self, work: Generator[object, None, Result]) -> Result: ...


class OpenDocument:
    """Made by `DocumentHub.open`. The transport calls `start`, `receive` and `close`."""

    def __init__(self, live: LiveDocument, reader: Reader, access: DocumentAccess, home: Home) -> None:
        self.live = live
        self.reader = reader
        self.fan_out: FanOut | None = getattr(reader, "fan_out", None)
        self.acknowledgements = Acknowledgements()
        self.is_closed = False
        self.is_expelled = False
        """Closed by us."""
        self.is_started = False
        self.is_synced = False
        """It has asked for the document and been answered: it may be sent what is new."""
        self.queued_bytes = 0
        """Its share of `live.incoming`."""
        self.waits_for_others = False
        """It was asked for what is not here, and what is here another instance may not have stored: the answer says
        nothing about that, so nothing is called saved until it is."""
        self._access = access
        self._home = home
        self._asked = 0
        """Our own sync step 1 messages that it has not answered."""
        self._malformed = 0
        self._new_client_ids = 0
        self._renewed: set[int] = set()
        """Client ids whose awareness was made to be said again; bounded as those that it may speak for."""
        self._run: TypingRun | None = None
        """What its next message continues, if it types on."""
        self._typed: Incoming | None = None
        """What is added to until the flush."""
        self.long: LongMessages | None = None
        """While a long one is looked at apart; few readers ever send one."""
        self._lag_state: bytes | None = None
        self._lag_least_bytes = 0
        self._lag_since = 0.0

    # --- for the transport ----------------------------------------------------------------------

    def start(self) -> None:
        """Send the server's sync step 1 and the awareness of the others. To be called once the
        transport has answered the opening; the first `receive` does it otherwise."""
        if self.is_started or self.is_closed:
            return
        self.is_started = True
        self.live.newcomers[self] = None
        try:
            self.ask()
        except DocumentBroken:
            self._home.give_up(self.live)
            return
        self._send_awareness()
        if self.live.is_failing and self.reader.wants_acknowledgement:
            self.reader.send(sync.unsaved(0))

    def receive(self, message: bytes) -> None:
        """One y-protocols message of the client. Never blocks.
        Raises: ProtocolViolation: close the transport with its `code` and `reason` (the hub has
        forgotten the reader already)."""
        if self.is_closed:
            return
        if self._run is not None and self._type_on(self._run, message):
            return
        if self._move_cursor(message):
            return
        self.start()
        if len(message) > self._home.limits.message_bytes:
            self._violate(close_codes.TOO_LARGE)
        if self.long is None and len(message) <= INLINE_SCAN_BYTES:
            self.receive_scanned(message, None)
        else:
            self._receive_long(message)

    def close(self) -> None:
        """The connection is gone. Its awareness ends for the others. Idempotent."""
        if self.is_closed:
            return
        self.is_closed = True
        if self.long is not None:
            self.long.end()
        self._run = self._typed = None  # it knows its reader: let go of here, both leave memory at once
        self._home.leave(self)

    # --- for the hub ------------------------------------------------------------------------------

    def expel(self, code: int) -> None:
        """Close it from here."""
        if not self.is_closed:
            self.is_expelled = True
            self.close()
            self.reader.close(code, close_codes.REASONS[code])

    def ask(self) -> None:
        """Send our sync step 1, unless an answer is under way. Raises: DocumentBroken."""
        if self._asked == 0 and self.live.copy is not None:
            self._asked += 1
            exchange = self.live.exchange
            self.waits_for_others = exchange is not None and exchange.holds_unsaved
            self.reader.send(sync.sync_step_1(self.live.copy.state_vector()))

    def answer(self, state_vector: bytes) -> None:
        """Send all that a reader with this state lacks. Raises: DocumentBroken."""
        if self.is_closed or self.live.copy is None:
            return
        if self.is_backed_up() or not self._home.long_answers.admit(self.live.size_bytes):
            self.begin_lag(state_vector)
            return
        is_long = self.live.size_bytes >= LONG_BYTES
        if is_long and not self.live.copy.is_told_quickly(state_vector) and self._home.write_whole(self.live):
            self.begin_lag(state_vector)
            return
        self._lag_state = None
        self.is_synced = True
        self.live.follow(self)
        self._send_parts(self.live.copy.difference_in_parts(state_vector), sync.STEP_2)

    def refuse(self, number: int, reason: Denial) -> None:
        """Tell that the update was not taken, and hold the acknowledgement back."""
        self.acknowledgements.refuse(number)
        self.reader.send(sync.permission_denied(reason))

    def acknowledgement_to_send(self) -> bytes | None:
        """How far its writing is saved, or that it is not. None: it is not to be told; not every client asks."""
        if self.is_closed or not self.reader.wants_acknowledgement or self.is_lagging:
            return None
        if self.live.is_failing or self.waits_for_others:
            return sync.unsaved(self.acknowledgements.unsaved)
        return sync.saved(self.acknowledgements.saved)

    def acknowledge(self) -> None:
        """Tell it so."""
        word = self.acknowledgement_to_send()
        if word is not None:
            self.reader.send(word)

    def rights_changed(self) -> None:
        """Show its cursor and ask for what was refused, if that may be now; close if it may not even be read."""
        if not self._access.can_read():
            self.expel(close_codes.FORBIDDEN)
            return
        self._show_withheld()
        if self.acknowledgements.has_refused and self._access.can_write():
            self.ask()

    # --- a reader that does not keep up -------------------------------------------------------------

    @property
    def is_lagging(self) -> bool:
        return self._lag_state is not None

    def is_backed_up(self) -> bool:
        return self.reader.buffered_bytes() > self._home.limits.reader_buffer_bytes

    def begin_lag(self, state_vector: bytes) -> None:
        """Send nothing more, until it has drained; it knows the document up to this state."""
        self.live.unfollow(self)
        self._lag_state = state_vector
        self._lag_least_bytes = self.reader.buffered_bytes()
        self._lag_since = self._home.now()
        self._home.note_lag(self)

    def catch_up(self) -> bool:
        """Look at a lagging reader: bring it up to date if it has drained, close it if it does not
        drain at all. True when there is nothing more to look after. Raises: DocumentBroken."""
        state_vector = self._lag_state
        if self.is_closed or state_vector is None:
            return True
        buffered, now = self.reader.buffered_bytes(), self._home.now()
        if buffered < self._lag_least_bytes:
            self._lag_least_bytes, self._lag_since = buffered, now
        if buffered <= self._home.limits.reader_buffer_bytes // 4:
            return self._resynchronise(state_vector)
        if now - self._lag_since >= self._home.limits.reader_drain_s:
            self.expel(close_codes.SLOW_READER)
            return True
        return False

    def _resynchronise(self, state_vector: bytes) -> bool:
        if self.live.flushing or self.live.copy is None or not self._home.long_answers.admit(self.live.size_bytes):
            return False
        if self._home.is_writing_whole(self.live) and not self.live.copy.is_told_quickly(state_vector):
            return False
        missing = self.live.copy.difference_in_parts(state_vector)
        self._lag_state = None
        # A reader that still waits for the answer to its own sync step 1 gets it as such.
        self._send_parts(missing, sync.UPDATE if self.is_synced else sync.STEP_2)
        self.is_synced = True
        self.live.follow(self)
        self._send_awareness()
        self.acknowledge()
        return True

    # --- what comes in --------------------------------------------------------------------------------

    def _move_cursor(self, message: bytes) -> bool:
        """Take what its client id says anew of itself. False: it is to be received like any other."""
        if message[:1] != AWARENESS_KIND or self.long is not None or len(message) > self._home.limits.message_bytes:
            return False
        live = self.live
        if not self._access.can_read() or self._access.is_silenced():
            return False
        if not live.awareness.receive_next(self.reader.connection_id, message):
            return False
        self._home.mark(live, self._home.limits.cursor_patience_s)
        return True

    def _type_on(self, run: TypingRun, message: bytes) -> bool:
        """Take a message that continues the run. False: it is to be received like any other."""
        typed = run.continue_with(message)
        if typed is None or not self._may_type_on(run, len(typed[0])):
            return False
        text, clocks = typed
        incoming = self._typed
        if incoming is None or incoming.is_sealed or not incoming.is_typed:
            incoming = self._typed = Incoming.typed(self, run)
            self.live.incoming.append(incoming)
        run.advance(clocks)
        incoming.add(self.acknowledgements.receive(), text, run.end)
        self.queued_bytes += len(text)
        self._home.mark(self.live)
        return True

    def _may_type_on(self, run: TypingRun, size_bytes: int) -> bool:
        """All that is asked of any update, in the order of what it costs to ask. (`_receive_update`)"""
        live, limits = self.live, self._home.limits
        if self.long is not None or live.copy is None or self.acknowledgements.has_refused:
            return False
        is_next = self._typed is not None and not self._typed.is_sealed
        if not is_next and live.copy.clocks.get(run.client, 0) != run.end:
            return False
        if (
            live.owners.get(run.client) != self.reader.participant_id
            or live.size_bytes + size_bytes > limits.document_bytes
        ):
            return False
        if not (self._access.can_read() and self._access.can_write()):
            return False
        return self.queued_bytes + size_bytes <= limits.connection_queue_bytes and self._home.reserve(size_bytes)

    def _receive_long(self, message: bytes) -> None:
        """A long one, or one that comes behind it."""
        is_first = self.long is None
        long = self.long = self.long or LongMessages(self, self._home, self._home.limits.connection_queue_bytes)
        if not long.put(message):
            self._violate(close_codes.LIMIT)
        if is_first:
            self._home.run_apart(work_off(long, self))

    def long_messages_ended(self) -> None:
        """The next message is received as it comes."""
        self.long = None

    def receive_scanned(self, message: bytes, scan: Scan | None) -> None:
        """`scan`: of the update in it, if it was made already. Raises: ProtocolViolation."""
        if not self._access.can_read():
            self._violate(close_codes.FORBIDDEN)
        try:
            read = sync.read_message(message)
            if read.kind is Kind.STEP_1:
                self._receive_step_1(read.body)
            elif read.kind is Kind.AWARENESS:
                self._receive_awareness(read.body)
            elif read.kind is Kind.QUERY_AWARENESS:
                self._send_awareness()
            else:
                self._receive_update(read, scan)
        except MalformedMessage:
            self._note_malformed()
        except DocumentBroken:
            self._home.give_up(self.live)

    def _receive_step_1(self, state_vector: bytes) -> None:
        sync.read_state_vector(state_vector)
        if self.live.flushing or self.live.copy is None:
            # One answer, to the newest question, is enough.
            self.live.asking = [asked for asked in self.live.asking if asked[0] is not self]
            self.live.asking.append((self, state_vector))
        else:
            self.answer(state_vector)

    def _receive_awareness(self, update: bytes) -> None:
        is_withheld = self._access.is_silenced()
        own = self.live.awareness.receive(
            self.reader.connection_id, update, self._may_speak_for, is_withheld=is_withheld
        )
        for client in own:
            self.live.announce(client, self.reader.participant_id)
        if own and not is_withheld:
            self._note_shown(own)

    def _show_withheld(self) -> None:
        """What it said while nobody was to see it."""
        if not self._access.is_silenced():
            released = self.live.awareness.release(self.reader.connection_id)
            if released:
                self._note_shown(released)

    def _note_shown(self, clients: list[int]) -> None:
        self._home.mark(self.live, self._home.limits.cursor_patience_s)
        if not self.reader.wants_acknowledgement:
            self._renew_awareness(clients)

    def _renew_awareness(self, own: list[int]) -> None:
        """A plain y-websocket client may have come back, with a clock at which the others saw it go. Our own SDKs
        raise it themselves."""
        new = [client for client in own if client not in self._renewed]
        self._renewed.update(new)
        renewal = self.live.awareness.renewal(new)
        if renewal is not None:
            self.reader.send(sync.awareness_message(renewal))

    def _may_speak_for(self, client_id: int) -> bool:
        return self.live.speaker_of(client_id) in (None, self.reader.participant_id)

    def _receive_update(self, message: ClientMessage, scan: Scan | None) -> None:
        number = self.acknowledgements.receive()
        is_answer = message.kind is Kind.STEP_2 and self._asked > 0
        if is_answer:
            self._asked -= 1
        try:
            scan = found(scan) or scan_update(message.body)
        except MalformedMessage:
            self.acknowledgements.refuse(number)
            raise
        relayed: set[int] = set()
        denial = self._judge(message.kind, scan, len(message.body), is_answer=is_answer, relayed=relayed)
        if denial is not None:
            self.refuse(number, denial)
            return
        body = message.body
        if not self._access.can_write():
            # It was found to hold nothing new; whatever it is, the engine never sees it.
            body, scan = EMPTY_UPDATE, Scan()
        incoming = Incoming(self, number, body, scan, is_answer=is_answer)
        incoming.relayed = relayed
        if self.long is not None and self.long.take_in_slices(incoming):
            self._run = self._typed = None
        else:
            self._let_in(incoming)
            self._run = None if is_answer else TypingRun.after(body, scan)
            self._typed = incoming if self._run is not None else None
        if self.acknowledgements.has_refused and not is_answer:
            self.ask()  # it may write again: what was refused meanwhile can come now

    def let_in(self, part: Incoming) -> bool:
        """A slice of what was let in. False: it may not write any more. Raises: ProtocolViolation."""
        if not self._access.can_write():
            self.refuse(part.number, "read-only")
            return False
        self._let_in(part)
        return True

    def _let_in(self, incoming: Incoming) -> None:
        """It waits for the flush from here on. Raises: ProtocolViolation."""
        size_bytes = incoming.size_bytes
        if self.queued_bytes + size_bytes > self._home.limits.connection_queue_bytes:
            self._violate(close_codes.LIMIT)
        if not self._home.reserve(size_bytes):
            self._violate(close_codes.UNAVAILABLE)
        self.queued_bytes += size_bytes
        self.live.incoming.append(incoming)
        self._home.mark(self.live)

    def _would_be_too_large(self, size_bytes: int) -> bool:
        size_bytes += self.live.size_bytes
        limit = self._home.limits.document_bytes
        # What waits for this document is summed anew each time: only where that can matter.
        return size_bytes + self._home.incoming_bytes > limit and size_bytes + self.live.incoming_bytes > limit

    def _judge(self, kind: Kind, scan: Scan, size_bytes: int, *, is_answer: bool, relayed: set[int]) -> Denial | None:
        """Why this update is not taken, or None; then `relayed` has the client ids in it that are not the sender's."""
        copy = self.live.copy
        if not self._access.can_write():
            # Every client answers our sync step 1; one that has nothing new asks for nothing.
            known = scan.is_empty or (copy is not None and copy.has_all_of(scan))
            return None if kind is Kind.STEP_2 and known else "read-only"
        if scan.writes and self._would_be_too_large(size_bytes) and (copy is None or scan.writes_beyond(copy.clocks)):
            return "too-large"
        return self._bind(scan, is_answer, relayed)

    def _bind(self, scan: Scan, is_answer: bool, relayed: set[int]) -> Denial | None:
        """Client ids belong to the participant that first used them. What others wrote is taken in
        answer to our sync step 1 only, so that a loss of ours can be mended by anyone who has the text."""
        clocks = self.live.copy.clocks if self.live.copy is not None else {}
        new = scan.writes_beyond(clocks)
        owners = {client: self.live.owner_of(client) for client in new}
        me = self.reader.participant_id
        if not is_answer and any(owner not in (None, me) for owner in owners.values()):
            return "client-id"
        if is_answer:
            relayed.update(client for client, owner in owners.items() if owner != me)
        unbound = [client for client in owners if client not in self.live.owners]
        self._new_client_ids += len(unbound)
        if self._new_client_ids > self._home.limits.new_client_ids_per_connection:
            self._violate(close_codes.LIMIT)
        for client in unbound:
            owner = owners[client] or (None if is_answer else me)
            if owner is not None:
                self.live.bind(client, owner)
            else:
                # Whoever brings it need not have written it: it stays free for the one who goes on in it.
                self.live.has_relayed = True
        return None

    # --- answers ----------------------------------------------------------------------------------

    def _send_parts(self, updates: Sequence[bytes], step: int) -> None:
        """Whoever asked has all of it when the step comes: the last part."""
        last = len(updates) - 1
        for index, update in enumerate(updates):
            head = sync.sync_head(step if index == last else sync.UPDATE, len(update))
            send_long = getattr(self.reader, "send_long", None) if len(update) >= LONG_BYTES else None
            if send_long is None:
                self.reader.send(head + update)
            else:
                send_long(head, update)
        self._home.long_answers.note(self.reader, sum(map(len, updates)))

    def _send_awareness(self) -> None:
        states = self.live.awareness.whole_state()
        if states is not None and not self.is_backed_up():
            self.reader.send(sync.awareness_message(states))

    def _note_malformed(self) -> None:
        self._malformed += 1
        if self._malformed >= self._home.limits.malformed_messages:
            self._violate(close_codes.MALFORMED)
        self.reader.send(sync.permission_denied("malformed"))

    def _violate(self, code: int) -> NoReturn:
        """Forget the reader. Raises: ProtocolViolation, always."""
        self.close()
        raise ProtocolViolation(code)
