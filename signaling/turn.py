"""ICE servers for browsers, with short-lived TURN credentials.

The TURN server and we share a secret; a credential is an expiry, an opaque id, and their HMAC
(draft-uberti-behave-turn-rest-00; coturn's `use-auth-secret`). The id is the participant's: never a
name. No third party's STUN server is ever named: it would learn the addresses of minors.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence

from signaling.messages import IceServer

CREDENTIAL_LIFETIME_S = 3_600
"""An hour. A relayed connection outlives its credential only while coturn refreshes it; the SDK asks
for new ones when it rebuilds."""


def turn_credentials(secret: str, participant_id: str, now: float) -> tuple[str, str]:
    """Username and password, valid for CREDENTIAL_LIFETIME_S from `now` (Unix seconds)."""
    username = f"{int(now) + CREDENTIAL_LIFETIME_S}:{participant_id}"
    digest = hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()
    return username, base64.b64encode(digest).decode("ascii")


def ice_servers(turn_urls: Sequence[str], secret: str | None, participant_id: str, now: float) -> list[IceServer]:
    """W3C RTCIceServer entries; none without TURN servers. `stun:` URLs go without credentials."""
    stun = [url for url in turn_urls if url.startswith("stun")]
    turn = [url for url in turn_urls if not url.startswith("stun")]
    servers = [IceServer(urls=stun)] if stun else []
    if turn and secret is not None:
        username, credential = turn_credentials(secret, participant_id, now)
        servers.append(IceServer(urls=turn, username=username, credential=credential))
    return servers
