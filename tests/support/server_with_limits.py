"""The server with some limits of the document flow changed, for what would take a minute or a gigabyte otherwise.

Run as `python -m tests.support.server_with_limits`, with TEST_DOCUMENT_LIMITS as JSON: names of `HubLimits`.
"""

import json
import os
import sys
from functools import partial

import rooms.documents.hub
from rooms.documents.limits import HubLimits
from server.cli import main

rooms.documents.hub.HubLimits = partial(HubLimits, **json.loads(os.environ["TEST_DOCUMENT_LIMITS"]))  # type: ignore[misc, assignment]

if __name__ == "__main__":
    sys.exit(main())
