"""CPU of the sfu's worker per forwarded packet.

    python -m benchmarks.media_forwarder [--seconds 4]

One worker process forwards; this process makes the load: publishers that send packets of 1,100 bytes, 120 a
second in 30 bursts of four (times the factor), and subscribers that count what arrives. In a *layered* load
each publisher sends three layers (four, two and one packets a burst), a third of the subscribers sees each of
them, changed from the smallest one first so that all numbers are rewritten, and every twentieth packet is
asked for again (NACK, answered by RTX). Peers are sockets with real ICE, DTLS and SRTP but nothing else, so
that the generator does not run out first. Worker and generator are pinned to a core each. Printed:
microseconds of worker CPU per packet sent to a subscriber, receive path, RTCP and ticks included, which is
the same number as milliseconds per 1,000 packets.
"""

import argparse
import asyncio
import os
import secrets
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from signaling.engines import DescriptionToSend, EngineEvent, MediaGrants
from signaling.engines.sfu import SfuEngine, rtcp
from signaling.engines.sfu.aiortc_seams import Certificate, OutgoingSession, PacketBuffer, SecureTransport
from signaling.engines.sfu.codecs import MID, RID, offered_codecs, offered_extensions
from signaling.engines.sfu.control import WorkerStatistics
from signaling.engines.sfu.rtp import ExtensionWriter, write_rtp
from signaling.engines.sfu.sdp import (
    ParsedDescription,
    TransportDescription,
    WrittenSection,
    parse_description,
    write_description,
)
from signaling.engines.sfu.stun import binding_request, is_stun
from signaling.messages import PublishedMedia, SessionDescription, ShownTrack

GRANTS = MediaGrants(publish_audio=True, publish_video=True, publish_screen=True, subscribe=True)
PAYLOAD_BYTES = 1_100
BURSTS_PER_S = 30
PACKETS_PER_BURST = 4
CHECK_EVERY_S = 2.0
WARM_UP_S = 1.5
"""Two key frames: every subscriber has the layer that it shall have."""
RTX_PAYLOAD_TYPE = 97
LOST_EVERY = 20
"""Of a layered load: packets after which a subscriber asks for one again."""


@dataclass(frozen=True, slots=True)
class Layer:
    rid: str
    width: int
    height: int
    packets_per_burst: int


LAYERS = (Layer("q", 320, 180, 1), Layer("h", 640, 360, 2), Layer("f", 1_280, 720, 4))
RID_ID = 9
"""Of the rid's header extension, beside those that we offer ourselves."""


@dataclass(frozen=True, slots=True)
class Load:
    name: str
    publishers: int
    subscribers_each: int
    factor: int = 1
    is_layered: bool = False


LOADS = (
    Load("1 -> 20", 1, 20),
    Load("1 -> 60", 1, 60),
    Load("10 x 9", 10, 9),
    Load("1 -> 60, x4", 1, 60, 4),
    Load("1 -> 60, x8", 1, 60, 8),
    Load("1 -> 60, layered", 1, 60, is_layered=True),
    Load("10 x 9, layered", 10, 9, is_layered=True),
    Load("1 -> 60, layered, x4", 1, 60, 4, is_layered=True),
)


class LightPeer:
    """A peer connection's other end: ICE checks, DTLS as client, SRTP; counts what it receives."""

    def __init__(self, certificate: Certificate) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self._secure = SecureTransport(certificate, self._send, self._state_changed)
        self._certificate = certificate
        self._in, self._out = PacketBuffer(), PacketBuffer()
        self._remote: tuple[str, int] | None = None
        self._check = b""
        self._session: OutgoingSession | None = None
        self.ufrag, self.password = secrets.token_hex(4), secrets.token_hex(12)
        self.connected = asyncio.Event()
        self.received = 0
        self.asks_again = False
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable)

    def describe(self, setup: Literal["actpass", "active"]) -> TransportDescription:
        return TransportDescription(
            self.ufrag, self.password, self._certificate.fingerprint, setup, [self._socket.getsockname()]
        )

    def connect(self, remote: ParsedDescription, port: int) -> None:
        section = remote.sections[0]
        self._remote = ("127.0.0.1", port)
        username = f"{section.ufrag}:{self.ufrag}"
        self._check = binding_request(
            secrets.token_bytes(12), username, section.password.encode(), nominates=True, priority=1
        )
        self.check()
        self._secure.start("client", section.fingerprints)

    def check(self) -> None:
        self._send(self._check)

    def _send(self, data: bytes | memoryview) -> None:
        assert self._remote is not None
        self._socket.sendto(data, self._remote)

    def _state_changed(self, state: str) -> None:
        if state == "connected":
            self._session = self._secure.outgoing
            self.connected.set()

    def _readable(self) -> None:
        buffer = self._in
        for _ in range(64):
            try:
                size = self._socket.recv_into(buffer.bytes)
            except BlockingIOError:
                return
            first = buffer.bytes[0]
            if 128 <= first < 192:
                if not 192 <= buffer.bytes[1] <= 223:
                    self.received += 1
                    if self.asks_again and self.received % LOST_EVERY == 0:
                        self._ask_again(buffer)
            elif not is_stun(buffer.bytes, size):
                self._secure.feed_dtls(bytes(buffer.view[:size]))

    def _ask_again(self, buffer: PacketBuffer) -> None:
        """A NACK for the packet that just came (its header is not encrypted)."""
        sequence, ssrc = int.from_bytes(buffer.bytes[2:4], "big"), int.from_bytes(buffer.bytes[8:12], "big")
        if buffer.bytes[1] & 0x7F == RTX_PAYLOAD_TYPE:
            return
        feedback = rtcp.receiver_report(1, ()) + rtcp.nack(1, ssrc, [sequence])
        self._out.bytes[: len(feedback)] = feedback
        self._send(self._out.view[: self._secure.protect_rtcp(self._out.place, len(feedback))])

    def send_packet(self, sequence: int, timestamp: int, ssrc: int, block: bytes, payload: bytes) -> None:
        assert self._session is not None
        length = write_rtp(self._out.bytes, 96, sequence, timestamp, ssrc, block, payload)
        self._send(self._out.view[: self._out.protect(self._session, length)])

    async def close(self) -> None:
        await self._secure.stop()
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()


class Generator:
    """Publishers and subscribers of one load, through the engine's contract."""

    def __init__(self) -> None:
        self.certificate = Certificate()
        self.publishers: list[LightPeer] = []
        self.subscribers: list[LightPeer] = []
        self._descriptions: dict[tuple[str, str], asyncio.Queue[DescriptionToSend]] = {}
        self._engine: SfuEngine | None = None
        self._picture = 0
        self._sequences = [0] * len(LAYERS)

    def hear(self, event: EngineEvent) -> None:
        if isinstance(event, DescriptionToSend):
            self._queue(event.session_id, event.pc).put_nowait(event)

    def _queue(self, session_id: str, pc: str) -> asyncio.Queue[DescriptionToSend]:
        return self._descriptions.setdefault((session_id, pc), asyncio.Queue())

    async def build(self, engine: SfuEngine, load: Load) -> None:
        self._engine = engine
        for number in range(load.publishers):
            await self._publish(engine, f"room-{number}", f"p{number}", is_layered=load.is_layered)
            for each in range(load.subscribers_each):
                await self._subscribe(engine, f"room-{number}", f"s{number}-{each}")
                self.subscribers[-1].asks_again = load.is_layered
        async with asyncio.timeout(30):
            for peer in (*self.publishers, *self.subscribers):
                await peer.connected.wait()

    async def show(self, engine: SfuEngine, load: Load, *, small: bool) -> None:
        """The subscribers' tiles: all small, or a third of them each size."""
        for number in range(load.publishers):
            for each in range(load.subscribers_each):
                layer = LAYERS[0 if small else each % len(LAYERS)]
                tile = ShownTrack(track_id=f"p{number}", width=layer.width, height=layer.height)
                await engine.set_layout(f"s{number}-{each}", [tile])

    async def _publish(self, engine: SfuEngine, room_id: str, session_id: str, *, is_layered: bool) -> None:
        peer = LightPeer(self.certificate)
        await engine.open_session(room_id, session_id, session_id, GRANTS)
        section = WrittenSection("video", "0", "sendonly", offered_codecs("video"), offered_extensions("video"))
        offer = write_description(1, 1, peer.describe("actpass"), [section])
        if is_layered:
            rids = "".join(f"a=rid:{layer.rid} send\r\n" for layer in LAYERS)
            offer += f"a=extmap:{RID_ID} {RID}\r\n{rids}a=simulcast:send {';'.join(layer.rid for layer in LAYERS)}\r\n"
        media = [PublishedMedia(mid="0", track_id=session_id, source="camera")]
        await engine.receive_description(
            session_id, "publish", 1, SessionDescription(type="offer", sdp=offer), media, None
        )
        answer = await self._queue(session_id, "publish").get()
        peer.connect(parse_description(answer.description.sdp), engine.udp_ports[0])
        self.publishers.append(peer)

    async def _subscribe(self, engine: SfuEngine, room_id: str, session_id: str) -> None:
        peer = LightPeer(self.certificate)
        await engine.open_session(room_id, session_id, session_id, GRANTS)
        offer = await self._queue(session_id, "subscribe").get()
        sections = [
            WrittenSection("video", each.mid, "recvonly", offered_codecs("video"), offered_extensions("video"))
            for each in parse_description(offer.description.sdp).sections
        ]
        answer = write_description(1, 1, peer.describe("active"), sections)
        peer.connect(parse_description(offer.description.sdp), engine.udp_ports[0])
        await engine.receive_description(
            session_id, "subscribe", offer.negotiation, SessionDescription(type="answer", sdp=answer), [], None
        )
        self.subscribers.append(peer)

    async def send(self, load: Load, seconds: float) -> int:
        """Every publisher sends at its rate; how many packets."""
        if load.is_layered:
            return await self._send_layers(load, seconds)
        block = ExtensionWriter("0", offered_extensions("video")[MID], None, None).block(bytes(3), None)
        key, delta = b"\x10\x00" + bytes(PAYLOAD_BYTES - 2), b"\x00\x01" + bytes(PAYLOAD_BYTES - 2)
        begin = time.monotonic()
        burst, sequence = 0, 0
        while (due := begin + burst / BURSTS_PER_S) < begin + seconds:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if burst % int(CHECK_EVERY_S * BURSTS_PER_S) == 0:
                for peer in (*self.publishers, *self.subscribers):
                    peer.check()
            for number in range(PACKETS_PER_BURST * load.factor):
                for ssrc, peer in enumerate(self.publishers, 1):
                    payload = key if number == 0 and burst % BURSTS_PER_S == 0 else delta
                    peer.send_packet(sequence, burst * 3_000, ssrc, block, payload)
                sequence += 1
            burst += 1
        await asyncio.sleep(0.3)
        return sequence * len(self.publishers)

    async def _send_layers(self, load: Load, seconds: float) -> int:
        blocks = [_block_with_rid(layer.rid) for layer in LAYERS]
        begin = time.monotonic()
        burst, sent = 0, 0
        while (due := begin + burst / BURSTS_PER_S) < begin + seconds:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if burst % int(CHECK_EVERY_S * BURSTS_PER_S) == 0:
                for peer in (*self.publishers, *self.subscribers):
                    peer.check()
            self._picture += 1
            for index, layer in enumerate(LAYERS):
                first, rest = _picture(layer, self._picture, is_key=burst % BURSTS_PER_S == 0)
                for number in range(layer.packets_per_burst * load.factor):
                    self._sequences[index] += 1
                    for publisher, peer in enumerate(self.publishers):
                        ssrc, payload = 1 + publisher * len(LAYERS) + index, first if number == 0 else rest
                        peer.send_packet(self._sequences[index], self._picture * 3_000, ssrc, blocks[index], payload)
                    sent += len(self.publishers)
            burst += 1
        await asyncio.sleep(0.3)
        return sent

    async def close(self) -> None:
        assert self._engine is not None
        for session_id in {session_id for session_id, _ in self._descriptions}:
            await self._engine.close_session(session_id)
        for peer in (*self.publishers, *self.subscribers):
            await peer.close()


def _block_with_rid(rid: str) -> bytes:
    """Header extensions: mid "0" and the rid."""
    mid_id = offered_extensions("video")[MID]
    elements = bytes((mid_id << 4,)) + b"0" + bytes((RID_ID << 4 | (len(rid) - 1),)) + rid.encode("ascii")
    elements += bytes(-len(elements) % 4)
    return struct.pack(">HH", 0xBEDE, len(elements) // 4) + elements


def _picture(layer: Layer, number: int, *, is_key: bool) -> tuple[bytes, bytes]:
    """The payloads of its first packet and of the others (RFC 7741: picture id, TL0PICIDX)."""
    numbers = b"\xe0" + (0x8000 | number & 0x7FFF).to_bytes(2, "big") + bytes((number & 0xFF, 0x20))
    size = layer.width.to_bytes(2, "little") + layer.height.to_bytes(2, "little")
    frame = b"\x10\x02\x00\x9d\x01\x2a" + size if is_key else b"\x11"
    first, rest = b"\x90" + numbers + frame, b"\x80" + numbers
    return first + bytes(PAYLOAD_BYTES - len(first)), rest + bytes(PAYLOAD_BYTES - len(rest))


async def _statistics(engine: SfuEngine) -> WorkerStatistics:
    (worker,) = await engine.statistics()
    return worker


async def measure(load: Load, seconds: float) -> Sequence[str]:
    generator = Generator()
    engine = SfuEngine(generator.hear, ["127.0.0.1"])
    await engine.start()
    cores = os.sched_getaffinity(0)
    try:
        _pin(engine)
        before_joins = await _statistics(engine)
        await generator.build(engine, load)
        joined = await _statistics(engine)
        if load.is_layered:
            await generator.show(engine, load, small=True)
            await generator.send(load, WARM_UP_S)
            await generator.show(engine, load, small=False)
            await generator.send(load, WARM_UP_S)
            for peer in generator.subscribers:
                peer.received = 0
        before = await _statistics(engine)
        await generator.send(load, seconds)
        after = await _statistics(engine)
        await generator.close()
    finally:
        os.sched_setaffinity(0, cores)
        await engine.stop()
    received = sum(peer.received for peer in generator.subscribers)
    delivered = _delivered(after) - _delivered(before)
    cpu = after.cpu_s - before.cpu_s
    joins = len(generator.publishers) + len(generator.subscribers)
    return (
        load.name,
        f"{received / seconds:,.0f}",
        f"{cpu / delivered * 1e6:.1f}",
        f"{cpu / seconds:.0%}",
        f"{1 - received / delivered:.2%}",
        f"{after.longest_stall_s * 1e3:.1f}",
        f"{(joined.cpu_s - before_joins.cpu_s) / joins * 1e3:.1f}",
    )


def _delivered(worker: WorkerStatistics) -> int:
    return sum(track.packets_forwarded + track.packets_resent for track in worker.tracks)


def _pin(engine: SfuEngine) -> None:
    """The worker on one core, the generator on another."""
    cores = sorted(os.sched_getaffinity(0))
    (pid,) = engine.worker_pids
    if len(cores) > 1:
        os.sched_setaffinity(pid, cores[:1])
        os.sched_setaffinity(0, cores[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    arguments = parser.parse_args()
    head = ("load", "packets/s", "us/packet", "worker CPU", "lost", "stall ms", "ms/join")
    print("| " + " | ".join(head) + " |")
    print("|" + " --- |" * len(head))
    for load in LOADS:
        row = asyncio.run(measure(load, arguments.seconds))
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
