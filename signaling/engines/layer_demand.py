"""Which layers of a picture anybody looks at: what its publisher is told of it.

Pure; `now` is an argument, in seconds. A publisher that is told sends the others no more, which spares a school's
line and a slow computer's processor.
"""

UNWATCHED_S = 5.0
"""A layer is given up when nobody has wanted it for so long: pages change as people speak, and a layer that comes
again costs a key frame and about half a second."""


class LayerDemand:
    """Of one picture: `look` often, and tell the publisher what it returns. Layers are counted from the smallest."""

    def __init__(self, layers: int) -> None:
        self.told = layers
        """How many the publisher was told to send: at first all."""
        self._lower_since: float | None = None
        self._most_since = 0
        """The most that were wanted since then."""

    def begin_anew(self, layers: int) -> None:
        """It is sent on another media line: all of them, until the publisher is told otherwise."""
        self.told = layers
        self._lower_since = None

    def look(self, wanted: int, now: float) -> int | None:
        """`wanted`: how many somebody wants now. What is to be told; None: nothing new."""
        if wanted >= self.told:
            self._lower_since = None
            return self._tell(wanted)
        if self._lower_since is None:
            self._lower_since, self._most_since = now, wanted
        self._most_since = max(self._most_since, wanted)
        if now - self._lower_since < UNWATCHED_S:
            return None
        # What was wanted for a part of this time may have to wait for less than its own.
        self._lower_since = None
        return self._tell(self._most_since)

    def _tell(self, layers: int) -> int | None:
        if layers == self.told:
            return None
        self.told = layers
        return layers
