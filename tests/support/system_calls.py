"""What a program asks of the kernel, in the order in which it does, written down by strace."""

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(r"(?P<pid>\d+) +(?P<rest>.*)")
_BEGUN = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)")
_RESUMED = re.compile(r"<\.\.\. (?P<name>\w+) resumed>")


@dataclass(frozen=True, slots=True)
class SystemCall:
    name: str
    arguments: str
    """As strace writes them: descriptors with their files in angle brackets, bytes and names `as_written`."""
    is_end: bool
    """It has ended; False: it begins here, and ends in a later entry."""


def tracing(log: Path, names: Sequence[str]) -> list[str]:
    """What to put before a command, so that these calls of it and its children go into the log."""
    strace = shutil.which("strace")
    assert strace is not None, "strace is missing: `make test` installs what it needs"
    calls = ",".join(names)
    return [
        strace,
        "-f",
        "-y",
        "-xx",
        "-s",
        "4096",
        "--seccomp-bpf",
        "-e",
        f"trace={calls}",
        "-o",
        os.fspath(log),
        "--",
    ]


def as_written(data: bytes) -> str:
    """As it stands in the arguments."""
    return "".join(f"\\x{byte:02x}" for byte in data)


def read_calls(log: Path) -> list[SystemCall]:
    """Each call where it begins and where it ends; once, when nothing came between."""
    begun: dict[str, str] = {}
    calls = []
    for line in log.read_text("ascii", "replace").splitlines():
        matched = _LINE.fullmatch(line)
        if matched is None:
            continue
        pid, rest = matched["pid"], matched["rest"]
        if (resumed := _RESUMED.match(rest)) is not None:
            calls.append(SystemCall(resumed["name"], begun.pop(pid, ""), is_end=True))
        elif (call := _BEGUN.match(rest)) is not None:
            is_end = not rest.endswith("<unfinished ...>")
            if not is_end:
                begun[pid] = call["arguments"]
            calls.append(SystemCall(call["name"], call["arguments"], is_end=is_end))
    return calls
