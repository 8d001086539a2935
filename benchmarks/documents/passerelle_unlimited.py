"""Passerelle as it is shipped, but for one thing: a participant may send any number of messages a second.

Nobody types faster than the limit; a benchmark of twenty writers flat out would measure nothing else.
"""

from dataclasses import replace

from server import limits

WITHOUT_LIMIT = 1e9

limits.DOCUMENT_MESSAGE = replace(limits.DOCUMENT_MESSAGE, burst=WITHOUT_LIMIT, per_second=WITHOUT_LIMIT)
limits.DOCUMENT_BYTES = replace(limits.DOCUMENT_BYTES, burst=WITHOUT_LIMIT, per_second=WITHOUT_LIMIT)

if __name__ == "__main__":
    from server.cli import main  # not before: server.pace takes the limits when it is imported

    main()
