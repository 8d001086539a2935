"""pycrdt-websocket with its SQLite store, over the websockets library and uvloop.

Arguments: the folder of its store, the port. Runs in a virtual environment of its own: its
dependencies are not the product's.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import ClassVar

import uvloop
from pycrdt.store import SQLiteYStore, YDocNotFound
from pycrdt.websocket import WebsocketServer, YRoom
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed


class Store(SQLiteYStore):
    """One database for all documents, checkpoints as they come (every 100 updates)."""

    db_path: ClassVar[str] = ""


class StoringServer(WebsocketServer):
    """A room is filled from the store before it is ready; the library leaves that to who uses it."""

    def __init__(self) -> None:
        super().__init__(rooms_ready=False)
        self._opening = asyncio.Lock()

    async def get_room(self, name: str) -> YRoom:
        async with self._opening:
            room = self.rooms.get(name)
            if room is None:
                room = YRoom(ready=False, ystore=Store(name), log=self.log)
                await self._fill(room)
                room.ready = True
                self.rooms[name] = room
            await self.start_room(room)  # its own check and start are not one step
            await room.ydoc_observed.wait()  # it would not store what comes before
        return room

    async def _fill(self, room: YRoom) -> None:
        assert room.ystore is not None
        assert self._task_group is not None
        await self._task_group.start(room.ystore.start)
        try:
            await room.ystore.apply_updates(room.ydoc)
        except YDocNotFound:
            pass  # nobody has written in it yet


class Client:
    """A connection as the library wants it (pycrdt.Channel)."""

    def __init__(self, connection: ServerConnection, path: str) -> None:
        self._connection = connection
        self.path = path

    def __aiter__(self) -> "Client":
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self.recv()
        except ConnectionClosed:
            raise StopAsyncIteration from None

    async def send(self, message: bytes) -> None:
        try:
            await self._connection.send(message)
        except ConnectionClosed:
            pass  # the library would take the room down with it

    async def recv(self) -> bytes:
        message = await self._connection.recv()
        return message if isinstance(message, bytes) else message.encode()


async def main(folder: Path, port: int) -> None:
    Store.db_path = str(folder / "pycrdt-websocket.sqlite")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        await server.serve(Client(connection, connection.request.path))  # type: ignore[arg-type]

    async with StoringServer() as server, serve(handle, "127.0.0.1", port, max_size=None):
        await stop.wait()
        await asyncio.sleep(2.0)  # the store's writes are tasks that nothing waits for
        os._exit(0)  # closing would wait for rooms that never end


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), int(sys.argv[2])))
