"""Puts together what the server sends in parts (docs/protocol.md, Parts)."""

from passerelle_client.lib0 import MalformedMessage, read_var_bytes, read_var_uint

MOST_BYTES = 64 * 1024 * 1024
"""Three times the largest document."""


class MessageParts:
    """Of one document over one connection."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._total = self._come = 0

    def take(self, message: bytes, at: int) -> bytes | None:
        """The whole message, if this was its last part. `at`: behind the kind. A part that does not go on where the
        last one ended, of an opening before this one, is passed over. Raises: MalformedMessage."""
        total, at = read_var_uint(message, at)
        place, at = read_var_uint(message, at)
        body, _ = read_var_bytes(message, at)
        if total > MOST_BYTES or place + len(body) > total:
            raise MalformedMessage("a part beyond the end")
        if place == 0:
            self._parts, self._total, self._come = [], total, 0
        elif (total, place) != (self._total, self._come):
            return None
        self._parts.append(body)
        self._come += len(body)
        if self._come < total:
            return None
        whole = b"".join(self._parts)
        self._parts, self._total, self._come = [], 0, 0
        return whole
