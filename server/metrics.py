"""What the process counts, for `GET /metrics` (Prometheus text format).

An own registry, so that two servers in one test process do not meet. No label ever holds an id,
a name or a path: label values come from small fixed sets, and whatever is outside becomes "other".
"""

import asyncio
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST

ROLES = frozenset({"host", "class", "pupil", "guest", "observer"})
TRANSPORTS = frozenset({"websocket", "polling", "yjs"})
"""Socket.IO over each of its transports, and the y-websocket endpoint."""
ENGINES = frozenset({"p2p", "sfu", "janus"})
GATEWAY_STATES = frozenset({"ready", "draining", "connecting"})
BUS_OUTCOMES = frozenset({"published", "received", "malformed", "lost"})
LEASE_CHANGES = ("taken_over", "inherited", "handed_over", "lost")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"
MAX_ROUTES = 64
"""Route templates that get a label of their own: a few times what the server has."""
MAX_CODES = 128
"""Error codes that get a label of their own."""

_FLUSH_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_LAG_BUCKETS_S = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
_REQUEST_BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

LAG_SAMPLE_S = 0.25
"""How often the event loop's lag is measured."""


class Metrics:
    """Every metric of the process; set and counted by whoever knows, through the methods below."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=registry)
        self._rooms = Gauge("passerelle_rooms", "Rooms in memory.", registry=registry)
        self._rooms_frozen = Gauge(
            "passerelle_rooms_frozen",
            "Rooms decided for here in which pupils are connected and wait for an adult.",
            registry=registry,
        )
        self._freezes = Counter(
            "passerelle_room_freezes", "Times that a room froze, for no adult was there.", registry=registry
        )
        self._participants = Gauge(
            "passerelle_participants", "Connected participants, by role.", ["role"], registry=registry
        )
        self._documents_open = Gauge("passerelle_documents_open", "Documents in memory.", registry=registry)
        self._document_updates = Counter(
            "passerelle_document_updates", "Document updates received and accepted.", registry=registry
        )
        self._unsaved_bytes = Gauge(
            "passerelle_document_unsaved_bytes",
            "Text received that the store could not take; above 0 the store fails.",
            registry=registry,
        )
        self._bus_messages = Counter(
            "passerelle_document_bus_messages",
            "Messages between instances on documents, by what became of them.",
            ["outcome"],
            registry=registry,
        )
        self._rooms_at_home = Gauge(
            "passerelle_rooms_at_home", "Rooms that this instance decides for, of several.", registry=registry
        )
        self._lease_changes = Counter(
            "passerelle_room_lease_changes", "What became of rooms' leases here.", ["change"], registry=registry
        )
        self._room_gaps = Counter(
            "passerelle_room_gaps_repaired", "Times a room's home was asked how it stands", registry=registry
        )
        self._lease_totals = dict.fromkeys(LEASE_CHANGES, 0)
        self._room_gaps_total = 0
        self._gaps_repaired = Counter(
            "passerelle_document_gaps_repaired",
            "Times that something missed of another instance was found and brought.",
            registry=registry,
        )
        self._updates_left_out = Counter(
            "passerelle_document_updates_left_out",
            "Stored updates that the engine refused when a document was loaded.",
            registry=registry,
        )
        self._left_out_total = 0
        self._bus_joined = Gauge(
            "passerelle_bus_joined", "1 while this instance hears the others and they hear it.", registry=registry
        )
        self._bus_lag = Gauge(
            "passerelle_bus_lag_seconds",
            "How long the last message to oneself took over the bus, or has been under way.",
            registry=registry,
        )
        self._bus_reconnects = Counter(
            "passerelle_bus_reconnects", "Times that a connection to the bus was made again.", registry=registry
        )
        self._bus_gaps = Counter(
            "passerelle_bus_gaps", "Times that a subscriber was told that messages may be lost.", registry=registry
        )
        self._flush = Histogram(
            "passerelle_flush_seconds",
            "How long the store took to keep one flush of all documents.",
            buckets=_FLUSH_BUCKETS_S,
            registry=registry,
        )
        self._lag = Histogram(
            "passerelle_event_loop_lag_seconds",
            f"How late a timer of the event loop fires, sampled every {LAG_SAMPLE_S:g} s.",
            buckets=_LAG_BUCKETS_S,
            registry=registry,
        )
        self._sockets = Gauge("passerelle_sockets", "Open sockets, by transport.", ["transport"], registry=registry)
        self._media_fallbacks = Gauge(
            "passerelle_media_fallback_sessions",
            "Media sessions whose voice goes by the signaling connection, for want of a better way.",
            registry=registry,
        )
        self._media_sessions = Gauge(
            "passerelle_media_sessions", "Media sessions, by engine.", ["engine"], registry=registry
        )
        self._janus_gateways = Gauge(
            "passerelle_janus_gateways", "Janus gateways, by how they are to us.", ["state"], registry=registry
        )
        self._media_workers = Gauge(
            "passerelle_media_workers", "Processes that forward media and are ready.", registry=registry
        )
        self._requests = Counter(
            "passerelle_http_requests",
            "HTTP requests answered, by route template, method and status.",
            ["route", "method", "status"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "passerelle_http_request_seconds",
            "From request to answer, by route template; sockets and polling not counted.",
            ["route"],
            buckets=_REQUEST_BUCKETS_S,
            registry=registry,
        )
        self._refusals = Counter(
            "passerelle_refusals", "Requests, commands and sockets refused, by error code.", ["code"], registry=registry
        )
        self._store_errors = Counter(
            "passerelle_store_errors", "Calls that the store could not answer.", registry=registry
        )
        self._store_up = Gauge(
            "passerelle_store_up", "1 when the last check of the store went well.", registry=registry
        )
        self._bus_totals = dict.fromkeys(BUS_OUTCOMES, 0)
        self._repaired_total = 0
        self._reconnects_total = self._bus_gaps_total = 0
        self._routes: set[str] = set()
        self._codes: set[str] = set()
        for role in ROLES:
            self._participants.labels(role)
        for outcome in BUS_OUTCOMES:
            self._bus_messages.labels(outcome)
        for engine in ENGINES:
            self._media_sessions.labels(engine)
        for state in GATEWAY_STATES:
            self._janus_gateways.labels(state)
        for transport in TRANSPORTS:
            self._sockets.labels(transport)
        for change in LEASE_CHANGES:
            self._lease_changes.labels(change)

    # --- gauges: the caller says how many there are now --------------------------------------------

    def set_rooms(self, count: int) -> None:
        self._rooms.set(count)

    def set_rooms_frozen(self, count: int) -> None:
        self._rooms_frozen.set(count)

    def set_participants(self, by_role: Mapping[str, int]) -> None:
        """All roles at once; one that is not named has none."""
        for role in ROLES:
            self._participants.labels(role).set(by_role.get(role, 0))

    def set_documents_open(self, count: int) -> None:
        self._documents_open.set(count)

    def set_unsaved_bytes(self, size_bytes: int) -> None:
        self._unsaved_bytes.set(size_bytes)

    def set_media_sessions(self, engine: str, count: int) -> None:
        self._media_sessions.labels(_known(engine, ENGINES)).set(count)

    def set_media_fallbacks(self, count: int) -> None:
        self._media_fallbacks.set(count)

    def set_janus_gateways(self, by_state: Mapping[str, int]) -> None:
        """All states at once; one that is not named has none."""
        for state in GATEWAY_STATES:
            self._janus_gateways.labels(state).set(by_state.get(state, 0))

    def set_media_workers(self, count: int) -> None:
        self._media_workers.set(count)

    def set_store_up(self, up: bool) -> None:
        self._store_up.set(1 if up else 0)

    # --- what happened ------------------------------------------------------------------------------

    def socket_opened(self, transport: str) -> None:
        self._sockets.labels(_known(transport, TRANSPORTS)).inc()

    def socket_closed(self, transport: str) -> None:
        self._sockets.labels(_known(transport, TRANSPORTS)).dec()

    def count_document_updates(self, count: int = 1) -> None:
        self._document_updates.inc(count)

    def raise_bus_totals(self, *, repaired: int, **totals: int) -> None:
        """Counts since the start, by outcome (`BUS_OUTCOMES`), and of repaired gaps."""
        for outcome, total in totals.items():
            self._bus_messages.labels(outcome).inc(total - self._bus_totals[outcome])
        self._gaps_repaired.inc(repaired - self._repaired_total)
        self._bus_totals, self._repaired_total = totals, repaired

    def raise_left_out_total(self, total: int) -> None:
        """Count since the start."""
        self._updates_left_out.inc(total - self._left_out_total)
        self._left_out_total = total

    def set_sharing(self, *, homes: int, lease_changes: Mapping[str, int], gaps: int) -> None:
        """`lease_changes` (`LEASE_CHANGES`) and `gaps` since the start."""
        self._rooms_at_home.set(homes)
        for change, before in self._lease_totals.items():
            self._lease_changes.labels(change).inc(lease_changes.get(change, 0) - before)
            self._lease_totals[change] = lease_changes.get(change, 0)
        self._room_gaps.inc(gaps - self._room_gaps_total)
        self._room_gaps_total = gaps

    def set_bus(self, *, joined: bool, lag_s: float, reconnects: int, gaps: int) -> None:
        """`reconnects` and `gaps` since the start."""
        self._bus_joined.set(1 if joined else 0)
        self._bus_lag.set(lag_s)
        self._bus_reconnects.inc(reconnects - self._reconnects_total)
        self._bus_gaps.inc(gaps - self._bus_gaps_total)
        self._reconnects_total, self._bus_gaps_total = reconnects, gaps

    def observe_flush(self, seconds: float) -> None:
        self._flush.observe(seconds)

    def observe_loop_lag(self, seconds: float) -> None:
        self._lag.observe(max(0.0, seconds))

    def count_request(self, route: str | None, method: str, status: int, seconds: float | None) -> None:
        """`route` is the template (`/api/rooms/{room}`), never the path; None when nothing matched.
        `seconds` None for what stays open on purpose (sockets, long polling)."""
        label = _bounded(route, self._routes, MAX_ROUTES) if route is not None else OTHER
        self._requests.labels(label, _known(method, METHODS), str(status)).inc()
        if seconds is not None:
            self._request_seconds.labels(label).observe(seconds)

    def count_refusal(self, code: str) -> None:
        """`code` is the stable code of the error answer."""
        self._refusals.labels(_bounded(code, self._codes, MAX_CODES)).inc()

    def count_freeze(self) -> None:
        self._freezes.inc()

    def count_store_error(self) -> None:
        self._store_errors.inc()

    def render(self) -> bytes:
        """The body of `GET /metrics`; its type is CONTENT_TYPE."""
        return generate_latest(self.registry)


def _known(value: str, allowed: frozenset[str]) -> str:
    return value if value in allowed else OTHER


def _bounded(value: str, seen: set[str], most: int) -> str:
    if value not in seen:
        if len(seen) >= most:
            return OTHER
        seen.add(value)
    return value


async def watch_loop_lag(metrics: Metrics) -> None:
    """Measure for ever how late the loop's timers fire; cancel it to stop."""
    loop = asyncio.get_running_loop()
    while True:
        expected = loop.time() + LAG_SAMPLE_S
        await asyncio.sleep(LAG_SAMPLE_S)
        metrics.observe_loop_lag(loop.time() - expected)
