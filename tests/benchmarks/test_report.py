"""The report's arithmetic: medians, goals, and what is said where something is missing."""

from pathlib import Path

import pytest

from benchmarks.documents import measurement
from benchmarks.documents.goals import GOALS, Goal, Verdict, constant, figure, scaled, verdicts
from benchmarks.documents.measurement import Measured, ScenarioResult
from benchmarks.documents.report import cell, report, verdict_words
from benchmarks.documents.scenarios import Column, Typing


def result(scenario: str, **servers: dict[str, list[float]]) -> ScenarioResult:
    made = ScenarioResult(scenario, 0.0, "a machine", 0.1, 3)
    made.servers = {key.replace("_", "-"): Measured(samples) for key, samples in servers.items()}
    return made


def verdict(measured: float | None, allowed: float | None, *, more_is_better: bool = False) -> Verdict:
    def none(_results: object) -> float | None:
        return None

    return Verdict(Goal("s", "a goal", "ms", none, none, more_is_better), measured, allowed)


def test_figure_is_the_median_of_its_runs_with_the_spread_behind_it() -> None:
    measured = Measured({"p99": [20.0, 5.0, 7.0]})
    assert cell(measured, Column("p99", "p99 ms")) == "7.0 (5.0–20.0)"


def test_what_is_counted_over_all_runs_is_added() -> None:
    measured = Measured({"lost": [3.0, 0.0, 2.0]})
    assert cell(measured, Column("lost", "lost", 0, "sum")) == "5"


def test_figure_that_was_not_measured_is_not_a_number() -> None:
    assert cell(Measured(), Column("p99", "p99 ms")) == "–"
    assert verdict_words(verdict(None, 3.0)) == "not measured"


@pytest.mark.parametrize(
    ("measured", "allowed", "more_is_better", "words"),
    [
        (3.0, 3.0, False, "met"),
        (6.0, 3.0, False, "**missed**, 2.00 times too much"),
        (60.0, 40.0, True, "met"),
        (20.0, 50.0, True, "**missed**, 2.50 times too little"),
        (1.0, 0.0, False, "**missed**"),
        (0.0, 0.0, False, "met"),
    ],
)
def test_goal_is_met_or_says_by_how_much_it_is_missed(measured, allowed, more_is_better, words) -> None:
    assert verdict_words(verdict(measured, allowed, more_is_better=more_is_better)) == words


def test_goal_compares_with_the_share_of_the_peers_figure() -> None:
    results = {"typing-200": result("typing-200", passerelle={"cpu": [11.0]}, hocuspocus={"cpu": [80.0, 96.0, 88.0]})}
    assert figure("typing-200", "passerelle", "cpu")(results) == 11.0
    assert scaled(figure("typing-200", "hocuspocus", "cpu"), 1 / 8)(results) == 11.0
    judged = {each.goal.sentence: each.is_met for each in verdicts(results)}
    assert judged["200 typing: an eighth of Hocuspocus's CPU"] is True
    assert judged["200 typing: a quarter of the tuned Hocuspocus's CPU"] is None
    assert constant(20.0)(results) == 20.0


def test_lost_characters_of_all_runs_count_against_the_goal() -> None:
    judged = verdicts({"crash": result("crash", passerelle={"lost": [0.0, 0.0, 1.0]})})
    assert next(each for each in judged if each.goal.scenario == "crash").is_met is False
    assert len(judged) == len(GOALS)


def test_server_that_dropped_text_is_not_measured_again() -> None:
    assert Measured({"missing": [0.0], "short": [3.0]}).fell_behind
    assert Measured({}, ["run 1: it did not start"]).fell_behind
    assert not Measured({"missing": [0.0], "short": [0.0], "p99": [900.0]}).fell_behind


def test_what_was_measured_is_read_back_as_it_was(tmp_path: Path) -> None:
    made = result("typing-30", passerelle={"p50": [1.0, 2.0]})
    made.servers["hocuspocus"] = Measured({}, ["run 1: it did not start"])
    measurement.save(tmp_path, made)
    assert measurement.load(tmp_path, "typing-30") == made
    assert measurement.load(tmp_path, "typing-200") is None


def test_report_shows_what_was_measured_and_why_the_rest_was_not() -> None:
    made = result("typing-30", passerelle={"p50": [1.0], "missing": [0.0]})
    made.servers["pycrdt-websocket"] = Measured({}, ["run 1: ConnectionRefused: it is full"])
    text = report([Typing(30, seconds=6.0, runs=3)], {"typing-30": made})
    assert "| Passerelle | 1.0 |" in text
    assert "| pycrdt-websocket | – |" in text
    assert "- pycrdt-websocket: run 1: ConnectionRefused: it is full" in text
    assert "Hocuspocus | –" not in text


def test_report_says_where_the_time_goes_while_a_goal_for_it_is_missed() -> None:
    peer = {"cpu": [80.0]}
    missed = report([], {"typing-200": result("typing-200", passerelle={"cpu": [11.0]}, hocuspocus=peer)})
    assert "- typing-200: Samples of the server" in missed
    met = report([], {"typing-200": result("typing-200", passerelle={"cpu": [9.0]}, hocuspocus=peer)})
    assert "Samples of the server" not in met
