"""What /metrics says, and what it never does."""

import asyncio
import re
import time
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from server.metrics import CONTENT_TYPE, LAG_SAMPLE_S, MAX_CODES, MAX_ROUTES, Metrics, watch_loop_lag
from tests.support.deadlines import SECOND


def read(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample, by name and labels, as Prometheus would parse them."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return read(metrics).get((name, frozenset(labels.items())))


def test_gauges_say_what_is_there_now() -> None:
    metrics = Metrics()
    metrics.set_rooms(3)
    metrics.set_participants({"host": 2, "pupil": 25})
    metrics.set_participants({"host": 1})
    metrics.set_documents_open(4)
    metrics.set_unsaved_bytes(7)
    metrics.set_media_sessions("sfu", 5)
    metrics.set_store_up(True)
    metrics.set_bus(joined=True, lag_s=0.25, reconnects=1, gaps=4)
    metrics.set_bus(joined=False, lag_s=0.5, reconnects=3, gaps=4)
    assert value(metrics, "passerelle_rooms") == 3
    assert value(metrics, "passerelle_participants", role="host") == 1
    assert value(metrics, "passerelle_participants", role="pupil") == 0
    assert value(metrics, "passerelle_documents_open") == 4
    assert value(metrics, "passerelle_document_unsaved_bytes") == 7
    assert value(metrics, "passerelle_media_sessions", engine="sfu") == 5
    metrics.set_media_workers(2)
    assert value(metrics, "passerelle_media_workers") == 2
    assert value(metrics, "passerelle_store_up") == 1
    assert value(metrics, "passerelle_bus_joined") == 0
    assert value(metrics, "passerelle_bus_lag_seconds") == 0.5
    assert value(metrics, "passerelle_bus_reconnects_total") == 3
    assert value(metrics, "passerelle_bus_gaps_total") == 4
    metrics.set_sharing(homes=2, lease_changes={"lost": 1}, gaps=3)
    metrics.set_sharing(homes=1, lease_changes={"lost": 1, "taken_over": 2}, gaps=5)
    assert value(metrics, "passerelle_rooms_at_home") == 1
    assert value(metrics, "passerelle_room_lease_changes_total", change="lost") == 1
    assert value(metrics, "passerelle_room_lease_changes_total", change="taken_over") == 2
    assert value(metrics, "passerelle_room_lease_changes_total", change="handed_over") == 0
    assert value(metrics, "passerelle_room_gaps_repaired_total") == 5


def test_counters_count() -> None:
    metrics = Metrics()
    metrics.count_document_updates()
    metrics.count_document_updates(4)
    metrics.raise_left_out_total(2)
    metrics.raise_left_out_total(3)
    metrics.raise_bus_totals(repaired=1, published=10, received=9, malformed=0, lost=2)
    metrics.raise_bus_totals(repaired=3, published=15, received=9, malformed=1, lost=2)
    metrics.observe_flush(0.003)
    metrics.socket_opened("websocket")
    metrics.socket_opened("websocket")
    metrics.socket_closed("websocket")
    metrics.count_refusal("permission-denied")
    metrics.count_store_error()
    metrics.count_request("/api/rooms/{room}", "GET", 200, 0.01)
    metrics.count_request("/socket.io/", "GET", 101, None)
    metrics.count_request(None, "GET", 404, 0.01)
    assert value(metrics, "passerelle_document_updates_total") == 5
    assert value(metrics, "passerelle_document_gaps_repaired_total") == 3
    assert value(metrics, "passerelle_document_updates_left_out_total") == 3
    assert value(metrics, "passerelle_document_bus_messages_total", outcome="published") == 15
    assert value(metrics, "passerelle_document_bus_messages_total", outcome="malformed") == 1
    assert value(metrics, "passerelle_document_bus_messages_total", outcome="lost") == 2
    assert value(metrics, "passerelle_flush_seconds_count") == 1
    assert value(metrics, "passerelle_sockets", transport="websocket") == 1
    assert value(metrics, "passerelle_refusals_total", code="permission-denied") == 1
    assert value(metrics, "passerelle_store_errors_total") == 1
    labels = {"route": "/api/rooms/{room}", "method": "GET", "status": "200"}
    assert value(metrics, "passerelle_http_requests_total", **labels) == 1
    assert value(metrics, "passerelle_http_requests_total", route="other", method="GET", status="404") == 1
    assert value(metrics, "passerelle_http_request_seconds_count", route="/api/rooms/{room}") == 1
    assert value(metrics, "passerelle_http_request_seconds_count", route="/socket.io/") is None


def test_the_names_in_the_operations_page_are_there_and_the_other_way_round() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/operations.md").read_text("utf-8")
    documented = set(re.findall(r"^\| `(passerelle_[a-z_]+)", page, re.MULTILINE))
    exposed = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(Metrics().render().decode())
        if family.name.startswith("passerelle_") and not family.name.endswith("_created")
    }
    assert documented == exposed


def test_labels_come_from_small_fixed_sets() -> None:
    """Whatever a hostile client sends, the number of series stays bounded and holds nothing of it."""
    metrics = Metrics()
    for number in range(1_000):
        canary = f"Clémentine-{number}"
        metrics.count_request(f"/{canary}", canary, 200 + number % 5, 0.1)
        metrics.count_refusal(canary)
        metrics.socket_opened(canary)
        metrics.set_media_sessions(canary, 1)
        metrics.set_participants({canary: 1})
    assert len(metrics.render()) < 400_000
    text = metrics.render().decode()
    assert text.count("passerelle_refusals_total{") <= MAX_CODES + 1
    assert text.count("passerelle_http_request_seconds_count{") <= MAX_ROUTES + 1
    assert 'transport="other"' in text
    assert 'method="Cl' not in text


def test_two_servers_in_one_process_do_not_meet() -> None:
    first, second = Metrics(), Metrics()
    first.set_rooms(1)
    assert value(second, "passerelle_rooms") == 0


def test_the_process_itself_is_measured() -> None:
    assert value(Metrics(), "process_resident_memory_bytes")
    assert "text/plain" in CONTENT_TYPE


async def test_a_blocked_loop_is_seen() -> None:
    metrics = Metrics()
    watcher = asyncio.create_task(watch_loop_lag(metrics))
    await asyncio.sleep(0)
    time.sleep(LAG_SAMPLE_S + 0.12)  # blocks the loop, on purpose
    async with asyncio.timeout(5 * SECOND):
        while not value(metrics, "passerelle_event_loop_lag_seconds_count"):
            await asyncio.sleep(0.01)
    watcher.cancel()
    lag = value(metrics, "passerelle_event_loop_lag_seconds_sum")
    assert lag is not None
    assert lag >= 0.1
