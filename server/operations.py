"""For whoever runs the server: health, metrics, the API's description."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import msgspec
from aiohttp import web

from rooms.ports import StoreUnavailable
from server.house import House, server_engine_of
from server.metrics import CONTENT_TYPE
from server.openapi import describe_api
from signaling.engines.janus import JanusEngine


def add_operations(house: House) -> None:
    openapi = msgspec.json.encode(describe_api(own_version()))

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_request: web.Request) -> web.Response:
        house.probed_at.append(asyncio.get_running_loop().time())
        missing = await what_is_missing(house)
        body = {"status": "not-ready" if missing else "ready", "missing": missing, "degraded": what_is_degraded(house)}
        return web.json_response(body, status=503 if missing else 200)

    async def metrics(_request: web.Request) -> web.Response:
        set_gauges(house)
        return web.Response(body=house.metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    async def api(_request: web.Request) -> web.Response:
        return web.Response(body=openapi, content_type="application/json")

    house.web.router.add_get("/healthz", healthz)
    house.web.router.add_get("/readyz", readyz)
    house.web.router.add_get("/metrics", metrics)
    house.web.router.add_get("/api/openapi.json", api)


async def what_is_missing(house: House) -> Sequence[str]:
    """Names of what keeps this process from serving."""
    missing: list[str] = []
    if house.draining:
        missing.append("draining")
    try:
        await house.store.check()
        house.metrics.set_store_up(True)
    except StoreUnavailable:
        house.metrics.set_store_up(False)
        missing.append("store")
    if not house.bus.health().was_joined:
        missing.append("bus")
    return missing


def what_is_degraded(house: House) -> Sequence[str]:
    """Names of what is missing while the rest goes on: without media people still meet and write, and
    sending them nowhere would help nobody. Nor would it without a bus that has gone: it has for every instance."""
    engine, bus = house.engines.get(server_engine_of(house.settings)), house.bus.health()
    degraded = [] if engine is not None and engine.health().ready else ["media"]
    return [*degraded, "bus"] if bus.was_joined and not bus.is_joined else degraded


def set_gauges(house: House) -> None:
    house.metrics.set_rooms(house.rooms.room_count)
    house.metrics.set_rooms_frozen(house.rooms.frozen_count())
    house.metrics.set_participants({role.value: n for role, n in house.rooms.participant_counts().items()})
    documents = house.documents.statistics()
    house.metrics.set_documents_open(documents.documents)
    house.metrics.count_document_updates(documents.updates_taken - house.counted_updates)
    house.counted_updates = documents.updates_taken
    house.metrics.set_unsaved_bytes(documents.unsaved_bytes)
    house.metrics.raise_left_out_total(documents.updates_left_out)
    house.metrics.raise_bus_totals(
        repaired=documents.gaps_repaired,
        published=documents.bus_messages_published,
        received=documents.bus_messages_received,
        malformed=documents.bus_messages_malformed,
        lost=documents.bus_messages_lost,
    )
    if house.sharing is not None:
        sharing = house.sharing
        house.metrics.set_sharing(homes=sharing.homes, lease_changes=sharing.lease_changes, gaps=sharing.gaps)
    bus = house.bus.health()
    house.metrics.set_bus(joined=bus.is_joined, lag_s=bus.lag_s, reconnects=bus.reconnects, gaps=bus.gaps)
    for engine, count in house.media.session_counts().items():
        house.metrics.set_media_sessions(engine, count)
    house.metrics.set_media_fallbacks(house.media.fallback_count())
    house.metrics.set_media_workers(sum(engine.health().workers for engine in house.engines.values()))
    if isinstance(janus := house.engines.get("janus"), JanusEngine):
        house.metrics.set_janus_gateways(Counter(gateway.state for gateway in janus.gateways()))


def own_version() -> str:
    try:
        return version("passerelle")
    except PackageNotFoundError:
        return "0.0.0"
