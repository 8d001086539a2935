"""What is under way to a listener is bounded, and the oldest is dropped."""

import pytest

from signaling.voice_channel import FRAMES_AT_ONCE, MAX_UNHEARD, MAX_WAITING, VoiceChannel
from signaling.voice_packet import VoiceFrame, VoiceRun, encode_packet, encode_runs, parse_packet


def a_run(timestamp: int = 0, frames: int = 1, size: int = 40) -> bytes:
    return encode_runs([VoiceRun("t", [VoiceFrame(timestamp + 960 * n, 30, bytes(size)) for n in range(frames)])])


def timestamps(packets: list[bytes]) -> list[int]:
    return [parse_packet(packet).runs[0].frames[0].timestamp for packet in packets]


def test_packets_are_numbered_and_say_what_was_heard() -> None:
    channel = VoiceChannel(0.0)
    channel.put(a_run())
    assert [parse_packet(packet).number for packet in channel.packets_to_send()] == [1]
    channel.receive(encode_packet(7, 1, a_run()), 0.0)
    channel.put(a_run())
    [packet] = channel.packets_to_send()
    assert (parse_packet(packet).number, parse_packet(packet).heard) == (2, 7)


def test_who_hears_nothing_is_sent_a_second_and_no_more() -> None:
    channel = VoiceChannel(0.0)
    sent: list[bytes] = []
    for n in range(100):
        channel.put(a_run(n))
        sent += channel.packets_to_send()
    assert timestamps(sent) == list(range(MAX_UNHEARD))
    assert channel.dropped == 100 - MAX_UNHEARD - MAX_WAITING


def test_what_waited_and_is_still_fresh_goes_when_the_listener_has_heard() -> None:
    channel = VoiceChannel(0.0)
    for n in range(100):
        channel.put(a_run(n))
        channel.packets_to_send()
    channel.receive(encode_packet(0, MAX_UNHEARD, b""), 1.0)
    assert timestamps(channel.packets_to_send()) == list(range(100 - MAX_WAITING, 100))


def test_a_listener_cannot_say_it_heard_what_was_never_sent() -> None:
    channel = VoiceChannel(0.0)
    channel.receive(encode_packet(0, 1_000_000, b""), 0.0)
    sent: list[bytes] = []
    for n in range(100):
        channel.put(a_run(n))
        sent += channel.packets_to_send()
    assert len(sent) == MAX_UNHEARD


def test_a_packet_counts_once() -> None:
    channel = VoiceChannel(0.0)
    packet = encode_packet(1, 0, a_run())
    assert len(channel.receive(packet, 0.0)) == 1
    assert channel.receive(packet, 0.0) == []


def test_a_flood_is_cut_to_what_a_microphone_makes() -> None:
    channel = VoiceChannel(0.0)
    taken = sum(
        len(run.frames) for n in range(1, 400) for run in channel.receive(encode_packet(n, 0, a_run(frames=2)), 0.0)
    )
    assert taken == FRAMES_AT_ONCE
    # A second later there is room for a second's worth.
    later = sum(
        len(run.frames) for n in range(400, 500) for run in channel.receive(encode_packet(n, 0, a_run(frames=2)), 1.0)
    )
    assert later == 60


def test_a_heavy_stream_is_cut_by_its_bytes() -> None:
    channel = VoiceChannel(0.0)
    taken = [n for n in range(1, 100) if channel.receive(encode_packet(n, 0, a_run(size=1_200)), 0.0)]
    assert len(taken) == 48_000 // (1_200 + 21)


def test_what_is_no_packet_is_refused() -> None:
    with pytest.raises(ValueError):
        VoiceChannel(0.0).receive(b"\x00", 0.0)
