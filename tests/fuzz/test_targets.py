"""What the fuzzer begins from is let in by each target, and what is hostile is refused or borne."""

import random

import pytest

from tests.fuzz.document_life import framed, live_through
from tests.fuzz.targets import TARGETS, hostile_seeds, seeds

SEEDS = seeds()


@pytest.mark.parametrize("name", TARGETS)
def test_what_peers_really_say_is_let_in(name: str) -> None:
    assert SEEDS[name]
    for seed in SEEDS[name]:
        assert TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_messages_are_borne(name: str) -> None:
    """A little of what the fuzzer does for hours, without it."""
    chance = random.Random(name)
    for _ in range(300):
        damaged = bytearray(chance.choice(SEEDS[name]))
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        TARGETS[name](bytes(damaged))


def test_a_document_bears_hostile_updates_between_good_ones() -> None:
    good = SEEDS["scan_update"][:4]
    for update in hostile_seeds():
        assert live_through(b"".join(map(framed, [good[0], update, *good[1:]])))
