"""Signed tokens of the Janus API: who may talk to a gateway, and who may enter a room there.

Pure; `now` is an argument (Unix seconds). Stateless on both sides: the gateway and we share a secret
(its `token_auth_secret`), and a token is an expiry, a realm, what it is for, and their HMAC-SHA1
(Janus documentation, "Authenticating the Janus API", signed tokens).
"""

import base64
import hashlib
import hmac

from signaling.engines.janus.messages import VIDEOROOM

TOKEN_LIFETIME_S = 300
"""A token is made for each request; this is how far the two clocks may be apart."""


class TokenSigner:
    """`secret` None: the gateway asks for none, and none are made."""

    def __init__(self, secret: str | None) -> None:
        self._secret = secret

    def api_token(self, now: float) -> str | None:
        """For the Janus API, and in it for the VideoRoom alone."""
        return self._signed(now, "janus", VIDEOROOM)

    def room_token(self, room: int, now: float) -> str | None:
        """For entering this room, when it was made with `signed_tokens`."""
        return self._signed(now, VIDEOROOM, f"room={room}")

    def _signed(self, now: float, realm: str, descriptor: str) -> str | None:
        if self._secret is None:
            return None
        data = f"{int(now) + TOKEN_LIFETIME_S},{realm},{descriptor}"
        digest = hmac.new(self._secret.encode(), data.encode(), hashlib.sha1).digest()
        return f"{data}:{base64.b64encode(digest).decode('ascii')}"
