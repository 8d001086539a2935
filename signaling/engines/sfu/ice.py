"""ICE, the server's half: an ICE-lite agent (RFC 8445 sections 2.5, 6.1.1 and 7.3).

Pure; `now` is an argument. The client makes all checks, we answer those that are signed with our
password and follow the address it nominates. Lite fits a server that has its addresses on its own
interfaces, and it gives what aioice cannot: loopback addresses, many peers on one port, notice of a
dead peer within `SILENCE_S`, and a client whose address changes under a living connection.
"""

import secrets
from collections.abc import Hashable
from dataclasses import dataclass

from signaling.engines.sfu.stun import BindingRequest, binding_response

SILENCE_S = 12.0
"""Browsers check every 2.5 s (Chromium) to 6 s (RFC 7675 section 5.1), so one lost check is no death."""
CONNECT_S = 20.0
"""From our description to the first nomination; a relayed client behind a slow proxy needs most of it."""
MAX_ADDRESSES = 8
"""Addresses of one peer whose packets are accepted: Wi-Fi, cable, mobile, two families, a relay."""

_UFRAG_BYTES = 6
_PASSWORD_BYTES = 18
"""144 bits; RFC 8445 section 5.3 wants 128."""


@dataclass(frozen=True, slots=True)
class CheckAnswer:
    response: bytes
    is_new_address: bool
    forget_address: Hashable | None
    """An address of this peer that is no longer accepted."""


class IceLite:
    def __init__(self, now: float) -> None:
        self.ufrag = secrets.token_hex(_UFRAG_BYTES)
        self.password = secrets.token_hex(_PASSWORD_BYTES)
        self.selected: Hashable | None = None
        """Where to send; None until the first valid check."""
        self._nominated = False
        self._addresses: dict[Hashable, None] = {}
        self._deadline = now + CONNECT_S
        self._remote_ufrag: str | None = None

    @property
    def addresses(self) -> list[Hashable]:
        return list(self._addresses)

    def set_remote_ufrag(self, ufrag: str) -> None:
        """Known once the client's description came; checks may overtake an answer."""
        self._remote_ufrag = ufrag

    def receive_check(
        self, request: BindingRequest, source: Hashable, host: str, port: int, now: float
    ) -> CheckAnswer | None:
        """None: not signed by our peer, to be dropped silently (an error would only help scanners)."""
        password = self.password.encode("ascii")
        if not request.is_signed_with(password):
            return None
        if self._remote_ufrag is not None and request.remote_ufrag != self._remote_ufrag:
            return None
        self.heard(now)
        is_new = source not in self._addresses
        # The most recently checked address is last, the first one is the next to be forgotten.
        self._addresses.pop(source, None)
        self._addresses[source] = None
        if self.selected is None or request.nominates:
            self.selected = source
        self._nominated = self._nominated or request.nominates
        forget: Hashable | None = None
        if len(self._addresses) > MAX_ADDRESSES:
            forget = next(address for address in self._addresses if address != self.selected)
            del self._addresses[forget]
        return CheckAnswer(binding_response(request, host, port, password), is_new, forget)

    def heard(self, now: float) -> None:
        """Anything authentic from the peer shows that it lives."""
        self._deadline = max(self._deadline, now + SILENCE_S)

    def is_lost(self, now: float) -> bool:
        """Never reached, or silent for too long."""
        return now > self._deadline
