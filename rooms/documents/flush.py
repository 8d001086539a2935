"""One document's part in a flush: take what came in, and show what became of it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from rooms.documents import close_codes, sync
from rooms.documents.document import Integrated, YjsDocument
from rooms.documents.errors import DocumentBroken
from rooms.documents.fan_out import broadcast
from rooms.documents.live import Incoming, LiveDocument
from rooms.documents.open_document import OpenDocument
from rooms.ports import DocumentAppend

Reload = Callable[[LiveDocument], Awaitable[YjsDocument]]


@dataclass(slots=True)
class FlushedDocument:
    """A document between `take` and `show`."""

    live: LiveDocument
    batch: Sequence[Incoming] = ()
    result: Integrated | None = None
    """None: nothing came in but awareness or questions."""
    appends: Sequence[DocumentAppend] = field(default=())
    """What the store is to have before `show`."""


async def take(live: LiveDocument, reload: Reload) -> FlushedDocument:
    """Give the copy all that came in. From here to `show` the copy is ahead of the store.
    Raises: DocumentUnavailable: it broke, and could not be loaded again."""
    batch, live.incoming = live.incoming, []
    for incoming in batch:
        incoming.reader.queued_bytes -= len(incoming.update)
    if not batch or live.copy is None:
        return FlushedDocument(live)  # without a copy its readers have been sent away, with their text
    live.flushing = True
    taken: Sequence[Incoming] = batch
    try:
        result = _integrate(live.copy, batch)
    except DocumentBroken:
        taken, result = await _take_one_by_one(live, batch, reload)
    return FlushedDocument(live, taken, result, live.appends_for(result.change, result.kept))


def _integrate(copy: YjsDocument, batch: Sequence[Incoming]) -> Integrated:
    return copy.integrate([(incoming.update, incoming.scan) for incoming in batch])


async def _take_one_by_one(
    live: LiveDocument, batch: Sequence[Incoming], reload: Reload
) -> tuple[Sequence[Incoming], Integrated]:
    """One of the batch broke the copy: find it, close its sender, keep the others."""
    good: list[Incoming] = []
    copy = await reload(live)
    for incoming in batch:
        if incoming.reader.is_expelled:
            continue  # it broke the document a moment ago; nothing of it is wanted
        try:
            _integrate(copy, [incoming])
        except DocumentBroken:
            incoming.reader.expel(close_codes.MALFORMED)
            copy = await reload(live)
            _integrate(copy, good)
        else:
            good.append(incoming)
    # Once more from the store, so that all that is new comes out as one change.
    return good, _integrate(await reload(live), good)


def show(flushed: FlushedDocument, *, tell_everyone: bool) -> int:
    """Send what is new to everyone, and the acknowledgements; how many messages that made. The store
    has it now, or the document is failing. `tell_everyone`: that has just changed.
    Raises: DocumentBroken."""
    live, result = flushed.live, flushed.result
    sent = 0
    if result is not None:
        if result.change is not None:
            sent += _show_change(flushed, result, result.change)
        _settle(flushed, result)
    if live.awareness.has_changes():
        sent += _show_awareness(live)
    authors = dict.fromkeys(incoming.reader for incoming in flushed.batch)
    told = live.readers if tell_everyone else authors
    for reader in list(told):
        reader.acknowledge()
    asking, live.asking = live.asking, []
    for reader, state_vector in asking:
        reader.answer(state_vector)
    return sent + len(told) + len(asking)


def _show_change(flushed: FlushedDocument, result: Integrated, change: bytes) -> int:
    authors = {incoming.reader for incoming in flushed.batch if not incoming.scan.is_empty}
    # One author has it already, unless something of another's that had waited came free.
    sole_author = next(iter(authors)) if len(authors) == 1 and not result.released else None
    targets = []
    for reader in list(flushed.live.readers):
        if not reader.is_synced or reader.is_lagging:
            continue
        if reader.is_backed_up():
            reader.begin_lag(result.before)
        elif reader is not sole_author:
            targets.append(reader.reader)
    return broadcast(targets, sync.sync_update(change))


def _show_awareness(live: LiveDocument) -> int:
    update, speakers = live.awareness.changes_to_send()
    sole_speaker = next(iter(speakers)) if len(speakers) == 1 else None
    targets = [
        reader.reader
        for reader in list(live.readers)
        if reader.reader.connection_id != sole_speaker and _takes_awareness(reader)
    ]
    return broadcast(targets, sync.awareness_message(update))


def _takes_awareness(reader: OpenDocument) -> bool:
    if not reader.is_started or reader.is_lagging:
        return False
    if not reader.is_backed_up():
        return True
    if reader.is_synced and reader.live.copy is not None:
        reader.begin_lag(reader.live.copy.state_vector())
    return False


def _settle(flushed: FlushedDocument, result: Integrated) -> None:
    """Count what was taken, and ask again for what could not be placed whole."""
    for index, incoming in enumerate(flushed.batch):
        reader = incoming.reader
        denial = result.refused.get(index)
        reader.acknowledgements.flush(incoming.number, holds_everything=incoming.is_answer and denial is None)
        if denial is not None:
            reader.refuse(incoming.number, denial)
        if index in result.incomplete and not incoming.is_answer and not reader.is_closed:
            reader.ask()
    if not flushed.live.is_failing:
        for incoming in flushed.batch:
            incoming.reader.acknowledgements.store()
