"""Recorded histories as the Yjs updates that their authors sent, and what a document of them reads.

One step is one update of one author. It may be sent once its author's connection has what it builds on:
that keeps the order in which things were seen, and leaves really concurrent what was concurrent.
"""

import base64
import gzip
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pycrdt

from rooms.documents.scan import scan_update
from tests.support.documents import recorded_history
from tests.support.traces import trace_folder

Content = dict[str, Any]
"""What the root types `text`, `delta` (the text with its formats), `map`, `array` and `xml` read, or some of them."""


@dataclass(frozen=True, slots=True)
class Step:
    author: int
    """Number of the author, from 0."""
    needs: Mapping[int, int]
    """Client id of another author → clock that must have come before."""
    update: bytes


@dataclass(frozen=True, slots=True)
class Recording:
    name: str
    steps: Sequence[Step]
    expected: Content

    @property
    def authors(self) -> int:
        return 1 + max(step.author for step in self.steps)


def load_recording(name: str) -> Recording:
    """The recorded history of that name, or one of its shape (which is said)."""
    return _mixed(name) if name.startswith("mixed-") else _typed(name)


def _typed(name: str) -> Recording:
    history = recorded_history(name)
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    for update in history.updates:
        doc.apply_update(update)
    text = str(doc.get("text", type=pycrdt.Text))
    assert history.is_final(text), f"{name}: the updates themselves do not give the text"
    return Recording(name, _steps(history.updates, _parents(name, len(history.updates))), {"text": text})


def _parents(name: str, count: int) -> list[list[int]]:
    """The steps that each one builds on."""
    folder = trace_folder()
    path = folder / f"{name}.trace.json.gz" if folder else None
    if path is None or not path.is_file():
        return [[index - 1] if index else [] for index in range(count)]
    transactions = json.loads(gzip.decompress(path.read_bytes()))["txns"]
    assert len(transactions) == count, f"{name}: not one update for each transaction"
    return [
        parents if parents is not None else [index - 1] * bool(index)
        for index, (_agent, parents, _patches) in enumerate(transactions)
    ]


def _mixed(name: str) -> Recording:
    folder = trace_folder()
    path = folder / f"{name}.json.gz" if folder else None
    if path is not None and path.is_file():
        recorded = json.loads(gzip.decompress(path.read_bytes()))
        updates = [base64.b64decode(update) for update in recorded["updates"]]
        expected = {kind: recorded["expected"][kind] for kind in ("text", "delta", "map", "array", "xml")}
    else:
        print(f"{name}: the recorded history is not here; a generated one of the same shape is used")
        updates, expected = _generate(int(name[-2:]))
    # Who saw what is not recorded: each update waits for all that came before it.
    return Recording(name, _steps(updates, [[index - 1] * bool(index) for index in range(len(updates))]), expected)


def _steps(updates: Sequence[bytes], parents: Sequence[Sequence[int]]) -> list[Step]:
    steps: list[Step] = []
    reached: list[dict[int, int]] = []
    """The clocks that whoever made a step had seen, with it."""
    authors: dict[int, int] = {}
    author = 0
    for update, builds_on in zip(updates, parents, strict=True):
        before: dict[int, int] = {}
        for index in builds_on:
            for client, clock in reached[index].items():
                before[client] = max(clock, before.get(client, 0))
        own = {client: end for client, _start, end in scan_update(update).writes}
        for client in own:
            author = authors.setdefault(client, len(authors))
        # A deletion alone names nobody: whoever wrote last may as well send it.
        steps.append(Step(author, {c: k for c, k in before.items() if authors[c] != author}, update))
        reached.append(before | own if own else before)
    return steps


def _generate(seed: int) -> tuple[list[bytes], Content]:
    """Random edits of four people who see each other's at random."""
    chance = random.Random(seed)
    docs: list[pycrdt.Doc[Any]] = [pycrdt.Doc(client_id=100 + number) for number in range(4)]
    updates: list[bytes] = []
    seen = [0, 0, 0, 0]
    for _ in range(240):
        number = chance.randrange(4)
        doc = docs[number]
        for update in updates[seen[number] :]:
            doc.apply_update(update)
        before = doc.get_state()
        _edit(doc, chance)
        updates.append(doc.get_update(before))
        seen[number] = len(updates)
    whole: pycrdt.Doc[Any] = pycrdt.Doc()
    for update in updates:
        whole.apply_update(update)
    return updates, content_of(whole)


def _edit(doc: "pycrdt.Doc[Any]", chance: random.Random) -> None:
    text, array = doc.get("text", type=pycrdt.Text), doc.get("array", type=pycrdt.Array)
    mapping, xml = doc.get("map", type=pycrdt.Map), doc.get("xml", type=pycrdt.XmlFragment)
    word = chance.choice(("a", "mot", "xyz "))  # one byte a character: any place is one
    match chance.randrange(5):
        case 0:
            mapping[f"k{chance.randrange(4)}"] = chance.choice((1.5, True, None, word))
        case 1:
            array.insert(chance.randint(0, len(array)), word)
        case 2:
            paragraph = xml.children.append(pycrdt.XmlElement("paragraph", {"level": "1"}))
            paragraph.children.append(pycrdt.XmlText(word))
        case 3 if len(text) > 4:
            text.format(1, chance.randint(2, len(text)), {"bold": True})
        case _:
            text.insert(chance.randint(0, len(text)), word)


def content_of(doc: "pycrdt.Doc[Any]") -> Content:
    """What the document reads, as Yjs' `toDelta` and `toJSON` would say it."""
    text = doc.get("text", type=pycrdt.Text)
    return {
        "text": str(text),
        "delta": _delta(text),
        "map": doc.get("map", type=pycrdt.Map).to_py(),
        "array": doc.get("array", type=pycrdt.Array).to_py(),
        "xml": [_tree(child) for child in doc.get("xml", type=pycrdt.XmlFragment).children],
    }


def reads(doc: "pycrdt.Doc[Any]", expected: Content) -> bool:
    """Whether the document has this content. The text alone is cheap to ask."""
    if str(doc.get("text", type=pycrdt.Text)) != expected["text"]:
        return False
    return len(expected) == 1 or content_of(doc) == expected


def _delta(text: Any) -> list[Content]:
    return [{"insert": what} | ({"attributes": formats} if formats else {}) for what, formats in text.diff()]


def _tree(node: Any) -> Any:
    if isinstance(node, pycrdt.XmlText):
        return _delta(node)
    return {"n": node.tag, "a": dict(node.attributes), "c": [_tree(child) for child in node.children]}
