"""A client on y-py (the abandoned Python binding): text, arrays and maps, whatever comes in order."""

import asyncio
import random

import pycrdt
import y_py

from rooms.documents import sync
from rooms.documents.errors import ProtocolViolation
from rooms.documents.hub import DocumentHub
from rooms.documents.open_document import OpenDocument
from tests.support.documents import KEY, Access, RecordingReader


class YPyPeer(RecordingReader):
    def __init__(self, number: int) -> None:
        super().__init__(f"ypy-{number}", f"ypy-{number}", wants_acknowledgement=False)
        self.doc = y_py.YDoc()
        self.opened: OpenDocument | None = None

    async def connect(self, hub: DocumentHub) -> None:
        self.opened = await hub.open(KEY, self, Access())
        self.opened.start()
        self.tell(sync.sync_step_1(y_py.encode_state_vector(self.doc)))

    def disconnect(self) -> None:
        if self.opened is not None:
            self.opened.close()
            self.opened = None

    def tell(self, message: bytes) -> None:
        if self.opened is None:
            return
        try:
            self.opened.receive(message)
        except ProtocolViolation as violation:
            self.close(violation.code, violation.reason)

    def send(self, message: bytes) -> None:
        if message[0] != sync.SYNC:
            return
        body = pycrdt.Decoder(message[2:]).read_message()
        if message[1] == sync.STEP_1:
            asyncio.get_running_loop().call_soon(self._answer, body)
        else:
            y_py.apply_update(self.doc, body)

    def _answer(self, state_vector: bytes) -> None:
        self.tell(sync.sync_step_2(y_py.encode_state_as_update(self.doc, state_vector)))

    def close(self, code: int, reason: str) -> None:
        super().close(code, reason)
        self.opened = None

    def edit(self, chance: random.Random) -> None:
        before = y_py.encode_state_vector(self.doc)
        text, array, mapping = self.doc.get_text("text"), self.doc.get_array("array"), self.doc.get_map("map")
        with self.doc.begin_transaction() as transaction:
            match chance.randrange(4):
                case 0:
                    text.insert(transaction, chance.randint(0, len(text)), "yp")
                case 1 if len(text) > 2:
                    text.delete(transaction, chance.randrange(len(text)))
                case 2:
                    array.insert(transaction, chance.randint(0, len(array)), chance.randrange(99))
                case _:
                    mapping.set(transaction, f"y{chance.randrange(3)}", chance.randrange(9))
        self.tell(sync.sync_update(y_py.encode_state_as_update(self.doc, before)))
