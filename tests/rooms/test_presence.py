"""Connections over several instances, told out of order, twice, or not at all."""

from hypothesis import given
from hypothesis import strategies as st

from rooms.presence import UNSURE_S, OpenConnections


def test_a_connection_that_was_closed_is_not_opened_by_a_word_that_comes_late() -> None:
    connections = OpenConnections()
    connections.add("p", "c1", "a", 1)
    assert connections.discard("p", "c1")
    connections.add("p", "c1", "a", 1)
    assert "p" not in connections


def test_a_roll_closes_what_it_does_not_name_but_not_what_opened_after_it() -> None:
    connections = OpenConnections()
    connections.add("p", "old", "a", 1)
    connections.add("q", "new", "a", 5)
    connections.add("r", "elsewhere", "b", 1)
    assert connections.follow_roll("a", 3, {"s": ["c"]}) == ({"s"}, {"p"})
    assert set(connections) == {"q", "r", "s"}
    assert connections.follow_roll("a", 2, {"p": ["other"]}) == (set(), set()), "an older one comes late"
    assert set(connections) == {"q", "r", "s"}


def test_an_instance_that_falls_silent_is_doubted_until_it_sends_its_roll() -> None:
    connections = OpenConnections()
    connections.add("p", "c1", "a", 1)
    connections.add("p", "c2", "b", 1)
    connections.add("q", "c3", "a", 2)
    assert connections.lose("a", 100.0) == {"q"}
    assert not connections.is_sure("p", 100.0)
    assert not connections.is_sure("q", 100.0 + UNSURE_S - 1)
    assert connections.is_sure("r", 100.0)
    connections.follow_roll("a", 3, {"q": ["c3"]})
    assert connections.is_sure("p", 100.0)
    assert set(connections) == {"p", "q"}


def test_an_instance_that_says_goodbye_is_not_doubted() -> None:
    connections = OpenConnections()
    connections.add("p", "c1", "a", 1)
    assert connections.leave("a") == {"p"}
    assert connections.is_sure("p", 0.0)


@given(
    st.lists(st.tuples(st.sampled_from("pqr"), st.integers(0, 5), st.booleans()), max_size=30),
    st.lists(st.integers(0, 29), max_size=60),
)
def test_after_a_roll_the_home_knows_what_is_open_however_the_words_came(
    told: list[tuple[str, int, bool]], order: list[int]
) -> None:
    """An instance opens and closes connections; any of its words come in any order, or never; then its roll."""
    here: dict[str, list[str]] = {}
    words = []
    for number, (person, which, opens) in enumerate(told, start=1):
        name = f"{person}{which}-{sum(1 for p, w, o in told[: number - 1] if (p, w, o) == (person, which, True))}"
        if opens and name not in here.get(person, []):
            here.setdefault(person, []).append(name)
            words.append((person, name, number, True))
        elif not opens and here.get(person):
            gone = here[person].pop()
            words.append((person, gone, number, False))
    connections = OpenConnections()
    for place in order:
        if place < len(words):
            person, name, number, opens = words[place]
            if opens:
                connections.add(person, name, "a", number)
            else:
                connections.discard(person, name)
    connections.follow_roll("a", len(told) + 1, {person: names for person, names in here.items() if names})
    assert {person: sorted(names) for person, names in connections.roll_of("a").items()} == {
        person: sorted(names) for person, names in here.items() if names
    }
