"""The server, but for the pace of document messages: a history of months goes through it in a minute.

Run as `python -m tests.support.server_without_pace`; the pace itself has tests of its own.
"""

import sys

import server.pace
from server.cli import main
from server.limits import Limit

server.pace.DOCUMENT_MESSAGE = Limit("document_message", burst=1e9, per_second=1e9)
server.pace.DOCUMENT_BYTES = Limit("document_bytes", burst=1e12, per_second=1e12)

if __name__ == "__main__":
    sys.exit(main())
