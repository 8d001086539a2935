"""What a process tree uses, as /proc tells it."""

import os
import subprocess
import sys

from benchmarks.documents import process_tree

CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"


def test_processes_of_processes_are_in_the_tree_and_those_that_ended_count_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"  # the child's child runs
        pids = process_tree.tree(process.pid)
        assert len(pids) == 2
        assert pids[0] == process.pid
        assert process_tree.rss_bytes(pids) > process_tree.rss_bytes(pids[:1]) > 1_000_000
        process.communicate(b"\n")
    assert process_tree.rss_bytes(pids) == 0
    assert process_tree.cpu_seconds(pids) == 0.0


def test_time_on_a_core_grows_with_work() -> None:
    before = process_tree.cpu_seconds([os.getpid()])
    while process_tree.cpu_seconds([os.getpid()]) == before:
        sum(range(10_000))
