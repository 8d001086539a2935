"""Where atheris has no wheel its tests are not collected, and the summary says so. Elsewhere it must be there."""

import platform
import sys

import pytest

HAS_WHEEL = (
    sys.implementation.name == "cpython"
    and sys.version_info < (3, 14)
    and (sys.platform, platform.machine()) == ("linux", "x86_64")
)
"""As in requirements/dev.in."""

collect_ignore = [] if HAS_WHEEL else ["test_fuzzing.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not HAS_WHEEL:
        system = f"{sys.implementation.name} {platform.python_version()} on {sys.platform} {platform.machine()}"
        terminalreporter.write_line(f"tests/fuzz/test_fuzzing.py was not collected: atheris has no wheel for {system}")
