"""Every bound of the document flow, with its reason. `HubLimits` are those a deployment or a test may change."""

from dataclasses import dataclass
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * 1024

MAX_MESSAGE_BYTES: Final = MIB
"""Largest message of a client: a long offline stretch in one sync step 2; what a school's proxy lets pass."""
MAX_CLIENT_ID: Final = 2**53 - 1
"""Yjs client ids are JavaScript integers."""
MAX_CLOCK: Final = 2**31 - 1
"""Clocks count characters ever typed under one client id; the engine holds them in 32 bits."""
MAX_VALUE_DEPTH: Final = 100
"""Nesting of one value (Any or JSON) inside an update. Editors use five levels; the engine dies of 50,000
and a browser's `JSON.parse` of less."""
MAX_NESTED_TYPES: Final = 500_000
"""Shared types inside others in one document (a paragraph is two). Were they all one in the other, the
engine would need 450 MB of stack to delete the outermost; the event loop's thread has 512."""
MAX_AWARENESS_ENTRIES: Final = 2_000
"""Entries in one awareness message. A y-websocket client repeats what it hears, so as many as readers."""
MAX_AWARENESS_STATE_BYTES: Final = 4 * KIB
"""One awareness state: a name, a colour and a cursor are 200 bytes; it is sent again with each key."""
MAX_AWARENESS_DEPTH: Final = 20
"""Nesting of one awareness state."""
MAX_DEPARTED_CLIENT_IDS: Final = 2_000
"""Yjs client ids of a document whose cursor has gone and that still are their participant's: as many as readers."""
MAX_BUS_MESSAGE_BYTES: Final = 8 * MIB
"""Longest message between instances; well below what any bus takes (Redis cuts off at 32)."""
MAX_BUS_UPDATE_BYTES: Final = 4 * MIB
"""Longest change or answer published in one message; what is longer is read from the store."""
MAX_BUS_AWARENESS_BYTES: Final = MIB
"""Awareness of one instance's readers in one message: 2,000 at 500 bytes. What is longer is left out: clients
say it again every 15 s."""
MAX_MESSAGE_BINDINGS: Final = 20_000
"""Client ids in one message between instances: two connections' worth of a first sync."""
MAX_PARTICIPANT_ID_BYTES: Final = 128
"""Ours are 16 characters."""
MAX_TEMPLATE_NODES: Final = 1_000
"""Blocks and runs of text in a template: some twenty pages of questions, written and scanned in 8 ms."""
MAX_TEMPLATE_DEPTH: Final = 12
"""Elements inside one another in a template: a list within a list within a list is seven."""
MAX_TEMPLATE_CHARACTERS: Final = 50_000
"""Of text in a template: twenty pages."""
MAX_LINK_CHARACTERS: Final = 2_000
"""Of a link's address in a template: what every browser takes."""
MAX_INSTANCES: Final = 64
"""Other instances that have one document open; each says how it stands every 10 s. Beyond, they are not heard."""


@dataclass(frozen=True, slots=True)
class HubLimits:
    message_bytes: int = MAX_MESSAGE_BYTES
    document_bytes: int = 20 * 1_000_000
    """Largest whole state: a book with its history. What would pass it is refused, but for deletions."""
    documents: int = 10_000
    """Documents in memory at once."""
    readers_per_document: int = 2_000
    """Each costs a send for each flush."""
    client_ids_per_connection: int = 8
    """Awareness entries one connection may own: one a tab, a few when an editor is rebuilt."""
    new_client_ids_per_connection: int = 10_000
    """Yjs client ids one connection may bring: weeks of offline tabs, yet no flood of bindings."""
    malformed_messages: int = 3
    """At the third malformed message the connection is closed."""
    connection_queue_bytes: int = 4 * MIB
    """What one connection may have waiting for the next flush (or for a long scan)."""
    waiting_bytes: int = 4 * MIB
    """Per document, updates kept that overtook what they depend on; past it they are refused and
    asked for again."""
    unsaved_bytes: int = 64 * MIB
    """Text kept in memory, over all documents, while the store fails; past it writers are sent away
    and keep their text themselves."""
    reader_buffer_bytes: int = 2 * MIB
    """What may be under way to one reader; past it, it is skipped and resynchronised when it has drained."""
    long_answers_bytes: int = 256 * MIB
    """Long texts under way to readers, all together: past it whoever asks for another waits until some are taken.
    Twelve documents of the largest size at once, or a class on one of 8 MB."""
    reader_drain_s: float = 30.0
    """A reader that has not drained by then is closed."""
    longest_rest_s: float = 0.020
    """A busy document gathers for at most this long between two flushes (`flush_pace`): with as much again for
    the flush itself nobody can feel it."""
    commit_rest_s: float = 0.0002
    """After a commit for n documents the next one waits n times this: three hundred small documents that are busy
    at once share a commit, and one alone hardly waits."""
    longest_commit_rest_s: float = 0.002
    cursor_patience_s: float = 0.025
    """A cursor that moved waits this long for text to travel with: an editor says it a moment after each key, and
    a flush of its own would double what a class costs."""
    store_timeout_s: float = 5.0
    """An append that takes longer counts as failed (and is repeated: appends are idempotent)."""
    store_retry_s: float = 1.0
    """Pause between attempts while the store fails."""
    idle_document_s: float = 60.0
    """A document leaves memory this long after its last reader."""
    log_entries: int = 500
    """A log longer than this is compacted into a snapshot in the background."""
    log_bytes: int = 512 * KIB
    """Likewise, by size (or half the snapshot's size, if that is more)."""
    quiet_log_entries: int = 100
    """A log longer than this is compacted as soon as nobody writes: who opens the text after a restart then waits for
    one snapshot and not for each of them (of 260,000 edits in 260 entries, 9 ms instead of 40)."""
    quiet_s: float = 2.0
    """Nobody writes: for so long nothing came in. A class that thinks for a moment costs no compaction."""
    compaction_spread_s: float = 5.0
    """Instances that share a document wait up to so long before compacting its log, so that one does it for all."""
    thread_compaction_bytes: int = 512 * KIB
    """Up to this much the engine holds the process for under 10 ms, and a state is built in a thread;
    above, in a process of its own."""
    housekeeping_s: float = 0.1
    """Pause between looks at slow readers and idle documents."""
    heartbeat_s: float = 10.0
    """How often an instance tells the others how it stands with a document (a fifth more or less, by chance)."""
    heartbeats_missed: int = 3
    """An instance that was not heard for so many is gone, and so are its readers' cursors."""
    ask_timeout_s: float = 2.0
    """An instance that has not answered by then is asked again, or another is."""
    bus_outbox_messages: int = 4_096
    """Messages that wait for the bus; beyond, the newest is dropped, and what it said is repaired later."""
    bus_outbox_bytes: int = 32 * MIB
    """Likewise, by size."""
    bus_at_once: int = 64
    """Messages on their way to the bus together: with one after the other, a Redis that is 2 ms away would take no
    more than 500 a second."""
    bus_timeout_s: float = 1.0
    """How long opening a document, or stopping, waits for the bus."""
