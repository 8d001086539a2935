"""What waits for a POST of long polling goes in bodies of the size that a server takes."""

import asyncio
import itertools

import pytest
from engineio.packet import MESSAGE, Packet
from engineio.payload import Payload

from passerelle_client.post_queue import MOST_BODY_BYTES, PostQueue


async def bodies(queue: PostQueue) -> list[list[Packet]]:
    """Taken as python-engineio takes them."""
    taken = []
    while queue.qsize():
        packets = [await queue.get()]
        while True:
            try:
                packets.append(queue.get_nowait())
            except asyncio.QueueEmpty:
                break
        taken.append([packet for packet in packets if packet is not None])
    return taken


@pytest.mark.parametrize("data", [b"\xff" * 300_000, "é" * 200_000, [{"text": "é"}] * 1_000])
async def test_no_body_is_longer_than_a_server_takes_and_none_is_left_out(data: object) -> None:
    queue, sent = PostQueue(), [Packet(MESSAGE, data=data) for _ in range(60)]
    for packet in sent:
        queue.put_nowait(packet)
    taken = await bodies(queue)
    assert [packet for body in taken for packet in body] == sent
    lengths = [len(Payload(packets=body).encode().encode()) for body in taken]
    assert max(lengths) <= MOST_BODY_BYTES
    assert all(first + second > MOST_BODY_BYTES for first, second in itertools.pairwise(lengths))


async def test_a_packet_that_is_too_long_goes_alone() -> None:
    queue = PostQueue()
    for size in (10, MOST_BODY_BYTES, 10, 10):
        queue.put_nowait(Packet(MESSAGE, data=bytes(size)))
    assert [len(body) for body in await bodies(queue)] == [1, 1, 2]


async def test_after_a_whole_body_a_client_waits_for_the_next_packet() -> None:
    queue = PostQueue()
    for _ in range(2):
        queue.put_nowait(Packet(MESSAGE, data=bytes(MOST_BODY_BYTES // 2)))
        assert len(await bodies(queue)) == 1
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.put_nowait(Packet(MESSAGE, data="a"))
    packet = await waiting
    assert packet is not None
    assert packet.data == "a"
