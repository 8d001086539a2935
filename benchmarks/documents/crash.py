"""kill -9 while thirty type: is what somebody had on screen still there?"""

import asyncio
import random
from pathlib import Path

from benchmarks.documents.reading import clocks_after_restart
from benchmarks.documents.scenarios import EDITS_PER_S, Column, running
from benchmarks.documents.servers import (
    HOCUSPOCUS,
    PASSERELLE,
    PYCRDT_WEBSOCKET,
    Y_WEBSOCKET_SERVER,
    RunningServer,
    Server,
)
from benchmarks.documents.typing_load import Class

PEOPLE = 30
LAST_BYTES_S = 2.0
"""How long the readers may take to notice that the server is gone, and to read what it had sent."""


class Crash:
    """Each round is a document of its own; the process that the text is read from types the next one."""

    key = "crash"
    title = "kill -9 while 30 people type"
    explanation = (
        "SIGKILL to the whole server 0.5 to 2 s after they began (4 characters a second each), all clients gone, the "
        "server started again on its store, the text read by someone new. Lost: characters that another "
        "participant's socket had received and that are not in the text; called saved: those that the server had "
        "acknowledged to their writer."
    )
    columns = (
        Column("rounds", "rounds", 0, "sum"),
        Column("typed", "typed", 0, "sum"),
        Column("seen", "seen by others", 0, "sum"),
        Column("lost", "of these lost", 0, "sum"),
        Column("saved", "called saved", 0, "sum"),
        Column("saved_lost", "of these lost", 0, "sum"),
    )
    servers = (PASSERELLE, HOCUSPOCUS, Y_WEBSOCKET_SERVER, PYCRDT_WEBSOCKET)

    def __init__(self, *, rounds_each: int, runs: int) -> None:
        self.runs = runs
        self._rounds = rounds_each

    async def measure(self, server: Server, folder: Path, run: int) -> dict[str, float]:
        totals = dict.fromkeys((column.figure for column in self.columns), 0.0)
        documents = [f"texte-{number}" for number in range(self._rounds)]
        async with running(server, folder / str(run)) as started:
            await started.admit(documents, PEOPLE + 1)
            for document in documents:
                for figure, value in (await self._round(started, document)).items():
                    totals[figure] += value
        return totals

    async def _round(self, server: RunningServer, document: str) -> dict[str, float]:
        people = Class(server, [document], PEOPLE, probes=PEOPLE)
        typing: asyncio.Task[object] | None = None
        try:
            await people.open()
            typing = asyncio.create_task(people.type_for(10.0, EDITS_PER_S, with_cursors=True, warm_up_s=0.0))
            await asyncio.sleep(random.uniform(0.5, 2.0))
            await server.kill()
            await self._until_disconnected(people)
        finally:
            if typing is not None:
                typing.cancel()
                await asyncio.gather(typing, return_exceptions=True)
            await people.close()
        seen, saved = _seen(people), _saved(people)
        await server.launch()
        stored = await clocks_after_restart(server, document, {**seen})
        return {
            "rounds": 1,
            "typed": sum(len(typist.sent_at) for typist in people.typists),
            "seen": sum(seen.values()),
            "lost": _beyond(seen, stored),
            "saved": sum(saved.values()),
            "saved_lost": _beyond(saved, stored),
        }

    async def _until_disconnected(self, people: Class) -> None:
        async with asyncio.timeout(LAST_BYTES_S):
            for typist in people.typists:
                if typist.probe is not None:
                    await typist.probe.closed.wait()


def _seen(people: Class) -> dict[int, int]:
    """By client id: how many of its characters at least one other participant had received."""
    seen: dict[int, int] = {}
    for watch in people.watches:
        for client, end in watch.seen.items():
            seen[client] = max(seen.get(client, 0), end)
    return seen


def _saved(people: Class) -> dict[int, int]:
    """By client id: how many of its characters the server had called saved. A client's first message
    with an update is its empty answer to the server's sync step 1."""
    return {
        typist.client: max(0, typist.probe.acknowledged - 1) for typist in people.typists if typist.probe is not None
    }


def _beyond(claimed: dict[int, int], stored: dict[int, int]) -> int:
    return sum(max(0, end - stored.get(client, 0)) for client, end in claimed.items())
