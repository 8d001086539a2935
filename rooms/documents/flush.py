"""One document's part in a flush: take what came in, and show what became of it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rooms.documents import close_codes, sync
from rooms.documents.document import Integrated, YjsDocument, merge_updates
from rooms.documents.errors import DocumentBroken
from rooms.documents.fan_out import Audience
from rooms.documents.live import Arrival, Incoming, LiveDocument
from rooms.documents.loading import MOST_WAITING_HARMFUL
from rooms.documents.open_document import OpenDocument
from rooms.documents.sync import encode_state_vector
from rooms.ports import DocumentAppend, RelayedRange

NOTHING_KNOWN = b"\x00"

Reload = Callable[[LiveDocument], Awaitable[YjsDocument]]


@dataclass(slots=True)
class FlushedDocument:
    """A document between `take` and `show`."""

    live: LiveDocument
    batch: Sequence[Incoming] = ()
    result: Integrated | None = None
    """Of the batch. None: nothing came in from readers but awareness or questions."""
    arrivals: Sequence[Arrival] = ()
    """What came from other instances."""
    arrived: Integrated | None = None
    """Of the arrivals; None when there were none, or they were not taken."""
    clocks_before: Mapping[int, int] | None = None
    """What was known before both; None when neither was there."""
    shown: bytes | None = None
    """Everything that is new to the readers, as one update."""
    is_broken: bool = False
    """Something of it broke the copy."""

    @property
    def has_own_change(self) -> bool:
        """Readers of this instance have changed something, or what they wrote earlier found its place, or a
        document was begun here."""
        has_changed = self.result is not None and self.result.change is not None
        return has_changed or self._tells_arrived

    @property
    def _tells_arrived(self) -> bool:
        """Among what came besides is something that the other instances do not know."""
        is_untold = any(arrival.is_untold for arrival in self.arrivals)
        return self.arrived is not None and (self.arrived.released or is_untold)

    def before(self) -> bytes:
        """The state vector of a reader that has not been shown this flush."""
        if self.clocks_before is not None:
            return encode_state_vector(self.clocks_before)
        return self.live.copy.state_vector() if self.live.copy is not None else NOTHING_KNOWN

    def own_change(self) -> bytes | None:
        """That, as one update: for the other instances. None: nothing."""
        if self._tells_arrived:
            return _joined(self.arrived, self.result)
        return self.result.change if self.result is not None else None

    appends: Sequence[DocumentAppend] = field(default=())
    """What the store is to have before `show`."""


def take(live: LiveDocument) -> FlushedDocument:
    """Give the copy all that came in. From here to `show` the copy is ahead of the store. If it `is_broken`, `recover`
    it first."""
    batch, live.incoming = live.incoming, []
    arrivals, live.arrivals = live.arrivals, []
    for incoming in batch:
        incoming.reader.queued_bytes -= incoming.size_bytes
        incoming.seal()
    copy = live.copy
    if copy is None or not (batch or arrivals):
        return FlushedDocument(live, arrivals=arrivals)  # without a copy its readers were sent away, with their text
    live.flushing = True
    flushed = FlushedDocument(live, batch, arrivals=arrivals, clocks_before=copy.clocks)
    try:
        if arrivals:
            # Before the batch, and apart from it: it is stored already, and a client that moved here builds on it.
            flushed.arrived = copy.integrate([(arrival.update, arrival.scan) for arrival in arrivals])
        if batch:
            flushed.result = _integrate(copy, batch)
        flushed.shown = _joined(flushed.arrived, flushed.result)
    except DocumentBroken:
        flushed.is_broken = True
    else:
        _note_appends(flushed)
    return flushed


def _note_appends(flushed: FlushedDocument) -> None:
    result = flushed.result
    if result is not None:
        relays = _relays(flushed.batch, result)
        flushed.appends = flushed.live.appends_for(result.change, result.kept, relays)


def _relays(batch: Sequence[Incoming], result: Integrated) -> Sequence[RelayedRange]:
    """Which of the text that was new its senders had not written themselves."""
    if not any(incoming.relayed for incoming in batch):
        return ()
    known = dict(result.clocks_before)
    relays = []
    for index, incoming in enumerate(batch):
        if index in result.refused:
            continue
        for client, start, end in incoming.scan.writes:
            first = max(start, known.get(client, 0))
            if first < end:
                known[client] = end
                if client in incoming.relayed:
                    relays.append(RelayedRange(client, first, end, incoming.reader.reader.participant_id))
    return relays


def _joined(arrived: Integrated | None, result: Integrated | None) -> bytes | None:
    if arrived is None or arrived.change is None:
        return result.change if result is not None else None
    if result is None or result.change is None:
        return arrived.change
    return merge_updates([arrived.change, result.change])


async def recover(flushed: FlushedDocument, reload: Reload) -> None:
    """Something broke the copy. Begin again from the store, which also has what came from other instances.
    Raises: DocumentUnavailable: it could not be loaded again."""
    live = flushed.live
    flushed.arrived = None
    flushed.batch, flushed.result = await _take_one_by_one(live, flushed.batch, reload)
    if live.exchange is None or live.copy is None:
        flushed.shown = flushed.result.change
    else:
        # The store may hold what no reader of this instance has been shown.
        flushed.shown = live.copy.difference(flushed.before())
    flushed.is_broken = False
    _note_appends(flushed)


def _integrate(copy: YjsDocument, batch: Sequence[Incoming]) -> Integrated:
    typed = [incoming.typed_text for incoming in batch if incoming.typed_text is not None]
    if len(typed) == len(batch):
        result = copy.integrate_typed(typed)
        if result is not None:
            return result
    return copy.integrate([(incoming.update, incoming.scan) for incoming in batch])


async def _take_one_by_one(
    live: LiveDocument, batch: Sequence[Incoming], reload: Reload
) -> tuple[Sequence[Incoming], Integrated]:
    """One of the batch broke the copy: find it, close its sender, keep the others."""
    good: list[Incoming] = []
    copies = _Copies(live, reload)
    copy = await copies.fresh()
    for incoming in batch:
        if incoming.reader.is_expelled:
            continue  # it broke the document a moment ago; nothing of it is wanted
        try:
            copy = await copies.with_one_more(copy, good, incoming)
        except DocumentBroken:
            incoming.reader.expel(close_codes.MALFORMED)
            copy = await copies.fresh()
            _integrate(copy, good)
        else:
            good.append(incoming)
    # Once more from the store, so that all that is new comes out as one change.
    return good, _integrate(await copies.fresh(), good)


class _Copies:
    """A document read from the store again and again, without what is stored, waits, and breaks it."""

    def __init__(self, live: LiveDocument, reload: Reload) -> None:
        self._live = live
        self._reload = reload
        self._harmful: set[bytes] = set()

    async def fresh(self) -> YjsDocument:
        copy = await self._reload(self._live)
        is_too_much = len(self._harmful) >= MOST_WAITING_HARMFUL
        for waiting in [*self._harmful, *(copy.waiting if is_too_much else ())]:
            copy.set_aside(waiting)
        return copy

    async def with_one_more(self, copy: YjsDocument, good: Sequence[Incoming], incoming: Incoming) -> YjsDocument:
        """The copy, or a new one, with that. Raises: DocumentBroken: it is bad."""
        while True:
            try:
                _integrate(copy, [incoming])
            except DocumentBroken as error:
                if error.waiting is None or error.waiting in self._harmful:
                    raise
                self._harmful.add(error.waiting)
                copy = await self.fresh()
                _integrate(copy, good)
            else:
                return copy


def show(flushed: FlushedDocument, *, tell_everyone: bool) -> int:
    """Send what is new to everyone, and the acknowledgements; how many sends that took. The store
    has it now, or the document is failing. `tell_everyone`: that has just changed.
    Raises: DocumentBroken."""
    live, result = flushed.live, flushed.result
    if result is not None:
        _settle(flushed, result)
    authors = dict.fromkeys([incoming.reader for incoming in flushed.batch])
    told = live.readers if tell_everyone else authors
    words = {reader: word for reader in told if (word := reader.acknowledgement_to_send()) is not None}
    sent = _show_news(flushed, words)
    for reader, word in words.items():
        reader.reader.send(word)
    sent += len(words)
    asking, live.asking = live.asking, []
    for reader, state_vector in asking:
        reader.answer(state_vector)
    return sent + len(asking)


def _show_news(flushed: FlushedDocument, words: dict[OpenDocument, bytes]) -> int:
    """The change and the cursors, and to its authors their acknowledgement, in one piece to each reader; how many
    readers that were. Those of `words` that were said are taken out of it."""
    live = flushed.live
    change, author = _change_to_show(flushed)
    cursors, speaker = _cursors_to_show(live)
    messages = [message for message in (change, cursors) if message is not None]
    if not messages:
        return 0
    audience, followers = live.audience, live.followers
    instead: dict[OpenDocument, list[bytes]] = {}
    if author is not None and author in followers:
        instead[author] = [] if cursors is None else [cursors]
    if speaker is not None:
        for opened in [opened for opened in followers if opened.reader.connection_id == speaker]:
            instead[opened] = [] if change is None or opened is author else [change]
    for opened in [opened for opened in words if opened in followers]:
        instead[opened] = [*instead.get(opened, messages), words.pop(opened)]
    # Who does not keep up is left out from here on, and known to have the document as it was before.
    for opened in audience.send(messages, live.full_bytes, instead):
        opened.begin_lag(flushed.before())
    if cursors is not None and live.newcomers:  # whoever has not asked for the text yet may see who is here
        newcomers = [opened for opened in live.newcomers if opened.reader.connection_id != speaker]
        Audience(newcomers).send([cursors], live.full_bytes)
    return audience.size


def _change_to_show(flushed: FlushedDocument) -> tuple[bytes | None, OpenDocument | None]:
    """The change, as a message, and who has it already."""
    shown, result = flushed.shown, flushed.result
    if shown is None:
        return None, None
    # One author has it already, unless something of another's that had waited came free, or came over the bus.
    is_theirs = result is not None and shown is result.change and not result.released
    return sync.sync_update(shown), _sole_author(flushed.batch) if is_theirs else None


def _cursors_to_show(live: LiveDocument) -> tuple[bytes | None, str | None]:
    """Cursors that moved, as a message, and the connection that said all of them."""
    if not live.awareness.has_changes():
        return None, None
    update, speakers = live.awareness.changes_to_send()
    return sync.awareness_message(update), next(iter(speakers)) if len(speakers) == 1 else None


def _sole_author(batch: Sequence[Incoming]) -> OpenDocument | None:
    author: OpenDocument | None = None
    for incoming in batch:
        if incoming.reader is not author and not incoming.is_empty:
            if author is not None:
                return None
            author = incoming.reader
    return author


def _settle(flushed: FlushedDocument, result: Integrated) -> None:
    """Count what was taken, and ask again for what could not be placed whole."""
    is_stored = not flushed.live.is_failing
    for index, incoming in enumerate(flushed.batch):
        reader = incoming.reader
        denial = result.refused.get(index) if result.refused else None
        if not incoming.is_part:
            reader.acknowledgements.flush(incoming.number, holds_everything=incoming.is_answer and denial is None)
        if denial is not None:
            reader.refuse(incoming.number, denial)
        if reader.long is not None:
            reader.long.note_taken(incoming, is_refused=denial is not None)
        if index in result.incomplete and not incoming.is_answer and not reader.is_closed:
            reader.ask()
        if is_stored:
            reader.acknowledgements.store()
