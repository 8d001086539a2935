"""What a publisher is told of the layers that anybody looks at."""

import pytest

from signaling.engines.layer_demand import UNWATCHED_S, LayerDemand


def test_all_layers_are_wanted_until_nobody_has_looked_for_a_while() -> None:
    demand = LayerDemand(3)
    assert demand.look(1, 10.0) is None
    assert demand.look(1, 10.0 + UNWATCHED_S - 0.1) is None
    assert demand.look(1, 10.0 + UNWATCHED_S) == 1
    assert demand.look(1, 11.0 + UNWATCHED_S) is None, "told once"


def test_a_layer_is_wanted_again_at_once() -> None:
    demand = LayerDemand(3)
    demand.look(0, 0.0)
    assert demand.look(0, UNWATCHED_S) == 0
    assert demand.look(2, UNWATCHED_S + 0.1) == 2
    assert demand.look(3, UNWATCHED_S + 0.2) == 3


def test_whoever_looks_now_and_then_keeps_the_layer() -> None:
    demand = LayerDemand(3)
    for tenth in range(200):
        now = tenth / 10
        assert demand.look(3 if tenth % 40 == 39 else 1, now) is None


def test_of_several_looks_the_largest_stays() -> None:
    demand = LayerDemand(3)
    demand.look(0, 0.0)
    demand.look(2, 1.0)
    demand.look(0, 2.0)
    assert demand.look(0, UNWATCHED_S) == 2, "two were looked at a moment ago"
    assert demand.look(0, UNWATCHED_S + 0.1) is None
    assert demand.look(0, 2 * UNWATCHED_S + 0.1) == 0


@pytest.mark.parametrize("layers", [1, 3])
def test_on_another_media_line_all_are_wanted_again(layers: int) -> None:
    demand = LayerDemand(3)
    demand.look(0, 0.0)
    demand.look(0, UNWATCHED_S)
    demand.begin_anew(layers)
    assert demand.told == layers
    assert demand.look(0, UNWATCHED_S + 0.1) is None
    assert demand.look(0, 2 * UNWATCHED_S + 0.1) == 0
