"""Taking an offer back in aiortc. When the first test fails, aiortc can do it itself: use that."""

import contextlib

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from passerelle_client.aiortc_rollback import roll_back
from tests.support.media_session import loopback_for_aioice


async def negotiate(offerer: RTCPeerConnection, answerer: RTCPeerConnection) -> None:
    await answerer.setRemoteDescription(offerer.localDescription)
    await answerer.setLocalDescription(await answerer.createAnswer())
    await offerer.setRemoteDescription(answerer.localDescription)


async def offer(connection: RTCPeerConnection) -> None:
    await connection.setLocalDescription(await connection.createOffer())


async def test_aiortc_still_cannot_take_an_offer_back() -> None:
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    connection.addTransceiver("audio")
    with loopback_for_aioice():
        await offer(connection)
    with contextlib.suppress(Exception):
        await connection.setLocalDescription(RTCSessionDescription("", "rollback"))
    assert connection.signalingState == "have-local-offer"
    await connection.close()


async def test_offers_that_cross_end_in_two_connections_that_agree() -> None:
    polite, impolite = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
    with loopback_for_aioice():
        polite.addTransceiver("audio")
        await offer(polite)
        await negotiate(polite, impolite)
        before = len(polite.getTransceivers())

        polite.addTransceiver("video")
        impolite.addTransceiver("video")
        await offer(polite)
        await offer(impolite)
        roll_back(polite)
        assert polite.signalingState == "stable"
        await negotiate(impolite, polite)
        await offer(polite)
        await negotiate(polite, impolite)
    for connection in (polite, impolite):
        assert connection.signalingState == "stable"
        assert len({each.mid for each in connection.getTransceivers()}) == len(connection.getTransceivers())
    assert [each.mid for each in polite.getTransceivers()] == [each.mid for each in impolite.getTransceivers()]
    assert len(polite.getTransceivers()) > before
    await polite.close()
    await impolite.close()
