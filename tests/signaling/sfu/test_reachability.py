"""A worker answers whoever tries its port, keeps nothing of them, and answers nobody else."""

import asyncio
import secrets
import socket

import pytest

from signaling.engines.sfu.reachability import ReachabilityPeer
from signaling.engines.sfu.stun import binding_request
from signaling.engines.sfu.udp import UdpMux
from tests.support.deadlines import SECOND

DEADLINE = 3 * SECOND


async def answer_to(request: bytes, port: int) -> bytes | None:
    """None: silence, while a later good check is answered (packets of one socket keep their order)."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        await loop.sock_sendto(sock, request, ("127.0.0.1", port))
        try:
            async with asyncio.timeout(DEADLINE):
                return await loop.sock_recv(sock, 2_000)
        except TimeoutError:
            return None


@pytest.fixture
def transaction() -> bytes:
    return secrets.token_bytes(12)


async def test_a_signed_check_is_answered_with_the_senders_own_address(transaction: bytes) -> None:
    mux = UdpMux(["127.0.0.1"], 0)
    mux.open()
    try:
        peer = ReachabilityPeer(mux)
        port = mux.candidates[0][1]
        request = binding_request(
            transaction, f"{peer.ufrag}:visitor", peer.password.encode(), nominates=True, priority=1
        )
        answer = await answer_to(request, port)
        assert answer is not None
        assert answer[:2] == b"\x01\x01"
        assert answer[8:20] == transaction
        assert len(answer) <= len(request), "whoever forges a sender would have others flooded"
        assert mux._routes[mux._sockets[0]] == {}, "what a visitor sends must reach nobody"
    finally:
        mux.close()


async def test_what_is_not_signed_is_not_answered(transaction: bytes) -> None:
    mux = UdpMux(["127.0.0.1"], 0)
    mux.open()
    try:
        peer = ReachabilityPeer(mux)
        port = mux.candidates[0][1]
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            wrong = binding_request(transaction, f"{peer.ufrag}:visitor", b"guess", nominates=False, priority=1)
            right_id = secrets.token_bytes(12)
            right = binding_request(
                right_id, f"{peer.ufrag}:visitor", peer.password.encode(), nominates=False, priority=1
            )
            for request in (wrong, right):
                await loop.sock_sendto(sock, request, ("127.0.0.1", port))
            async with asyncio.timeout(DEADLINE):
                first = await loop.sock_recv(sock, 2_000)
        assert first[8:20] == right_id, "the unsigned check was answered"
    finally:
        mux.close()
