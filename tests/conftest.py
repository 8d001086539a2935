"""Fixtures and settings of every test.

A test waits for an event with a deadline, never for a time. Every deadline is a multiple of
`SECOND` (tests/support/deadlines.py), which PASSERELLE_TEST_TIME_SCALE stretches on a slow machine.
"""

import gc
import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.postgres_server import PostgresServer, running_postgres

# A figure of a single example's time would be the machine's, not ours (`deadlines.least_cpu_s` is for ours).
settings.register_profile("passerelle", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("passerelle")

# By hand as in `make test`: the servers that tests start compile what they import once, not each anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browsers and whole systems first: where several processes share the work, the short ones fill up the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(("tests/browser/", "tests/whole/")))


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
