"""Awareness of one document: who is here, with what cursor (y-protocols, awareness.js).

A pure merge by Yjs client id, the newest clock wins; a state stays the bytes it came as. A connection
speaks for its own client ids alone: what it says of others is passed over without a word, because a
y-websocket client repeats all it hears, and reports as gone whom it has not heard of for 30 s. What other
instances say of their readers is kept as theirs, and never passed on to instances. Whose cursor nobody may see now is
heard all the same (`is_withheld`): what they said last is shown when it may be (`release`).
`receive` what comes, send `changes_to_send` to everyone at each flush; when a connection ends,
`remove_connection` makes the null states that end its cursors for the others.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from rooms.documents.encoding import BoundedReader, var_bytes, var_uint
from rooms.documents.errors import MalformedMessage
from rooms.documents.json_value import parse_json
from rooms.documents.limits import (
    MAX_AWARENESS_DEPTH,
    MAX_AWARENESS_ENTRIES,
    MAX_AWARENESS_STATE_BYTES,
    MAX_CLIENT_ID,
    MAX_CLOCK,
)
from rooms.documents.scan import Cursor

GONE = b"null"


@dataclass(slots=True)
class AwarenessEntry:
    """What one client id says of itself. Never changed: a frozen class would take four times as long to make."""

    clock: int
    state: bytes
    """JSON in UTF-8: an object, or `null` when it has gone."""
    connection_id: str
    """The connection (or other instance) that said so last; the state ends with it."""
    is_ours: bool = True
    """Said by a reader of this instance."""


class DocumentAwareness:
    """States of everyone in one document. Bounded by connections × ids per connection."""

    def __init__(self, client_ids_per_connection: int) -> None:
        self._most_ids = client_ids_per_connection
        self._entries: dict[int, AwarenessEntry] = {}
        self._ids_of: dict[str, set[int]] = {}
        self._changed: dict[int, AwarenessEntry] = {}
        self._withheld: dict[str, dict[int, AwarenessEntry]] = {}
        """Connection → what it said last while nobody was to see it."""

    def receive(
        self, connection_id: str, update: bytes, may_speak_for: Callable[[int], bool], *, is_withheld: bool = False
    ) -> list[int]:
        """Take what is this connection's to say; the client ids that it spoke for.

        `may_speak_for` asks whether a client id belongs to this participant or to nobody. `is_withheld`: nobody is to
        see it before `release`. Raises: MalformedMessage, and then nothing was taken."""
        own: dict[int, AwarenessEntry] = {}
        withheld = self._withheld.get(connection_id, {})
        spoken_for = self._ids_of.get(connection_id, set())
        room = self._most_ids - len(spoken_for) - len(withheld.keys() - spoken_for)
        for client, clock, state in read_awareness(update):
            entry = own.get(client) or withheld.get(client) or self._entries.get(client)
            if entry is None and state == GONE:
                continue  # it repeats what it was told; taken, it would speak for the client from now on
            if entry is not None and not _is_newer(entry, clock, state):
                continue
            is_own = client in own or (entry is not None and entry.connection_id == connection_id)
            if not is_own:
                if room <= 0 or not may_speak_for(client):
                    continue
                room -= 1
            _check_state(state)
            own[client] = AwarenessEntry(clock, state, connection_id)
        if is_withheld and own:
            self._withheld.setdefault(connection_id, {}).update(own)
        elif own:
            self._take_newer(own)
        return list(own)

    def release(self, connection_id: str) -> list[int]:
        """What was withheld of this connection may be seen now; of which client ids there was something."""
        released = self._withheld.pop(connection_id, {})
        self._take_newer(released)
        return list(released)

    def receive_next(self, connection_id: str, message: bytes) -> bool:
        """As `receive`, for the message (the whole one, with its kind) in which a client id that this connection has
        spoken for goes on: nine in ten are that. False: nothing was taken, it is for `receive`."""
        cursor = Cursor(message, 1)
        try:
            size = cursor.number()
            if cursor.at + size != len(message) or cursor.number() != 1:
                return False
            client, clock, length = cursor.number(), cursor.number(), cursor.number()
            entry = self._entries.get(client)
            state = message[cursor.at :]
            if entry is None or entry.connection_id != connection_id or len(state) != length:
                return False
            if not entry.clock < clock <= MAX_CLOCK or state == GONE:
                return False
            _check_state(state)
        except (IndexError, MalformedMessage):
            return False  # `receive` finds it again, and says so
        self._entries[client] = self._changed[client] = AwarenessEntry(clock, state, connection_id)
        return True

    def receive_from_instance(self, instance: str, update: bytes, *, is_whole: bool) -> set[int]:
        """Take what another instance says of its readers; `is_whole`: it has no others. Which client ids
        have gone. Raises: MalformedMessage, and then nothing was taken."""
        entries = read_awareness(update)
        for _client, _clock, state in entries:
            _check_state(state)
        own = self._ids_of.setdefault(instance, set())
        gone = set(own) if is_whole else set()
        for client, clock, state in entries:
            if state == GONE:
                gone.add(client)
                continue
            gone.discard(client)
            entry = self._entries.get(client)
            has_room = client in own or len(own) < MAX_AWARENESS_ENTRIES
            if has_room and (entry is None or clock > entry.clock):
                self._take(client, AwarenessEntry(clock, state, instance, is_ours=False))
        gone &= own
        for client in gone:
            self._forget(client)
        return gone

    def renewal(self, clients: Iterable[int]) -> bytes | None:
        """What makes these clients say again who they are, with a higher clock: to be sent to them alone.
        None: none of them is here.

        Whoever saw a client go (its connection broke, or the server did) ignores it when it comes back with
        the clock it had, and y-websocket's provider raises that only every 15 s. Told that it has gone, a client
        that has not raises its clock at once and says so to all (y-protocols, awareness.js,
        applyAwarenessUpdate: "never let a remote client remove this local state")."""
        here = [(client, entry) for client in clients if (entry := self._entries.get(client)) and entry.state != GONE]
        return encode_awareness([(client, replace(entry, state=GONE)) for client, entry in here]) if here else None

    def remove_connection(self, connection_id: str) -> set[int]:
        """Its client ids (or those of an instance) are gone for everyone, and forgotten here, so that the
        same tab may come back over another connection with the clock it had; which they were."""
        own = set(self._ids_of.get(connection_id, ()))
        for client in own:
            self._forget(client)
        self._ids_of.pop(connection_id, None)
        return own | self._withheld.pop(connection_id, {}).keys()

    def has_changes(self) -> bool:
        return bool(self._changed)

    def changes_to_send(self) -> tuple[bytes, set[str]]:
        """The newest state of each client id that changed since the last call, as an awareness
        update, and the connections that said it."""
        changed, self._changed = self._changed, {}
        return encode_awareness(changed.items()), {entry.connection_id for entry in changed.values()}

    def changes_to_publish(self) -> dict[int, AwarenessEntry]:
        """Those of the changes that readers of this instance made; to be asked before `changes_to_send`."""
        return {client: entry for client, entry in self._changed.items() if entry.is_ours}

    def own_state(self) -> dict[int, AwarenessEntry]:
        """Everyone who is here through this instance."""
        return {client: entry for client, entry in self._entries.items() if entry.is_ours and entry.state != GONE}

    def whole_state(self) -> bytes | None:
        """Everyone who is here, as an awareness update; None when nobody is."""
        present = [(client, entry) for client, entry in self._entries.items() if entry.state != GONE]
        return encode_awareness(present) if present else None

    def _forget(self, client: int) -> None:
        entry = self._entries.pop(client)
        self._ids_of[entry.connection_id].discard(client)
        # y-protocols: the same clock with null removes a state that is there.
        self._changed[client] = replace(entry, state=GONE)

    def _take_newer(self, entries: Mapping[int, AwarenessEntry]) -> None:
        for client, entry in entries.items():
            before = self._entries.get(client)
            if entry.state != GONE if before is None else _is_newer(before, entry.clock, entry.state):
                self._take(client, entry)

    def _take(self, client: int, entry: AwarenessEntry) -> None:
        before = self._entries.get(client)
        if before is not None and before.connection_id != entry.connection_id:
            # The same tab over a new connection, before the old one was seen to have died.
            self._ids_of[before.connection_id].discard(client)
        self._entries[client] = entry
        self._ids_of.setdefault(entry.connection_id, set()).add(client)
        self._changed[client] = entry


def _is_newer(entry: AwarenessEntry, clock: int, state: bytes) -> bool:
    """The clock rule of y-protocols: a later clock, or the same one that says it has gone."""
    return clock > entry.clock or (clock == entry.clock and state == GONE and entry.state != GONE)


def _check_state(state: bytes) -> None:
    """Every reader's `JSON.parse` will meet it. Raises: MalformedMessage."""
    if state == GONE:
        return
    if len(state) > MAX_AWARENESS_STATE_BYTES:
        raise MalformedMessage("awareness state too large")
    try:
        text = state.decode()
    except UnicodeDecodeError as error:
        raise MalformedMessage("text that is not UTF-8") from error
    if not isinstance(parse_json(text, MAX_AWARENESS_DEPTH), dict):
        raise MalformedMessage("an awareness state that is no object")


def read_awareness(update: bytes) -> list[tuple[int, int, bytes]]:
    """Client id, clock and state of each entry, states unread. Raises: MalformedMessage."""
    reader = BoundedReader(update)
    count = reader.var_uint()
    if count > MAX_AWARENESS_ENTRIES or count > len(update) // 3:
        raise MalformedMessage("too many awareness entries")
    entries = []
    for _ in range(count):
        client, clock, state = reader.var_uint(), reader.var_uint(), reader.var_bytes()
        if client > MAX_CLIENT_ID or clock > MAX_CLOCK:
            raise MalformedMessage("impossible awareness entry")
        entries.append((client, clock, state))
    reader.end()
    return entries


def encode_awareness(entries: Iterable[tuple[int, AwarenessEntry]]) -> bytes:
    """An awareness update of y-protocols: count, then client id, clock and state of each."""
    parts = [var_uint(client) + var_uint(entry.clock) + var_bytes(entry.state) for client, entry in entries]
    return var_uint(len(parts)) + b"".join(parts)
