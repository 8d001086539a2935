"""Tokens, placement and descriptions of the `janus` engine: no gateway, no loop."""

import base64
import hashlib
import hmac

import pytest

from signaling.engines.janus.description import (
    identity_of,
    offer_for_gateway,
    read_description,
    with_origin,
    without_addresses,
)
from signaling.engines.janus.placement import MAX_SESSIONS_PER_NODE, least_loaded
from signaling.engines.janus.tokens import TOKEN_LIFETIME_S, TokenSigner
from signaling.sdp_summary import media_lines

NOW = 1_800_000_000.7

OFFER = "\r\n".join(
    [
        "v=0",
        "o=- 1 1 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0 1 2",
        "a=sendrecv",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "a=mid:0",
        "a=sendrecv",
        "a=rtpmap:111 opus/48000/2",
        "a=fingerprint:sha-256 AA:BB",
        "a=candidate:1 1 udp 2122260223 10.1.2.3 50000 typ host",
        "a=end-of-candidates",
        "m=video 9 UDP/TLS/RTP/SAVPF 96",
        "a=mid:1",
        "a=rtpmap:96 VP8/90000",
        "a=fingerprint:sha-256 AA:BB",
        "m=video 9 UDP/TLS/RTP/SAVPF 96",
        "a=mid:2",
        "a=recvonly",
        "a=rtpmap:96 VP8/90000",
        "a=fingerprint:sha-256 AA:BB",
        "",
    ]
)


def test_a_token_is_an_expiry_a_realm_a_purpose_and_their_hmac() -> None:
    signer = TokenSigner("between us")
    for token, expected in (
        (signer.api_token(NOW), "janus,janus.plugin.videoroom"),
        (signer.room_token(17, NOW), "janus.plugin.videoroom,room=17"),
    ):
        assert token is not None
        data, _, signature = token.partition(":")
        assert data == f"{1_800_000_000 + TOKEN_LIFETIME_S},{expected}"
        assert base64.b64decode(signature) == hmac.new(b"between us", data.encode(), hashlib.sha1).digest()
    assert TokenSigner(None).api_token(NOW) is None
    assert TokenSigner(None).room_token(17, NOW) is None


def test_a_room_goes_to_the_gateway_with_the_fewest_sessions() -> None:
    assert least_loaded({0: 3, 1: 2, 2: 5}) == 1
    assert least_loaded({2: 1, 1: 1}) == 1
    assert least_loaded({}) is None


def test_full_gateways_take_nobody() -> None:
    assert least_loaded({0: MAX_SESSIONS_PER_NODE, 1: MAX_SESSIONS_PER_NODE - 1}) == 1
    assert least_loaded({0: MAX_SESSIONS_PER_NODE}) is None


@pytest.mark.parametrize("sending", [(), ("0",), ("1",), ("0", "1")])
def test_only_what_may_send_sends(sending: tuple[str, ...]) -> None:
    """However the client wrote its directions: in the line, for the session, or not at all."""
    lines = media_lines(offer_for_gateway(OFFER, sending))
    assert [line.mid for line in lines if line.direction == "sendonly"] == list(sending)
    assert [line.mid for line in lines if line.direction == "inactive"] == [m for m in "012" if m not in sending]


def test_no_address_of_a_client_reaches_the_gateway() -> None:
    for sent in (offer_for_gateway(OFFER, {"0"}), without_addresses(OFFER)):
        assert "candidate" not in sent
        assert "10.1.2.3" not in sent
        assert len(media_lines(sent)) == 3


def test_what_stays_is_what_the_client_wrote() -> None:
    kept = [line for line in OFFER.split("\r\n") if not line.startswith(("a=candidate", "a=end-of"))]
    assert without_addresses(OFFER).split("\r\n") == kept


def test_one_peer_connection_has_one_session_number() -> None:
    for version in (1, 2):
        offered = with_origin(OFFER, 77, version).split("\r\n")
        assert offered[1] == f"o=- 77 {version} IN IP4 127.0.0.1"
        assert [offered[0], *offered[2:]] == [line for line in OFFER.split("\r\n") if not line.startswith("o=")]


def test_another_certificate_is_another_peer_connection() -> None:
    same, other = read_description(OFFER), read_description(OFFER.replace("AA:BB", "CC:DD"))
    assert identity_of(same) == identity_of(read_description(OFFER.replace("a=sendrecv", "a=sendonly")))
    assert identity_of(same) != identity_of(other)
