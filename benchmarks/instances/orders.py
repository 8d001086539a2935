"""`python -m benchmarks.instances.orders`: what a room's orders wait while documents take all that two instances have.

Two instances, their Redis and their store share one core. Pairs write in small texts, one of each pair at each
instance, more than both together can do. Meanwhile a host who is connected to the instance that does not decide for
their room raises and lowers a hand, and somebody joins, one after the other: orders to the home, over the bus and back.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.documents.admission import admit
from benchmarks.documents.client import Writer
from benchmarks.documents.dialects import PasserelleDialect
from benchmarks.documents.typing_load import Typist, pin
from benchmarks.instances.groups import GROUPS, RunningGroup
from passerelle_client import Disconnected, PasserelleApi, Refused, Room

LOAD_CORE = 0
SWEEP_S = 0.05


async def write(given: argparse.Namespace) -> None:
    """The load, in a process of its own: what it does costs the orders nothing. Says "writing" once it does."""
    told = json.loads(await asyncio.to_thread(sys.stdin.readline))
    dialect = PasserelleDialect(told["rooms"], told["tokens"])
    typists = []
    for number, document in enumerate(told["rooms"]):
        for side, url in enumerate(told["urls"]):
            typist = Typist(1_000_000 + 2 * number + side, document, writer=Writer(url, dialect, document))
            assert typist.writer is not None
            await typist.writer.open()
            typists.append(typist)
    print("writing", flush=True)
    due, swept_at = time.perf_counter(), 0.0
    while True:
        for typist in typists:
            typist.type(with_cursor=False)
            due += 1 / (given.rate * len(typists))
            if (wait_s := due - time.perf_counter()) > 0.002:
                await asyncio.sleep(wait_s)
            if time.perf_counter() - swept_at > SWEEP_S:
                swept_at = time.perf_counter()
                for each in typists:
                    if each.writer is not None:
                        each.writer.drain()


class Waits:
    """How long each of one kind of order took."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.took_s: list[float] = []
        self.failed = 0

    async def ask(self, order: Callable[[], Awaitable[object]]) -> None:
        began = time.perf_counter()
        try:
            await order()
        except (Refused, Disconnected) as error:
            self.failed += 1
            print(f"{self.kind} failed after {time.perf_counter() - began:.1f} s: {error}", file=sys.stderr)
        else:
            self.took_s.append(time.perf_counter() - began)

    def __str__(self) -> str:
        if not self.took_s:
            return f"{self.kind}: none done, {self.failed} failed"
        took = f"median {statistics.median(self.took_s):.2f} s, longest {max(self.took_s):.2f} s"
        return f"{self.kind}: {len(self.took_s)} done, {took}; {self.failed} failed"


async def orders(group: RunningGroup, given: argparse.Namespace) -> list[Waits]:
    home, other = (instance.url for instance in group.instances)
    documents = [f"d{number}" for number in range(given.pairs)]
    dialect = await admit(home, documents, 2)
    api = PasserelleApi(home)
    made = await api.create_room("Conseil", host_name="Mme Roy")
    invitation = await api.create_invitation(made.room.id, made.token, "pupil", lobby=False)
    await api.close()
    load = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.instances.orders", "--load", f"--rate={given.rate}",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert load.stdin is not None
    assert load.stdout is not None
    hands, joins = Waits("hand"), Waits("join")
    try:
        told = {"rooms": dialect._rooms, "tokens": dialect._tokens, "urls": [home, other]}
        async with Room(other, made.token, transports=["websocket"]) as host, PasserelleApi(other) as door:
            await host.open()
            load.stdin.write(json.dumps(told).encode() + b"\n")
            assert (await load.stdout.readline()).strip() == b"writing"
            await asyncio.sleep(given.warm_up)
            ends_at = time.perf_counter() + given.seconds
            while time.perf_counter() < ends_at:
                await hands.ask(lambda: host.set_hand(len(hands.took_s) % 2 == 0))
                await joins.ask(lambda: door.join("Élève", invitation=invitation.id))
                await asyncio.sleep(0.2)
    finally:
        load.kill()
        await load.wait()
    return [hands, joins]


async def main(given: argparse.Namespace) -> None:
    if given.load:
        await write(given)
    pin(LOAD_CORE)
    with tempfile.TemporaryDirectory() as folder:
        async with GROUPS[0].running(Path(folder)) as group:
            before, began = group.cpu_seconds(), time.perf_counter()
            for waits in await orders(group, given):
                print(waits)
            used = (group.cpu_seconds() - before) / (time.perf_counter() - began)
            print(f"{100 * used:.0f} % of a core, over all of it")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=150)
    parser.add_argument("--rate", type=float, default=12.0, help="characters a second of each")
    parser.add_argument("--seconds", type=float, default=25.0)
    parser.add_argument("--warm-up", type=float, default=5.0)
    parser.add_argument("--load", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(arguments()))
