"""People who type into documents of a real server over y-websocket, and remember what they were told and shown."""

import asyncio
import contextlib
import random
from urllib.parse import quote

import aiohttp
import pycrdt

from rooms.documents.encoding import BoundedReader
from rooms.documents.scan import scan_update
from rooms.documents.sync import (
    SAVED,
    STEP_1,
    STEP_2,
    SYNC,
    UNSAVED,
    encode_state_vector,
    read_state_vector,
    sync_step_1,
    sync_step_2,
    sync_update,
)
from tests.support.deadlines import SECOND

PAUSES_S = (0.005, 0.03)
"""Between two characters: faster than anybody types."""
BACK_AFTER_S = 0.5
ANSWERED_WITHIN_S = 30 * SECOND
NOTHING = b"\x00\x00"


class Typist:
    """One client id, typing its own sentence. `run` until the connection ends, or it is cancelled."""

    def __init__(self, url: str, room_id: str, document: str, token: str, client: int) -> None:
        self.document = document
        self.client = client
        self.typed = 0
        self.saved = 0
        """Characters of its own that were called saved."""
        self.seen: dict[int, int] = {}
        """Clock up to which it was shown each of the others."""
        self.unsaved_told = asyncio.Event()
        self.is_ready = asyncio.Event()
        self.close_code: int | None = None
        self._address = f"{url.replace('http', 'ws', 1)}/yjs/{room_id}/{quote(document)}?token={token}&ack=1"
        self._doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc(client_id=client)
        self._text = self._doc.get("text", type=pycrdt.Text)
        self._updates: list[bytes] = []
        self._subscription = self._doc.observe(lambda event: self._updates.append(event.update))
        self._pauses = random.Random(client)
        self.may_type = asyncio.Event()
        self.may_type.set()

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Like any client it comes back when it is refused for now; not once it has been let in."""
        while True:
            await self._run_once(session)
            if self.is_ready.is_set():
                return
            await asyncio.sleep(BACK_AFTER_S)

    async def _run_once(self, session: aiohttp.ClientSession) -> None:
        with contextlib.suppress(aiohttp.ClientError, ConnectionError):
            async with session.ws_connect(self._address) as socket:
                await socket.send_bytes(sync_step_1(encode_state_vector({})))
                await socket.send_bytes(sync_step_2(NOTHING))
                typing = asyncio.create_task(self._type(socket))
                try:
                    async for message in socket:
                        self._receive(message.data)
                    self.close_code = socket.close_code
                finally:
                    typing.cancel()
                    await asyncio.gather(typing, return_exceptions=True)

    async def _type(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        await self.is_ready.wait()
        while True:
            await self.may_type.wait()
            self._text += "é"
            self.typed += 1
            await socket.send_bytes(sync_update(self._updates.pop()))
            await asyncio.sleep(self._pauses.uniform(*PAUSES_S))

    def _receive(self, message: bytes) -> None:
        reader = BoundedReader(message)
        kind = reader.var_uint()
        if kind == SAVED:
            self.saved = reader.var_uint() - 1  # the answer to the server's own question was the first
        elif kind == UNSAVED:
            self.unsaved_told.set()
        elif kind == SYNC and reader.var_uint() != STEP_1:
            self.is_ready.set()
            for client, _start, end in scan_update(reader.var_bytes()).writes:
                self.seen[client] = max(end, self.seen.get(client, 0))


async def clocks_of(url: str, room_id: str, document: str, token: str) -> dict[int, int]:
    """What a reader that comes now is given, as clocks by client id; the text is read as well. One that is refused
    for now comes back. Raises: TimeoutError."""
    address = f"{url.replace('http', 'ws', 1)}/yjs/{room_id}/{quote(document)}?token={token}"
    async with aiohttp.ClientSession() as session, asyncio.timeout(ANSWERED_WITHIN_S):
        while (doc := await _read(session, address)) is None:
            await asyncio.sleep(BACK_AFTER_S)
    clocks = read_state_vector(doc.get_state())
    assert len(str(doc.get("text", type=pycrdt.Text))) == sum(clocks.values())
    return clocks


async def _read(session: aiohttp.ClientSession, address: str) -> "pycrdt.Doc[pycrdt.Text] | None":
    """The whole document; None when the connection ended before it came."""
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    with contextlib.suppress(aiohttp.ClientError, ConnectionError):
        async with session.ws_connect(address, max_msg_size=0) as socket:
            await socket.send_bytes(sync_step_1(encode_state_vector({})))
            async for message in socket:
                reader = BoundedReader(message.data)
                if reader.var_uint() == SYNC and (step := reader.var_uint()) != STEP_1:
                    doc.apply_update(reader.var_bytes())
                    if step == STEP_2:  # of a large one, parts come before it
                        return doc
    return None
