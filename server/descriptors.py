"""How many files, sockets above all, this process may have open at once."""

import contextlib
import resource

WANTED = 65_536
"""Each person has two sockets or three (the room, a text or two), each media process a few for each of its own; some
thousands of people are more than one process carries."""
TOO_FEW = 4_096
"""Below it a large school's people would be refused though the process could carry them."""


def raise_descriptor_limit() -> int:
    """As far as is wanted and allowed; how many there may be now.

    Linux gives a shell, a service and some containers 1,024 unless they ask, and lets each ask for half a million: the
    low number is there for programs that call select(), which cannot count further. This one does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # Some kernels allow less than their own limit says; then what there was will have to do.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return WANTED if soft == resource.RLIM_INFINITY else soft
