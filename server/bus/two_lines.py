"""Rooms and documents each have a bus of their own: what is said about rooms overtakes what is said of documents.

A class that writes says thousands of things a second, some of them megabytes long; an order to a room's home, a join,
a goodbye, a removal is a few hundred bytes, for which somebody waits. On one bus it would stand behind them all: in the
queue that waits to be published, in the connections' buffers, in what Redis keeps for a listener that is slow (and cuts
off past 32 MiB). Nothing relies on an order between the two.
"""

import asyncio
from dataclasses import dataclass

from rooms.ports import Bus, BusHealth


@dataclass(frozen=True, slots=True)
class TwoLines:
    """Opened, looked after and closed together."""

    rooms: Bus
    documents: Bus

    async def open(self) -> None:
        await asyncio.gather(self.rooms.open(), self.documents.open())

    def health(self) -> BusHealth:
        """Of both: joined when both are."""
        rooms, documents = self.rooms.health(), self.documents.health()
        return BusHealth(
            is_joined=rooms.is_joined and documents.is_joined,
            was_joined=rooms.was_joined and documents.was_joined,
            lag_s=max(rooms.lag_s, documents.lag_s),
            reconnects=rooms.reconnects + documents.reconnects,
            gaps=rooms.gaps + documents.gaps,
        )

    async def close(self) -> None:
        await asyncio.gather(self.rooms.close(), self.documents.close())
