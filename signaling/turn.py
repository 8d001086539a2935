"""ICE servers for browsers, with short-lived TURN credentials.

The TURN server and we share a secret; a credential is an expiry, an opaque id, and their HMAC
(draft-uberti-behave-turn-rest-00; coturn's `use-auth-secret`). The id is the participant's: never a
name. No third party's STUN server is ever named: it would learn the addresses of minors.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from signaling.messages import IceServer

CREDENTIAL_LIFETIME_S = 3_600
"""An hour. A relayed connection outlives its credential only while coturn refreshes it; the SDK asks
for new ones when it rebuilds."""

PLAIN_PORT, TLS_PORT = 3_478, 5_349
"""Where a URL names none (RFC 7065 section 3.2)."""


@dataclass(frozen=True, slots=True)
class RelayAddress:
    """Where a browser connects for a TURN or STUN URL."""

    host: str
    port: int
    transport: Literal["udp", "tcp", "tls"]


def relay_address(url: str) -> RelayAddress:
    """Of `turn:host:port?transport=tcp` (RFC 7065 section 3). Raises: ValueError."""
    scheme, _, rest = url.partition(":")
    place, _, query = rest.partition("?")
    parts = urlsplit(f"//{place}")
    if not parts.hostname:
        raise ValueError(f"no host in {scheme} URL")
    is_tls = scheme in ("turns", "stuns")
    transport: Literal["udp", "tcp", "tls"] = "udp"
    if is_tls:
        transport = "tls"
    elif query == "transport=tcp":
        transport = "tcp"
    return RelayAddress(parts.hostname, parts.port or (TLS_PORT if is_tls else PLAIN_PORT), transport)


def turn_credentials(
    secret: str, participant_id: str, now: float, lifetime_s: int = CREDENTIAL_LIFETIME_S
) -> tuple[str, str]:
    """Username and password, valid for `lifetime_s` from `now` (Unix seconds)."""
    username = f"{int(now) + lifetime_s}:{participant_id}"
    digest = hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()
    return username, base64.b64encode(digest).decode("ascii")


def ice_servers(
    turn_urls: Sequence[str],
    secret: str | None,
    participant_id: str,
    now: float,
    lifetime_s: int = CREDENTIAL_LIFETIME_S,
) -> list[IceServer]:
    """W3C RTCIceServer entries; none without TURN servers. `stun:` URLs go without credentials."""
    stun = [url for url in turn_urls if url.startswith("stun")]
    turn = [url for url in turn_urls if not url.startswith("stun")]
    servers = [IceServer(urls=stun)] if stun else []
    if turn and secret is not None:
        username, credential = turn_credentials(secret, participant_id, now, lifetime_s)
        servers.append(IceServer(urls=turn, username=username, credential=credential))
    return servers
