"""y-py documents that only follow, each on a raw y-websocket connection. Run as a module: y-py's failures end
the process that it is in. The same lines as document_readers.mjs; y-py reads text, array and map."""

import asyncio
import json
import sys
from typing import Any

import aiohttp
import pycrdt
import y_py

SYNC_STEP_1 = b"\x00\x00\x01\x00"
"""Of an empty document."""


def say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


class YpyReader:
    def __init__(self, name: str) -> None:
        self.name = name
        self.doc = y_py.YDoc()
        self.changed = asyncio.Event()

    async def follow(self, http: aiohttp.ClientSession, address: str) -> None:
        async with http.ws_connect(address, max_msg_size=0) as socket:
            await socket.send_bytes(SYNC_STEP_1)
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.BINARY or message.data[0] != 0 or message.data[1] == 0:
                    continue
                y_py.apply_update(self.doc, pycrdt.Decoder(message.data[2:]).read_message())
                self.changed.set()
                if message.data[1] == 1:
                    say(name=self.name, opened=True)

    def content(self) -> dict[str, Any]:
        return {
            "text": str(self.doc.get_text("text")),
            "array": json.loads(self.doc.get_array("array").to_json()),
            "map": json.loads(self.doc.get_map("map").to_json()),
        }

    async def until(self, expected: dict[str, Any]) -> None:
        while any(value != expected[kind] for kind, value in self.content().items() if kind in expected):
            self.changed.clear()
            await self.changed.wait()
        say(name=self.name, reads=True)


async def main() -> None:
    lines = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    readers: dict[str, YpyReader] = {}
    tasks = []
    async with aiohttp.ClientSession() as http:
        while line := await lines.readline():
            command = json.loads(line)
            name = command["name"]
            if command["do"] == "provider":
                reader = readers[name] = YpyReader(name)
                path = f"/yjs/{command['room']}/{command['document']}?token={command['token']}"
                tasks.append(asyncio.create_task(reader.follow(http, command["url"].replace("http", "ws", 1) + path)))
            elif command["do"] == "until":
                tasks.append(asyncio.create_task(readers[name].until(command["expected"])))
            else:
                say(name=name, content=readers[name].content())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main())
