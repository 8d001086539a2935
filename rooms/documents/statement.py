"""What an instance says of a document over the bus, put together from the document as it is."""

from collections.abc import Mapping, Sequence

from rooms.documents.awareness import AwarenessEntry, encode_awareness
from rooms.documents.bus_message import EVERYONE, BusMessage, Kind, SharedAwareness
from rooms.documents.document import YjsDocument
from rooms.documents.exchange import DocumentExchange
from rooms.documents.flush import FlushedDocument
from rooms.documents.limits import MAX_BUS_AWARENESS_BYTES, MAX_BUS_UPDATE_BYTES
from rooms.documents.live import LiveDocument
from rooms.documents.sync import read_state_vector
from rooms.ports import ClientBinding

Entries = Mapping[int, AwarenessEntry]
"""Awareness by Yjs client id."""


def change_message(flushed: FlushedDocument, exchange: DocumentExchange, awareness: Entries) -> BusMessage | None:
    """What the readers of this instance changed; None when it is too long for a message."""
    update = flushed.own_change() or b""
    if len(update) > MAX_BUS_UPDATE_BYTES:
        return None
    return BusMessage(
        Kind.CHANGE,
        exchange.instance,
        exchange.number,
        update=update,
        bindings=[binding for append in flushed.appends for binding in append.bindings],
        awareness=share(flushed.live, awareness) if awareness else SharedAwareness(),
        is_unsaved=flushed.live.is_failing,
    )


def state_message(
    live: LiveDocument,
    copy: YjsDocument,
    exchange: DocumentExchange,
    digest: bytes,
    *,
    to: bytes = EVERYONE,
    wants_reply: bool = False,
) -> BusMessage:
    """How this instance stands; with its readers' awareness where somebody may not know it."""
    is_first = wants_reply or to != EVERYONE
    return BusMessage(
        Kind.STATE,
        exchange.instance,
        exchange.number,
        addressee=to,
        state_vector=copy.state_vector(),
        digest=digest,
        awareness=share(live, live.awareness.own_state()) if is_first else SharedAwareness(),
        wants_reply=wants_reply,
        is_unsaved=live.is_failing,
    )


def answer_message(
    live: LiveDocument, copy: YjsDocument, exchange: DocumentExchange, to: bytes, state_vector: bytes
) -> BusMessage:
    """What an instance with this state vector lacks. Raises: MalformedMessage."""
    # Of much that is stored nothing is written here: it takes the engine longer than anybody may wait.
    is_stored = not live.is_failing and live.size_bytes > MAX_BUS_UPDATE_BYTES
    is_too_large = is_stored and copy.is_much_beyond(state_vector)
    update = b"" if is_too_large else copy.difference(state_vector)
    is_too_large = is_too_large or len(update) > MAX_BUS_UPDATE_BYTES
    return BusMessage(
        Kind.ANSWER,
        exchange.instance,
        exchange.number,
        addressee=to,
        update=b"" if is_too_large else update,
        bindings=bindings_beyond(live, copy, read_state_vector(state_vector)),
        awareness=share(live, live.awareness.own_state()),
        is_unsaved=live.is_failing,
        is_too_large=is_too_large,
    )


def bindings_beyond(live: LiveDocument, copy: YjsDocument, known: Mapping[int, int]) -> Sequence[ClientBinding]:
    """The owners of all client ids under which more is written than these clocks say."""
    new = [client for client, clock in copy.clocks.items() if clock > known.get(client, 0)]
    return [ClientBinding(client, live.owners[client]) for client in new if client in live.owners]


def share(live: LiveDocument, entries: Entries) -> SharedAwareness:
    """For the others, with the owners of those client ids that have not written yet."""
    update = encode_awareness(entries.items())
    if len(update) > MAX_BUS_AWARENESS_BYTES:
        return SharedAwareness()
    owners = [ClientBinding(client, live.announced[client]) for client in entries if client in live.announced]
    return SharedAwareness(update, owners)
