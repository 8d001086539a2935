"""A TURN client that asks for what a browser never would (RFC 8656, RFC 6062), and is told what came of it."""

import asyncio
import hashlib
import ipaddress
import secrets
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

from aioice import stun

from tests.support.deadlines import SECOND

ALLOCATE, REFRESH, CREATE_PERMISSION, CHANNEL_BIND, CONNECT = 0x003, 0x004, 0x008, 0x009, 0x00A
SEND_INDICATION = 0x016
USERNAME, INTEGRITY, ERROR_CODE, CHANNEL_NUMBER, LIFETIME = 0x0006, 0x0008, 0x0009, 0x000C, 0x000D
PEER_ADDRESS, DATA, REALM, NONCE, RELAYED_ADDRESS = 0x0012, 0x0013, 0x0014, 0x0015, 0x0016
ADDRESS_FAMILY, REQUESTED_TRANSPORT = 0x0017, 0x0019
UDP, TCP = 17, 6
DEADLINE = 10 * SECOND

Attributes = Sequence[tuple[int, bytes]]


class TurnClient(asyncio.DatagramProtocol):
    """One five-tuple, so one allocation. A request's answer is 0, or the error code."""

    def __init__(self, username: str, password: str, over: Literal["udp", "tcp"]) -> None:
        self.relayed: tuple[str, int] | None = None
        self._username, self._password, self._over = username, password, over
        self._realm, self._nonce = b"", b""
        self._transport: Any = None
        self._answers: dict[bytes, asyncio.Future[dict[int, bytes]]] = {}
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 20 and len(self._buffer) >= (size := 20 + struct.unpack("!H", self._buffer[2:4])[0]):
            self.datagram_received(self._buffer[:size], None)
            self._buffer = self._buffer[size:]

    def eof_received(self) -> None:
        return None

    def datagram_received(self, data: bytes, _address: object) -> None:
        answer = self._answers.get(data[8:20])
        if answer is not None and not answer.done():
            answer.set_result(_attributes(data))

    async def request(self, method: int, attributes: Attributes = ()) -> int:
        for _attempt in range(3):
            answer = await self._ask(method, attributes)
            error = answer.get(ERROR_CODE)
            code = 0 if error is None else error[2] * 100 + error[3]
            if code in (401, 438) and NONCE in answer and answer[NONCE] != self._nonce:
                self._realm, self._nonce = answer.get(REALM, self._realm), answer[NONCE]
                continue
            if RELAYED_ADDRESS in answer:
                self.relayed = stun.unpack_xor_address(answer[RELAYED_ADDRESS], self._transaction)
            return code
        return code

    async def _ask(self, method: int, attributes: Attributes) -> dict[int, bytes]:
        transaction = self._transaction = secrets.token_bytes(12)
        answer = self._answers[transaction] = asyncio.get_running_loop().create_future()
        self._send(self._message(method, attributes, transaction, signed=bool(self._nonce)))
        try:
            async with asyncio.timeout(DEADLINE):
                return await answer
        finally:
            del self._answers[transaction]

    def send(self, peer: tuple[str, int], data: bytes) -> None:
        """A Send indication, which has no answer."""
        transaction = secrets.token_bytes(12)
        attributes = [(PEER_ADDRESS, _peer(*peer)), (DATA, data)]
        self._send(self._message(SEND_INDICATION, attributes, transaction, signed=False))

    def _message(self, method: int, attributes: Attributes, transaction: bytes, *, signed: bool) -> bytes:
        listed = [(kind, _masked(value, transaction) if kind == PEER_ADDRESS else value) for kind, value in attributes]
        if signed:
            listed += [(USERNAME, self._username.encode()), (REALM, self._realm), (NONCE, self._nonce)]
        body = b"".join(_attribute(kind, value) for kind, value in listed)
        message = struct.pack("!HHI", method, len(body), stun.COOKIE) + transaction + body
        if not signed:
            return message
        words = ":".join((self._username, self._realm.decode(), self._password)).encode()
        integrity = stun.message_integrity(message, hashlib.md5(words).digest())
        signed_message = message + _attribute(INTEGRITY, integrity)
        return stun.set_body_length(signed_message, len(signed_message) - 20)

    def _send(self, data: bytes) -> None:
        write = self._transport.sendto if self._over == "udp" else self._transport.write
        write(data)

    # --- what is asked ----------------------------------------------------------------------------

    async def allocate(self, family: Literal[4, 6] = 4, transport: int = UDP) -> int:
        attributes = [(REQUESTED_TRANSPORT, bytes((transport, 0, 0, 0)))]
        if family == 6:
            attributes.append((ADDRESS_FAMILY, b"\x02\0\0\0"))
        return await self.request(ALLOCATE, attributes)

    async def release(self) -> int:
        """Gives the allocation back."""
        return await self.request(REFRESH, [(LIFETIME, bytes(4))])

    async def permit(self, peer: str) -> int:
        return await self.request(CREATE_PERMISSION, [(PEER_ADDRESS, _peer(peer, 0))])

    async def bind_channel(self, peer: str, port: int = 3306, number: int = 0x4001) -> int:
        channel = (CHANNEL_NUMBER, struct.pack("!HH", number, 0))
        return await self.request(CHANNEL_BIND, [channel, (PEER_ADDRESS, _peer(peer, port))])

    async def connect_to(self, peer: str, port: int = 5432) -> int:
        """RFC 6062: a TCP connection from the relay."""
        return await self.request(CONNECT, [(PEER_ADDRESS, _peer(peer, port))])

    def close(self) -> None:
        self._transport.close()


def _peer(address: str, port: int) -> bytes:
    """Not yet masked with the transaction id."""
    packed = ipaddress.ip_address(address).packed
    return struct.pack("!BBH", 0, 1 if len(packed) == 4 else 2, port) + packed


def _masked(peer: bytes, transaction: bytes) -> bytes:
    return peer[:2] + stun.xor_data(peer[2:], transaction)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def _attributes(message: bytes) -> dict[int, bytes]:
    found, at = {}, 20
    while at + 4 <= len(message):
        kind, size = struct.unpack("!HH", message[at : at + 4])
        found.setdefault(kind, message[at + 4 : at + 4 + size])
        at += 4 + size + -size % 4
    return found


@asynccontextmanager
async def turn_client(
    server: tuple[str, int], username: str, password: str, over: Literal["udp", "tcp"] = "udp"
) -> AsyncIterator[TurnClient]:
    loop = asyncio.get_running_loop()
    if over == "udp":
        _transport, client = await loop.create_datagram_endpoint(
            lambda: TurnClient(username, password, over), remote_addr=server
        )
    else:
        _transport, client = await loop.create_connection(lambda: TurnClient(username, password, over), *server)  # type: ignore[arg-type,assignment]
    try:
        yield client
    finally:
        if client.relayed is not None:
            # Left there it would last for ten minutes, and refuse whoever is given this port of the machine next (437).
            await client.release()
        client.close()
        await asyncio.sleep(0)
