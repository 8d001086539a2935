"""How long a test waits, and what it says about speed: nothing that another program of the machine can change."""

import os
import time
from collections.abc import Callable

SECOND = float(os.environ.get("PASSERELLE_TEST_TIME_SCALE", "1"))
"""Every deadline is a multiple of it. `make test` stretches it: a deadline that is not needed costs nothing, and one
that is too short on a busy machine is a test that fails for no reason."""


def least_cpu_s(function: Callable[[], object], times: int = 5) -> float:
    """Processor time of this thread for one call, in seconds, the least of several: other programs do not count,
    and a garbage collection that falls into one of the calls does not either."""
    least = float("inf")
    for _ in range(times):
        began = time.thread_time()
        function()
        least = min(least, time.thread_time() - began)
    return least
