"""What a peer sends that cannot be used is dropped, and is no error of ours: nothing of it is in the log."""

import asyncio
import json
import logging
from typing import Any

import aiohttp
import pytest

from tests.support.deadlines import SECOND
from tests.support.running_house import RunningHouse

DEADLINE_S = 10 * SECOND

BINARY_EVENT = '51-["document_message","text",{"_placeholder":true,"num":0}]'
UNREADABLE: list[str | bytes] = [
    "", "x", "7", "4{}", "2", "2[]", '2{"a":1}', "2[", "2" + "[" * 50_000, "51-[]", "52-[1]", "5-[]", "3", "99999999999-[]",
    b"", b"2[1]", b"\x00\xff", "21234[\"ping_room\"", "2/elsewhere",
]  # fmt: skip


class RawPeer:
    """Socket.IO by hand: what is sent goes out as it is."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def send(self, packet: str | bytes) -> None:
        if isinstance(packet, bytes):
            await self._socket.send_bytes(packet)
        else:
            await self._socket.send_str("4" + packet)

    async def until(self, beginning: str) -> str:
        """The next packet that begins like this."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                data = (await self._socket.receive()).data
                assert data is not None, "hung up on"
                if isinstance(data, str) and data.startswith(beginning):
                    return data

    async def connect(self, token: str | None) -> str:
        await self.send("0" + json.dumps({"token": token}))
        return await self.until("40" if token else "44")

    async def is_answered(self) -> None:
        await self.send('27["ping_room",{}]')
        await self.until("437")


@pytest.fixture
async def peer(house: RunningHouse) -> Any:
    url = f"{house.url}/socket.io/?EIO=4&transport=websocket"
    async with house.http.ws_connect(url) as socket:
        raw = RawPeer(socket)
        await raw.until("0")
        yield raw


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


async def test_what_a_stranger_sends_is_not_in_the_log_and_who_connects_after_it_is_served(
    house: RunningHouse, peer: RawPeer, caplog: pytest.LogCaptureFixture
) -> None:
    host = await house.room()
    for packet in (*UNREADABLE, BINARY_EVENT, b"\x00"):
        await peer.send(packet)
    await peer.connect(None)
    await peer.send(BINARY_EVENT)
    await peer.send(b"2")
    await peer.connect(host.token)
    await peer.is_answered()
    assert errors(caplog) == []


async def test_what_a_participant_sends_wrongly_is_not_in_the_log_and_spoils_nothing_else(
    house: RunningHouse, peer: RawPeer, caplog: pytest.LogCaptureFixture
) -> None:
    host = await house.room()
    await peer.connect(host.token)
    for packet in UNREADABLE:
        await peer.send(packet)
        await peer.is_answered()
    for wrong in (5, -7, '"0"', "null"):
        await peer.send(f'51-["document_message","text",{{"_placeholder":true,"num":{wrong}}}]')
        await peer.send(b"\x00")
        await peer.is_answered()
    assert errors(caplog) == []


async def test_a_binary_event_under_way_when_its_connection_ends_is_not_in_the_log(
    house: RunningHouse, peer: RawPeer, caplog: pytest.LogCaptureFixture
) -> None:
    host = await house.room()
    await peer.connect(host.token)
    await peer.send("1")  # out; and what was written before that was heard
    for _ in range(3):
        await peer.send(BINARY_EVENT)
        await peer.send(b"\x00\x01\x02")
    await peer.connect(host.token)
    await peer.is_answered()
    assert errors(caplog) == []
