"""What is fuzzed: each target takes any bytes, and raises when a promise about them does not hold.

A target answers whether the bytes were let in. `seeds` are inputs that are, from which a fuzzer begins.
"""

import json
import random
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

import pycrdt

from rooms.documents import bus_message, sync
from rooms.documents.awareness import DocumentAwareness, read_awareness
from rooms.documents.bus_message import BusMessage, Kind, SharedAwareness
from rooms.documents.encoding import var_bytes, var_uint
from rooms.documents.errors import MalformedMessage
from rooms.documents.scan import scan_update
from rooms.ports import ClientBinding
from tests.fuzz.document_life import document_seeds, live_through
from tests.fuzz.document_slices import sliced
from tests.rooms.documents.hostile import BREAKING, MALFORMED
from tests.support.documents import generated_updates
from tests.support.mutations import real_messages

Target = Callable[[bytes], bool]

COUNTS = struct.Struct("<QQ")
"""How many inputs were tried, and how many let in, as a run writes them down."""

LONGEST_HOSTILE_BYTES = 2_000
"""Of the updates made to harm, those that say something new: the others are the same over and over."""


def scan(data: bytes) -> bool:
    """What is let in says of itself what a document would be asked."""
    try:
        read = scan_update(data)
    except MalformedMessage:
        return False
    assert all(0 <= start < end for _client, start, end in read.writes)
    assert all(start <= end for _client, start, end in read.deletes)
    reached = dict(read.needs)
    for client, _start, end in (*read.writes, *read.deletes):
        reached[client] = max(end, reached.get(client, 0))
    assert read.is_covered_by(reached)
    return True


def message(data: bytes) -> bool:
    try:
        read = sync.read_message(data)
    except MalformedMessage:
        return False
    write = {
        sync.Kind.STEP_1: sync.sync_step_1,
        sync.Kind.STEP_2: sync.sync_step_2,
        sync.Kind.UPDATE: sync.sync_update,
        sync.Kind.AWARENESS: sync.awareness_message,
        sync.Kind.QUERY_AWARENESS: lambda _body: bytes([sync.QUERY_AWARENESS]),
    }[read.kind]
    assert sync.read_message(write(read.body)) == read
    return True


def state_vector(data: bytes) -> bool:
    try:
        read = sync.read_state_vector(data)
    except MalformedMessage:
        return False
    assert sync.read_state_vector(sync.encode_state_vector(read)) == read
    return True


def _no_constant(name: str) -> NoReturn:
    raise AssertionError(f"{name} is no JSON")


def awareness(data: bytes) -> bool:
    """What a reader is shown of another can be read by it."""
    here = DocumentAwareness(8)
    try:
        spoken_for = here.receive("reader", data, lambda _client: True)
    except MalformedMessage:
        assert not here.has_changes(), "nothing is taken of what is malformed"
        return False
    assert len(spoken_for) <= 8
    shown, _speakers = here.changes_to_send()
    for _client, _clock, state in read_awareness(shown):
        assert isinstance(json.loads(state, parse_constant=_no_constant), dict | None)
    other = DocumentAwareness(8)
    other.receive_from_instance("instance", shown, is_whole=True)
    assert other.whole_state() == here.whole_state()
    here.remove_connection("reader")
    assert here.whole_state() is None
    return bool(spoken_for)


def bus(data: bytes) -> bool:
    try:
        read = bus_message.read_message(data)
    except MalformedMessage:
        return False
    assert bus_message.read_message(bus_message.encode_message(read)) == read
    return True


TARGETS: Mapping[str, Target] = {
    "scan_update": scan,
    "sync_message": message,
    "state_vector": state_vector,
    "awareness": awareness,
    "bus_message": bus,
    "document": live_through,
    "slices": sliced,
}


def seeds() -> Mapping[str, Sequence[bytes]]:
    """For each target, what its peers really say; some of the hostile for those that read updates."""
    messages = real_messages()
    bodies = [sync.read_message(one) for one in messages]
    updates = [one.body for one in bodies if one.kind in (sync.Kind.UPDATE, sync.Kind.STEP_2)]
    updates += [update for seed in range(3) for update in generated_updates(seed=seed, count=40)]
    states = [one.body for one in bodies if one.kind is sync.Kind.AWARENESS]
    vectors = [one.body for one in bodies if one.kind is sync.Kind.STEP_1] + [pycrdt.get_state(u) for u in updates[:20]]
    return {
        "scan_update": updates,
        "sync_message": [*messages, b"\x03"],
        "state_vector": vectors,
        "awareness": [*states, *_crowds()],
        "bus_message": _bus_messages(updates[:8], vectors[0], states[0]),
        "document": document_seeds(updates),
        "slices": _long_updates(updates),
    }


def _long_updates(updates: Sequence[bytes]) -> list[bytes]:
    """Alone, merged by the dozen, and whole states; in slices of every size, and knowing all, half or nothing."""
    dozens = [updates[start : start + 12] for start in range(0, len(updates), 12)]
    wholes = [pycrdt.merge_updates(*updates[:count]) for count in (2, 30)]
    long = [*updates[::5], *(pycrdt.merge_updates(*dozen) for dozen in dozens), *wholes]
    return [bytes([place, place % 3 * 4]) + update for place, update in enumerate(long)]


def hostile_seeds() -> Sequence[bytes]:
    return [update for update in (*MALFORMED.values(), *BREAKING.values()) if len(update) <= LONGEST_HOSTILE_BYTES]


def _crowds() -> list[bytes]:
    chance = random.Random(5)
    return [
        var_uint(people)
        + b"".join(
            var_uint(chance.randrange(2**32)) + var_uint(chance.randrange(900)) + var_bytes(b'{"cursor":null}')
            for _ in range(people)
        )
        for people in (1, 3, 8)
    ]


def _bus_messages(updates: Sequence[bytes], vector: bytes, state: bytes) -> list[bytes]:
    sender, bindings = b"instance", (ClientBinding(77_001, "p1"), ClientBinding(2**40, "p2"))
    here = SharedAwareness(state, bindings[:1])
    said = [BusMessage(Kind.CHANGE, sender, n, update=update, bindings=bindings) for n, update in enumerate(updates)]
    said += [
        BusMessage(Kind.STATE, sender, 9, state_vector=vector, digest=bytes(16), awareness=here, wants_reply=True),
        BusMessage(Kind.ASK, sender, 9, addressee=b"addressd", state_vector=vector),
        BusMessage(Kind.ANSWER, sender, 9, update=updates[0], awareness=here, is_unsaved=True),
        BusMessage(Kind.ANSWER, sender, 9, is_too_large=True),
        BusMessage(Kind.GOODBYE, sender, 9),
    ]
    return [bus_message.encode_message(one) for one in said]
