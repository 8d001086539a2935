"""What signaling refuses.

SignalingError has a stable `code`: unknown-session, permission-denied, invalid-description,
too-many-sessions, too-many-tracks, too-many-requests, track-id-taken, not-found, room-frozen.
"""


class SignalingError(Exception):
    """A message of a client that cannot be carried out."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
