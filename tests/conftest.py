"""Fixtures and settings of every test.

A test waits for an event with a deadline, never for a time. Every deadline is a multiple of
`SECOND` (tests/support/deadlines.py), which PASSERELLE_TEST_TIME_SCALE stretches on a slow machine.
"""

import gc
import os
import sys
from collections.abc import Iterator

import pytest
import pytest_timeout
from hypothesis import HealthCheck, settings

from tests.support.deadlines import SECOND
from tests.support.postgres_server import PostgresServer, running_postgres

# A figure of a single example's time would be the machine's, not ours (`deadlines.least_cpu_s` is for ours).
settings.register_profile("passerelle", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# `make test` draws the same examples each time, and fails for what was changed alone; `make test-long` draws new ones.
settings.register_profile("same-examples", settings.get_profile("passerelle"), derandomize=True)
settings.load_profile("passerelle")

# By hand as in `make test`: the servers that tests start compile what they import once, not each anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


ENDS_AT = {"browser": 0.85, "whole": 0.9}
"""By folder: where in the run its last file is; the others' is at its end, for they are short and fill it up."""


FIRST = "tests/whole/test_random_faults.py"
"""Takes two minutes and more, of which it mostly waits: begun first, nobody waits for it at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browsers need all the processor that they get, whole systems mostly wait: where several processes share the
    work they are spread over it, so that neither stand together. A file's tests stay together."""
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.nodeid.partition("::")[0], []).append(item)
    folders: dict[str, list[str]] = {}
    for name in files:
        folders.setdefault(name.split("/")[1] if name.count("/") > 1 else "", []).append(name)
    spread = [
        (number / len(names) * ENDS_AT.get(folder, 1.0), name)
        for folder, names in folders.items()
        for number, name in enumerate(names)
    ]
    items[:] = [item for _at, name in sorted(spread) for item in files[name]]
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))  # stable


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: pytest_timeout.Settings) -> bool:
    """What a test may take in all is a deadline like those in it."""
    stretched = settings._replace(timeout=settings.timeout * SECOND)
    return bool(pytest_timeout.pytest_timeout_set_timer(item, stretched))


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own configuration must not change what a test sees."""
    for name in list(os.environ):
        if name.startswith("PASSERELLE_") and not name.startswith("PASSERELLE_TEST_"):
            monkeypatch.delenv(name)
    for name in (
        "REDIS_URL",
        "DATABASE_URL",
        "JANUS_URLS",
        "JANUS_TOKEN_SECRET",
        "JANUS_ADMIN_KEY",
        "TURN_URLS",
        "TURN_SECRET",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """Sockets and tasks that a test forgot are reported in that test, not in a later one."""
    yield
    gc.collect(0)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL for all tests that do it no harm; each has tables of its own (`fresh_tables`)."""
    with running_postgres() as server:
        yield server
