"""`python -m rooms.documents.state_worker LIFELINE`: builds a state in a process of its own (`state_process`).

Standard input is a byte file with the snapshot (empty: there is none) and the updates; standard output becomes one with
the state, how many updates wait, these, and what was left out. LIFELINE is a pipe that ends with whoever asked.
"""

import os
import sys
import threading

from rooms.documents.byte_file import read_parts, write_parts
from rooms.documents.compaction import compact_deep
from rooms.documents.errors import DocumentBroken

BROKEN = 3
"""Exit code: the engine refuses the snapshot."""


def _end_with(lifeline: int) -> None:
    os.read(lifeline, 1)
    os._exit(1)


def main() -> int:
    threading.Thread(target=_end_with, args=(int(sys.argv[1]),), daemon=True).start()
    snapshot, *updates = read_parts(0)
    try:
        state, waiting, left_out = compact_deep(snapshot or None, updates)
    except DocumentBroken:
        return BROKEN
    write_parts(1, [state, len(waiting).to_bytes(8), *waiting, *left_out])
    return 0


if __name__ == "__main__":
    sys.exit(main())
