"""The report says of the Python that was measured how it was compiled."""

import sys
import sysconfig
from collections.abc import Sequence

import pytest

from benchmarks.documents.interpreter import describe, traits


@pytest.mark.parametrize(
    ("arguments", "is_debians", "is_shared", "said"),
    [
        ("'--prefix=/x' '--enable-shared'", False, True, ["without PGO", "without LTO", "shared"]),
        ("'--enable-optimizations' '--with-lto'", False, False, ["with PGO", "with LTO", "static"]),
        ("'--enable-shared' '--prefix=/usr'", True, False, ["Debian's build, with PGO and LTO", "static"]),
    ],
)
def test_how_it_was_compiled(arguments: str, is_debians: bool, is_shared: bool, said: Sequence[str]) -> None:
    assert traits(arguments, is_debians=is_debians, is_shared=is_shared) == said


def test_the_one_that_runs_this_is_described() -> None:
    said = describe(sys.executable)
    version = ".".join(map(str, sys.version_info[:3]))
    assert said.startswith(f"CPython {version} (")
    asked_for_pgo = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    assert ("with PGO" in said) == (asked_for_pgo or "Debian" in said)
