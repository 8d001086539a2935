"""Who speaks, with hysteresis."""

import itertools

from signaling.engines.sfu.speakers import OFF_AFTER_S, REPORT_INTERVAL_S, SpeakerDetector

LOUD, LOUDER, QUIET = 30, 15, 70


def _talk(detector: SpeakerDetector, start: float, seconds: float, **levels: int) -> list[tuple[float, list[str]]]:
    """Packets every 20 ms from each; what was reported, and when."""
    reports = []
    for step in range(int(seconds * 50)):
        now = start + step / 50
        for name, level in levels.items():
            detector.heard(name, level, now)
        report = detector.speakers_to_report(now)
        if report is not None:
            reports.append((now, report))
    return reports


def test_speech_is_heard_soon_and_silence_after_a_while() -> None:
    detector = SpeakerDetector()
    (report,) = _talk(detector, 0.0, 1.0, anna=LOUD, ben=QUIET)
    assert report[1] == ["anna"]
    assert report[0] < 0.5
    (report,) = _talk(detector, 1.0, 2.0, anna=QUIET, ben=QUIET)
    assert report[1] == []
    assert OFF_AFTER_S <= report[0] - 1.0 < OFF_AFTER_S + 0.5


def test_a_cough_moves_nothing() -> None:
    detector = SpeakerDetector()
    _talk(detector, 0.0, 0.5, anna=QUIET)
    assert _talk(detector, 0.5, 0.08, anna=LOUD) == []
    assert _talk(detector, 0.58, 1.0, anna=QUIET) == []


def test_a_breath_between_words_moves_nothing() -> None:
    detector = SpeakerDetector()
    _talk(detector, 0.0, 1.0, anna=LOUD)
    assert _talk(detector, 1.0, 0.5, anna=QUIET) == []
    assert _talk(detector, 1.5, 1.0, anna=LOUD) == []


def test_silence_by_dtx_is_silence() -> None:
    detector = SpeakerDetector()
    _talk(detector, 0.0, 1.0, anna=LOUD)
    assert _talk(detector, 1.0, 2.0)[-1][1] == []


def test_the_clearly_louder_comes_first_and_equals_stay() -> None:
    detector = SpeakerDetector()
    _talk(detector, 0.0, 1.0, anna=LOUD)
    assert _talk(detector, 1.0, 3.0, anna=LOUD, ben=LOUD - 3)[-1][1] == ["anna", "ben"]
    assert _talk(detector, 4.0, 3.0, anna=LOUD, ben=LOUDER)[-1][1] == ["ben", "anna"]


def test_two_who_alternate_by_syllables_do_not_flicker() -> None:
    detector = SpeakerDetector()
    reports = []
    for turn in range(40):
        levels = {"anna": LOUD, "ben": QUIET} if turn % 2 else {"anna": QUIET, "ben": LOUD}
        reports += _talk(detector, turn * 0.2, 0.2, **levels)
    assert len(reports) <= 4


def test_at_most_four_reports_a_second() -> None:
    detector = SpeakerDetector()
    times = []
    for step in range(500):
        now = step / 50
        detector.heard(f"p{step // 10}", LOUDER, now)
        detector.heard(f"q{step // 15}", LOUDER, now)
        if detector.speakers_to_report(now) is not None:
            times.append(now)
    assert len(times) > 5
    assert all(later - earlier >= REPORT_INTERVAL_S - 1e-9 for earlier, later in itertools.pairwise(times))


def test_the_forgotten_is_no_speaker() -> None:
    detector = SpeakerDetector()
    _talk(detector, 0.0, 1.0, anna=LOUD)
    detector.forget("anna")
    assert detector.speakers_to_report(2.0) == []
