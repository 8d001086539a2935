"""The media benchmark: that its generator loses and invents nothing, and that its report says what was measured."""

import asyncio

import pytest

from benchmarks.documents.measurement import Measured, ScenarioResult
from benchmarks.media import generator, soak
from benchmarks.media.generator import Generator, Sent, Shape
from benchmarks.media.report import report
from benchmarks.media.scenarios import loss, p99
from signaling.engines.sfu import SfuEngine
from tests.support.deadlines import SECOND
from tests.support.janus_server import own_address

US, MOST = "us", "most"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is still on its way on a busy machine is not lost."""
    monkeypatch.setattr(generator, "DRAIN_S", generator.DRAIN_S * SECOND)


async def test_every_packet_is_counted_once_and_its_delay_is_its_own() -> None:
    """Through the real forwarder, at a rate that it hardly notices."""
    peers = Generator(Shape(rooms=2, subscribers_each=3), own_address())
    engine = SfuEngine(peers.hear, [own_address()])
    await engine.start()
    try:
        async with asyncio.timeout(30 * SECOND):
            await peers.build(engine)
            sent = await peers.send(factor=1, seconds=0.5)
            again = await peers.send(factor=2, seconds=0.2)
            await peers.close(engine)
    finally:
        await engine.stop()
    assert sent.expected == 2 * 3 * 4 * 15
    assert sent.received == sent.expected
    assert again.received == again.expected == 2 * 3 * 8 * 6
    # Four of the six viewers decrypt; what they noted before is forgotten.
    assert len(sent.delays_s) == 4 * 4 * 15
    assert all(0.0 < delay < sent.seconds + 1.0 for delay in sent.delays_s)


def test_loss_and_delay_are_judged_by_what_should_have_come() -> None:
    assert loss(Sent(expected=200, received=150, seconds=1.0, delays_s=[])) == 0.25
    assert loss(Sent(expected=200, received=210, seconds=1.0, delays_s=[])) == 0.0
    assert p99([0.001] * 98 + [0.5] * 2) == pytest.approx(0.5)
    assert p99([]) == float("inf")


def result(load: str, ours: dict[str, float], theirs: dict[str, float]) -> ScenarioResult:
    measured = {"passerelle": Measured(), "janus": Measured()}
    measured["passerelle"].add(ours)
    measured["janus"].add(theirs)
    return ScenarioResult(load, 1_800_000_000.0, "a machine", 0.0, 1, measured, commit="abc")


@pytest.mark.parametrize(
    ("ours", "theirs", "verdicts"),
    [
        ({US: 5.0, MOST: 100_000}, {US: 6.0, MOST: 90_000}, ["met", "met"]),
        ({US: 7.0, MOST: 80_000}, {US: 6.0, MOST: 90_000}, ["**missed**", "**missed**"]),
        ({US: 6.0, MOST: 90_000}, {US: 6.0, MOST: 90_000}, ["met", "met"]),
        ({US: 6.0}, {US: 6.0, MOST: 90_000}, ["met", "not measured"]),
    ],
)
def test_goals_are_judged_beside_janus(ours: dict[str, float], theirs: dict[str, float], verdicts: list[str]) -> None:
    text = report({"1-60": result("1-60", ours, theirs)})
    goals = text.split("## Goals")[1].split("##")[0]
    assert [line.split("|")[-2].strip() for line in goals.splitlines() if line.startswith("| One")] == verdicts


@pytest.mark.parametrize(("two", "verdict"), [(18_000, "met"), (17_900, "**missed**"), (None, "not measured")])
def test_two_workers_are_judged_by_what_one_carries_with_as_much_of_a_core(two: int | None, verdict: str) -> None:
    servers = {"slice": Measured({MOST: [10_000]}), "two-slices": Measured({} if two is None else {MOST: [two]})}
    measured = ScenarioResult("slices", 1_800_000_000.0, "a machine", 0.0, 1, servers, commit="abc")
    text = report({"slices": measured})
    (row,) = (line for line in text.split("## Goals")[1].splitlines() if "two workers" in line)
    assert row.split("|")[-2].strip() == verdict
    assert "two media workers with 35%" in text


async def test_what_is_soaked_stands_in_the_report() -> None:
    samples = [each async for each in soak.soak(Shape(rooms=1, subscribers_each=1), 1.0, 0.5, 0.5)]
    assert [each.expected for each in samples] == [60 * number for number in range(len(samples))]
    assert samples[-1].received == samples[-1].expected > 0
    measured = Measured()
    measured.add(soak.figures(samples, 1.0))
    soaked = ScenarioResult(soak.KEY, 1_800_000_000.0, "a machine", 0.0, 1, {"1": measured}, commit="abc")
    text = report({}, soaked)
    (row,) = (line for line in text.splitlines() if line.startswith("| 1 |"))
    memory, descriptors, threads, tasks, _cpu, lost = (float(cell) for cell in row.split("|")[2:-1])
    assert memory > 10
    assert (descriptors, threads, tasks) == (samples[-1].descriptors, samples[-1].threads, samples[-1].tasks)
    assert lost == 0.0


def test_what_failed_is_said() -> None:
    broken = result("1-20", {US: 5.0}, {})
    broken.servers["janus"].failures.append("TimeoutError: too long")
    text = report({"1-20": broken})
    assert "too long" in text
    assert "not measured" in text
