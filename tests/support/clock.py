"""A clock that the test moves."""

STARTED_AT = 1_800_000_000.0


class Clock:
    """Seconds since the epoch; set `now` to move it."""

    def __init__(self) -> None:
        self.now = STARTED_AT

    def __call__(self) -> float:
        return self.now
