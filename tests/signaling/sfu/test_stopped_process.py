"""A process that has come to a stop is told from one that is slow."""

import os
import subprocess
import sys

from signaling.engines.sfu.stopped_process import STOPPED_LOOKS, ActivityWatch, read_activity


def looks(*activities: tuple[str, int] | None) -> list[bool]:
    watch = ActivityWatch()
    return [watch.has_stopped(activity) for activity in activities]


def test_one_that_sleeps_or_was_stopped_and_uses_no_time_has_come_to_a_stop() -> None:
    for state in ("S", "T"):
        assert looks(*[(state, 7)] * (STOPPED_LOOKS + 1)) == [False] * STOPPED_LOOKS + [True]


def test_one_that_waits_for_its_turn_or_for_the_disk_is_slow() -> None:
    for state in ("R", "D"):
        assert not any(looks(*[(state, 7)] * 20))


def test_one_whose_time_goes_on_is_slow() -> None:
    assert not any(looks(*[("S", 7 + number // STOPPED_LOOKS) for number in range(20)]))


def test_what_is_not_known_says_nothing() -> None:
    assert not any(looks(*[None] * 20))
    assert read_activity(2**22 + 1) is None


def test_activity_is_read_as_the_system_says_it() -> None:
    before = read_activity(os.getpid())
    sum(range(3_000_000))
    now = read_activity(os.getpid())
    assert before is not None
    assert now is not None
    assert now[0] == "R"
    assert now[1] > before[1]
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        child.send_signal(19)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED)
        activity = read_activity(child.pid)
        assert activity is not None
        assert activity[0] == "T"
        child.kill()
