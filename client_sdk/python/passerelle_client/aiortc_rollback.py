"""Taking an offer back (RFC 8829 section 4.1.10.2), which aiortc 1.16 cannot do.

It rests on names of aiortc's own, which is why the package pins it; `test_rollback.py` says when this
file can go.
"""

from typing import Any

from aiortc import RTCPeerConnection


def roll_back(connection: RTCPeerConnection) -> None:
    """From have-local-offer back to stable, for a connection that has been negotiated before. Lines
    that were new in the offer have no place any more; the next offer, ours or theirs, gives them one."""
    assert connection.signalingState == "have-local-offer"
    negotiated = {
        line.strip()[6:] for line in connection.remoteDescription.sdp.splitlines() if line.startswith("a=mid:")
    }
    for transceiver in connection.getTransceivers():
        if transceiver.mid not in negotiated:
            inner: Any = transceiver
            inner._set_mid(None)
            inner._set_mline_index(None)
    private: Any = connection
    private._RTCPeerConnection__pendingLocalDescription = None
    private._RTCPeerConnection__setSignalingState("stable")
