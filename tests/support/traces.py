"""Real editing histories where they are at hand, else histories of the same shape.

The histories lie beside the checkout (`../shared/data/traces`, or PASSERELLE_TEST_TRACES); they are
not part of it. Where they are absent, a generator makes typing of the same shape: runs of single
characters, corrections, moves to elsewhere, some non-ASCII text; it says so.
"""

import gzip
import hashlib
import json
import os
import random
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
Patch = tuple[int, int, str]
"""Position and number of deleted characters, in Unicode code points; inserted text."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One author's history of a text, oldest first."""

    name: str
    transactions: list[list[Patch]]
    final_sha256: str

    def is_final(self, text: str) -> bool:
        return hashlib.sha256(text.encode()).hexdigest() == self.final_sha256


def trace_folder() -> Path | None:
    folder = Path(os.environ.get("PASSERELLE_TEST_TRACES", ROOT.parent / "shared/data/traces"))
    return folder if folder.is_dir() else None


def load_trace(name: str) -> Trace:
    """The history of that name, or one of its shape. Sequential histories only."""
    folder = trace_folder()
    path = folder / f"{name}.trace.json.gz" if folder else None
    if path is None or not path.is_file():
        print(f"{name}: the recorded history is not here; a generated one of the same shape is used")
        return generate_trace(name, seed=len(name), transactions=18_000)
    recorded = json.loads(gzip.decompress(path.read_bytes()))
    transactions = [
        [(position, deleted, inserted) for position, deleted, inserted in patches]
        for _agent, _parents, patches in recorded["txns"]
    ]
    return Trace(name, transactions, recorded["final_sha256"])


def generate_trace(name: str, *, seed: int, transactions: int) -> Trace:
    """Typing as people do it: bursts at a cursor, every so often a correction or a move."""
    chance = random.Random(seed)
    text: list[str] = []
    history: list[list[Patch]] = []
    cursor = 0
    while len(history) < transactions:
        if chance.random() < 0.02:
            cursor = chance.randint(0, len(text))
        if text and cursor and chance.random() < 0.25:
            deleted = min(cursor, chance.choice((1, 1, 1, 1, 5)))
            cursor -= deleted
            del text[cursor : cursor + deleted]
            history.append([(cursor, deleted, "")])
        else:
            inserted = chance.choice("aeilnorstu éàç,.\n📊")
            text.insert(cursor, inserted)
            history.append([(cursor, 0, inserted)])
            cursor += 1
    return Trace(name, history, hashlib.sha256("".join(text).encode()).hexdigest())
