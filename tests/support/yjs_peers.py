"""Real Yjs clients (in Node) as readers of documents; see yjs_peers.mjs."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from rooms.documents.errors import ProtocolViolation
from rooms.documents.hub import DocumentHub
from rooms.documents.open_document import OpenDocument
from rooms.ports import DocumentKey
from tests.support.deadlines import SECOND
from tests.support.documents import KEY, Access
from tests.support.line_process import LineProcess, start_node


class YjsPeer:
    """One Yjs document in the Node process; a Reader of the hub while it is connected."""

    wants_acknowledgement = False

    def __init__(self, process: "YjsProcess", number: int) -> None:
        self._process = process
        self.number = number
        self.participant_id = f"yjs-{number}"
        self.connection_id = f"yjs-connection-{number}"
        self.opened: OpenDocument | None = None
        self.closed: tuple[int, str] | None = None
        self.denials: list[str] = []

    async def connect(self, hub: DocumentHub, key: DocumentKey = KEY) -> None:
        self.opened = await hub.open(key, self, Access())
        self.do("connect")

    def disconnect(self) -> None:
        self.do("disconnect")
        if self.opened is not None:
            self.opened.close()
            self.opened = None

    def do(self, command: str, **fields: object) -> None:
        self._process.write({"peer": self.number, "do": command, **fields})

    async def ask(self, command: str) -> Any:
        """The answer comes behind everything that this peer said before."""
        return await self._process.ask(self.number, command)

    def receive(self, line: dict[str, Any]) -> None:
        if "denied" in line:
            self.denials.append(line["denied"])
        elif self.opened is not None:
            try:
                self.opened.receive(base64.b64decode(line["message"]))
            except ProtocolViolation as violation:
                self.close(violation.code, violation.reason)

    # Reader
    def send(self, message: bytes) -> None:
        self.do("message", message=base64.b64encode(message).decode())

    def buffered_bytes(self) -> int:
        return 0

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)
        self.opened = None


class YjsProcess:
    def __init__(self, process: LineProcess) -> None:
        self._process = process
        self._peers: dict[int, YjsPeer] = {}
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._numbers = count()
        self._reading = asyncio.create_task(self._read())

    def peer(self) -> YjsPeer:
        peer = YjsPeer(self, next(self._numbers))
        self._peers[peer.number] = peer
        return peer

    def write(self, line: dict[str, object]) -> None:
        self._process.write(line)

    async def ask(self, peer: int, command: str) -> Any:
        number = next(self._numbers)
        future = self._asked[number] = asyncio.get_running_loop().create_future()
        self.write({"peer": peer, "do": command, "ask": number})
        async with asyncio.timeout(10 * SECOND):
            return await future

    async def _read(self) -> None:
        async for said in self._process.lines():
            if "ask" in said:
                self._asked.pop(said["ask"]).set_result(said["answer"])
            else:
                self._peers[said["peer"]].receive(said)
        for future in self._asked.values():
            future.set_exception(RuntimeError("the Node process has ended: see its error output"))

    async def stop(self) -> None:
        await self._process.stop()
        await self._reading


@asynccontextmanager
async def yjs_process() -> AsyncIterator[YjsProcess]:
    """A Node process that hosts Yjs peers."""
    running = YjsProcess(await start_node("yjs_peers.mjs", "node_modules/yjs"))
    try:
        yield running
    finally:
        await running.stop()
