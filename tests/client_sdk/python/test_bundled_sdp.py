"""What the Python SDK writes of a peer connection with many lines: short enough, and understood."""

import asyncio

from aiortc import RTCPeerConnection, RTCSessionDescription

from passerelle_client.bundled_sdp import without_repetition
from signaling.engines.sfu.sdp import parse_description
from signaling.engines.sfu.subscribe import MAX_LINES
from signaling.messages import MAX_SDP_CHARACTERS
from tests.support.deadlines import SECOND
from tests.support.media_session import loopback_for_aioice


async def answered(offerer: RTCPeerConnection, answerer: RTCPeerConnection, lines: int) -> str:
    for number in range(lines):
        offerer.addTransceiver("video" if number % 2 else "audio", "sendonly")
    await offerer.setLocalDescription(await offerer.createOffer())
    await answerer.setRemoteDescription(offerer.localDescription)
    await answerer.setLocalDescription(await answerer.createAnswer())
    return str(answerer.localDescription.sdp)


async def test_an_answer_to_as_many_lines_as_a_server_offers_is_short_enough() -> None:
    offerer, answerer = RTCPeerConnection(), RTCPeerConnection()
    whole = await answered(offerer, answerer, MAX_LINES)
    short = without_repetition(whole)
    assert len(whole) > MAX_SDP_CHARACTERS > len(short)
    before, after = parse_description(whole), parse_description(short)
    assert after.bundled == before.bundled
    for one, other in zip(before.sections, after.sections, strict=True):
        assert (one.mid, one.ufrag, one.password, one.setup) == (other.mid, other.ufrag, other.password, other.setup)
        assert (one.codecs, one.extensions, one.ssrcs) == (other.codecs, other.extensions, other.ssrcs)
        assert {algorithm for algorithm, _digest in other.fingerprints} == {"sha-256"}
        assert set(other.fingerprints) < set(one.fingerprints)
    assert 0 < short.count("a=candidate:") < whole.count("a=candidate:")
    await offerer.close()
    await answerer.close()


async def test_a_connection_comes_of_it() -> None:
    with loopback_for_aioice():
        offerer, answerer = RTCPeerConnection(), RTCPeerConnection()
        connected = asyncio.Event()
        offerer.on("connectionstatechange", lambda: offerer.connectionState == "connected" and connected.set())
        short = without_repetition(await answered(offerer, answerer, 5))
        await offerer.setRemoteDescription(RTCSessionDescription(short, "answer"))
        await asyncio.wait_for(connected.wait(), 10 * SECOND)
        await offerer.close()
        await answerer.close()


def test_what_is_not_bundled_keeps_what_is_its_own() -> None:
    lines = ["v=0", "a=group:BUNDLE 0"]
    for mid in ("0", "1"):
        lines += ["m=audio 9 UDP/TLS/RTP/SAVPF 96", f"a=mid:{mid}", f"a=candidate:{mid} 1 udp 1 127.0.0.1 1 typ host"]
    text = "\r\n".join(lines) + "\r\n"
    assert without_repetition(text) == text
