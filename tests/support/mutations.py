"""Messages of a document as an attacker would make them: real ones that were damaged, and ones built to kill."""

import random
from collections.abc import Callable, Iterator, Sequence

import pycrdt

from rooms.documents import sync
from rooms.documents.encoding import var_uint
from tests.rooms.documents.hostile import BREAKING, MALFORMED

HUGE_NUMBERS = (var_uint(2**31), var_uint(2**40), var_uint(2**53), b"\xff" * 9, b"\x80" * 30)


def real_messages() -> list[bytes]:
    """What editors say: text, formats, maps, arrays, XML, deletions, questions and cursors. Their root type is called
    `other`: damaged ones that are still sound change nothing of the text `text`."""
    doc: pycrdt.Doc[pycrdt.Map] = pycrdt.Doc(client_id=77_001)
    updates: list[bytes] = []
    subscription = doc.observe(lambda event: updates.append(event.update))
    other = doc.get("other-map", type=pycrdt.Map)
    other["text"] = pycrdt.Text("Bonjour à tous, les élèves 📊 de la 4e B")
    other["text"].format(0, 7, {"bold": True})
    del other["text"][8:10]
    other["list"] = pycrdt.Array([1, 2.5, None, True, "mot", {"clé": [1, 2]}])
    other["map"] = pycrdt.Map({"a": {"b": {"c": 1}}, "bytes": b"\x00\xff"})
    fragment = doc.get("other-xml", type=pycrdt.XmlFragment)
    fragment.children.append(pycrdt.XmlElement("paragraph", {"class": "x"}))
    doc.unobserve(subscription)
    awareness = pycrdt.Awareness(doc)
    awareness.set_local_state({"user": {"name": "Zoé", "color": "#123456"}, "cursor": {"anchor": 3, "head": 9}})
    return [
        *(sync.sync_update(update) for update in updates),
        sync.sync_step_2(doc.get_update()),
        sync.sync_step_1(doc.get_state()),
        sync.awareness_message(awareness.encode_awareness_update([doc.client_id])),
    ]


def _truncate(chance: random.Random, message: bytearray) -> None:
    del message[chance.randrange(1, len(message)) :]


def _flip(chance: random.Random, message: bytearray) -> None:
    for _ in range(chance.randrange(1, 6)):
        message[chance.randrange(len(message))] ^= 1 << chance.randrange(8)


def _cut_out(chance: random.Random, message: bytearray) -> None:
    start = chance.randrange(1, len(message))
    del message[start : start + chance.randrange(1, 9)]


def _double(chance: random.Random, message: bytearray) -> None:
    start = chance.randrange(1, len(message))
    message[start:start] = message[start : start + chance.randrange(1, 40)]


def _put_a_huge_number(chance: random.Random, message: bytearray) -> None:
    start = chance.randrange(1, len(message))
    message[start : start + chance.randrange(3)] = chance.choice(HUGE_NUMBERS)


def _replace_by_noise(chance: random.Random, message: bytearray) -> None:
    start = chance.randrange(1, len(message))
    message[start:] = chance.randbytes(chance.randrange(60))


_DAMAGES: Sequence[Callable[[random.Random, bytearray], None]] = (
    _truncate,
    _flip,
    _cut_out,
    _double,
    _put_a_huge_number,
    _replace_by_noise,
)
_KILLERS = [
    wrap(update)
    for update in [*MALFORMED.values(), *BREAKING.values()]
    for wrap in (sync.sync_update, sync.sync_step_2, sync.awareness_message)
]


def hostile_messages(seed: int) -> Iterator[bytes]:
    """For ever."""
    chance = random.Random(seed)
    real = real_messages()
    while True:
        if chance.random() < 0.2:
            yield chance.choice(_KILLERS)
            continue
        message = bytearray(chance.choice(real))
        for _ in range(chance.randrange(1, 4)):
            if len(message) > 1:
                chance.choice(_DAMAGES)(chance, message)
        yield bytes(message)
