"""How far one connection's writing is in the store: the count behind `saved` and `unsaved`.

Every update-carrying message of the connection has a number, from 1. `saved` never passes a refused
one, until a later answer to our own sync step 1 is stored: that answer holds all that the client has.
"""


class Acknowledgements:
    def __init__(self) -> None:
        self._received = 0
        self._flushed = 0
        self._stored = 0
        self._refused_from = 0
        self._refused_to = 0
        """First and last refused number; 0 when there is none."""

    def receive(self) -> int:
        """The number of the message that just arrived."""
        self._received += 1
        return self._received

    def refuse(self, number: int) -> None:
        self._refused_from = self._refused_from or number
        self._refused_to = max(self._refused_to, number)

    def flush(self, number: int, *, holds_everything: bool) -> None:
        """This message and all before it are in the document. `holds_everything`: it is an answer to
        our sync step 1, so what was refused before is in it."""
        self._flushed = max(self._flushed, number)
        if holds_everything and self._refused_from:
            # Those refused after it stay; of which only the last is known, so be careful.
            self._refused_from = number + 1 if self._refused_to > number else 0
            self._refused_to = self._refused_to if self._refused_from else 0

    def store(self) -> None:
        """All that was flushed is in the store."""
        self._stored = self._flushed

    @property
    def has_refused(self) -> bool:
        """The client holds text that the document does not have."""
        return self._refused_from > 0

    @property
    def saved(self) -> int:
        """n of `saved n`."""
        return self._up_to_refused(self._stored)

    @property
    def unsaved(self) -> int:
        """n of `unsaved n`."""
        return self._up_to_refused(self._flushed)

    def _up_to_refused(self, number: int) -> int:
        return min(number, self._refused_from - 1) if self._refused_from else number
