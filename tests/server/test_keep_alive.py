"""Every connection has its turn once a round, and not all at the same moment."""

import asyncio

import pytest

from server import keep_alive
from server.keep_alive import SHARES, KeepAlive
from tests.support.deadlines import SECOND


class Connection:
    def __init__(self) -> None:
        self.turns = 0
        self.again = asyncio.Event()

    def keep_alive(self) -> None:
        self.turns += 1
        if self.turns == 2:
            self.again.set()


@pytest.fixture(autouse=True)
def quick_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep_alive, "ROUND_S", 0.04)


async def test_each_connection_has_its_turn_every_round() -> None:
    keeper = KeepAlive()
    connections = [Connection() for _ in range(3 * SHARES)]
    for connection in connections:
        keeper.add(connection)
    async with asyncio.timeout(10 * SECOND):
        for connection in connections:
            await connection.again.wait()
    turns = [connection.turns for connection in connections]
    assert max(turns) - min(turns) <= 1


async def test_no_turn_has_more_than_its_share() -> None:
    keeper = KeepAlive()
    for _ in range(2_000):
        keeper.add(Connection())
    assert max(len(share) for share in keeper._shares) == 2_000 // SHARES


async def test_who_has_gone_has_no_turn_and_without_anyone_there_is_no_timer() -> None:
    keeper = KeepAlive()
    gone, there = Connection(), Connection()
    keeper.add(gone)
    keeper.add(there)
    keeper.remove(gone)
    keeper.remove(gone)
    async with asyncio.timeout(10 * SECOND):
        await there.again.wait()
    assert gone.turns == 0
    keeper.remove(there)
    assert keeper._timer is None


async def test_a_connection_may_go_in_its_own_turn() -> None:
    keeper = KeepAlive()

    class Leaving(Connection):
        def keep_alive(self) -> None:
            keeper.remove(self)
            self.again.set()

    leaving = [Leaving() for _ in range(2 * SHARES)]
    for connection in leaving:
        keeper.add(connection)
    async with asyncio.timeout(10 * SECOND):
        for connection in leaving:
            await connection.again.wait()
    assert keeper._timer is None
