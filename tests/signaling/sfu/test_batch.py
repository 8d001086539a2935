"""Packets that leave together: each to its own address, whole, in order, whatever becomes of the others."""

import asyncio
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pylibsrtp
import pytest

from signaling.engines.sfu.aiortc_seams import OutgoingSession
from signaling.engines.sfu.batch import CAN_BATCH, SLOTS, SendBatch, SendEach, Way
from signaling.engines.sfu.rtp import write_rtp
from signaling.engines.sfu.udp import Source

Out = SendBatch | SendEach


def never(_callback: Callable[[], None]) -> None:
    raise AssertionError("held packets wait for nobody")


@pytest.fixture(params=["batch", "each"])
def out(request: pytest.FixtureRequest) -> Out:
    if request.param == "each":
        return SendEach()
    assert CAN_BATCH, "the product runs on Linux"
    return SendBatch(never)


@pytest.fixture
def sockets() -> Iterator[Callable[[str], socket.socket]]:
    with ExitStack() as stack:

        def bound(address: str) -> socket.socket:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            sock = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            sock.bind((address, 0))
            return sock

        yield bound


def put(out: Out, destination: Source, text: bytes) -> None:
    out.bytes[: len(text)] = text
    out.commit(destination, len(text))


def arrived(sock: socket.socket) -> list[bytes]:
    found: list[bytes] = []
    while True:
        try:
            found.append(sock.recv(2_048))
        except BlockingIOError:
            return found


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_each_packet_goes_to_its_own_address(out: Out, sockets: Callable[[str], socket.socket], address: str) -> None:
    sender, peers = sockets(address), [sockets(address) for _ in range(3)]
    out.hold()
    count = 2 * SLOTS + 5
    for number in range(count):
        peer = peers[number % 3]
        put(out, Source(sender, peer.getsockname()), b"%d:" % number + bytes(number))
    out.release()
    for index, peer in enumerate(peers):
        assert arrived(peer) == [b"%d:" % number + bytes(number) for number in range(index, count, 3)]
    assert out.failures == 0


def test_packets_of_two_sockets_keep_their_order(out: Out, sockets: Callable[[str], socket.socket]) -> None:
    senders, peer = [sockets("127.0.0.1"), sockets("127.0.0.1")], sockets("127.0.0.1")
    out.hold()
    for number in range(10):
        put(out, Source(senders[number // 2 % 2], peer.getsockname()), b"%d" % number)
    out.release()
    found = [peer.recvfrom(10) for _ in range(10)]
    assert [data for data, _from in found] == [b"%d" % number for number in range(10)]
    assert [address for _data, address in found] == [senders[n // 2 % 2].getsockname() for n in range(10)]


def test_what_cannot_be_sent_takes_nothing_else_along(out: Out, sockets: Callable[[str], socket.socket]) -> None:
    sender, closed, peer = sockets("127.0.0.1"), sockets("127.0.0.1"), sockets("127.0.0.1")
    there, nowhere = Source(sender, peer.getsockname()), Source(sender, ("127.0.0.1", 0))
    gone = Source(closed, peer.getsockname())
    closed.close()
    out.hold()
    for number, destination in enumerate((there, nowhere, there, gone, there)):
        put(out, destination, b"%d" % number)
    out.release()
    assert arrived(peer) == [b"0", b"2", b"4"]
    assert out.failures == 2


def sessions() -> tuple[OutgoingSession, pylibsrtp.Session]:
    """What encrypts, and what decrypts that."""
    profile, key = pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_256_GCM, secrets.token_bytes(44)
    ours, theirs = (
        pylibsrtp.Session(pylibsrtp.Policy(key=key, ssrc_type=direction, srtp_profile=profile))
        for direction in (pylibsrtp.Policy.SSRC_ANY_OUTBOUND, pylibsrtp.Policy.SSRC_ANY_INBOUND)
    )
    return OutgoingSession(ours._srtp[0], ours), theirs


def rtp(number: int) -> bytes:
    packet = bytearray(2_048)
    return bytes(packet[: write_rtp(packet, 96, number, number * 3_000, 7, b"", b"%d:" % number + bytes(number))])


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_each_peer_gets_its_own_encryption(out: Out, sockets: Callable[[str], socket.socket], address: str) -> None:
    sender, peers = sockets(address), [sockets(address) for _ in range(3)]
    pairs = [sessions() for _ in peers]
    ways = [Way(outgoing, Source(sender, peer.getsockname())) for (outgoing, _), peer in zip(pairs, peers, strict=True)]
    out.hold()
    count = 2 * SLOTS + 5
    for number in range(count):
        packet = rtp(number)
        out.bytes[: len(packet)] = packet
        out.send_rtp(ways[number % 3], len(packet))
        if number % 10 == 0:
            # What is encrypted elsewhere goes between them.
            put(out, ways[number % 3].destination, b"report")
    out.release()
    for index, (peer, (_, incoming)) in enumerate(zip(peers, pairs, strict=True)):
        media = [data for data in arrived(peer) if data != b"report"]
        assert [incoming.unprotect(data) for data in media] == [rtp(number) for number in range(index, count, 3)]
    assert out.failures == 0


def test_what_cannot_be_encrypted_does_not_leave(out: Out, sockets: Callable[[str], socket.socket]) -> None:
    """A number that was used for that session before: the nonce would be, too."""
    sender, peer = sockets("127.0.0.1"), sockets("127.0.0.1")
    outgoing, incoming = sessions()
    way = Way(outgoing, Source(sender, peer.getsockname()))
    out.hold()
    for number in (1, 1, 2):
        packet = rtp(number)
        out.bytes[: len(packet)] = packet
        out.send_rtp(way, len(packet))
    out.release()
    assert [incoming.unprotect(data) for data in arrived(peer)] == [rtp(1), rtp(2)]
    assert out.failures == 1


async def test_what_nobody_holds_leaves_with_the_next_turn_of_the_loop(
    sockets: Callable[[str], socket.socket],
) -> None:
    out, sender, peer = SendBatch(asyncio.get_running_loop().call_soon), sockets("127.0.0.1"), sockets("127.0.0.1")
    for number in range(3):
        put(out, Source(sender, peer.getsockname()), b"%d" % number)
    assert arrived(peer) == []
    await asyncio.sleep(0)
    assert arrived(peer) == [b"0", b"1", b"2"]
    put(out, Source(sender, peer.getsockname()), b"again")
    await asyncio.sleep(0)
    assert arrived(peer) == [b"again"]
