"""The composition root: the only file that knows every part of the house."""

import asyncio
import secrets
import time
from collections.abc import Callable

from aiohttp import web

from rooms.documents.hub import DocumentHub
from rooms.manager import RoomManager
from rooms.ports import Bus, RoomLeases, Store
from rooms.sharing import Sharing
from server.auth import KeyShare, TokenIssuer, TokenKeys, load_token_keys, make_key
from server.bus.memory import MemoryBus
from server.bus.room_messages import RoomMessageCodec
from server.bus.two_lines import TwoLines
from server.callers import Callers
from server.config import Settings, usable_cores
from server.connections import Connections
from server.engineio_fixes import apply_fixes
from server.gateway_api import GatewayApi
from server.house import House, server_engine_of
from server.http_api import MAX_BODY_BYTES, HttpApi
from server.life import drain, start_house, stop_house
from server.limits import FailureBrake
from server.listener import address_of, listen
from server.metrics import Metrics
from server.middleware import make_middleware, set_asset_caching
from server.network_check import NetworkCheckApi
from server.operations import add_operations
from server.pace import Pace
from server.realtime.adapter import RealtimeServer
from server.realtime.commands import Commands
from server.rights import RightsFollow, RoomMediaRights
from server.shared_media import SharedMedia, SharedOutbox
from server.silent_callers import KEEP_ALIVE_S, close_silent_callers
from server.static_files import add_page
from server.storage.observed import ObservedDocumentStore
from server.storage.sqlite import SqliteStore
from server.unfinished_messages import watch_messages
from server.yjs_websocket import YjsEndpoint
from signaling.engines import EngineSink, MediaEngine
from signaling.engines.janus import JanusEngine
from signaling.engines.p2p import P2pEngine
from signaling.engines.sfu import SfuEngine
from signaling.media_session import MediaService
from signaling.messages import EngineName
from signaling.ports import MediaDoor, MediaOutbox


def _redis(url: str) -> tuple[TwoLines, RoomLeases]:
    # A lone process does without the library: a fifth of its start, and the memory.
    from server.bus.redis import RedisBus
    from server.bus.redis_address import parse_redis_url
    from server.bus.redis_leases import RedisLeases

    address = parse_redis_url(url)
    rooms, documents = (RedisBus(address, what=what) for what in ("rooms", "documents"))
    return TwoLines(rooms, documents), RedisLeases(address)


def build_house(
    settings: Settings, store: Store | None = None, bus: Bus | None = None, leases: RoomLeases | None = None
) -> House:
    """All parts, wired; nothing is started. Blocks on the disk for the key of the tokens. `bus`, `leases`: what joins
    it with other instances; without, it is alone."""
    apply_fixes()
    metrics = Metrics()
    store = store or make_store(settings)
    lines: Bus | TwoLines = bus or MemoryBus()
    if bus is None and settings.redis_url is not None:
        lines, leases = _redis(settings.redis_url)
    rooms_bus, documents_bus = (lines.rooms, lines.documents) if isinstance(lines, TwoLines) else (lines, lines)
    connections, callers, pace = Connections(), Callers(settings, FailureBrake()), Pace()
    documents = DocumentHub(ObservedDocumentStore(store, metrics), bus=documents_bus)
    sharing = None if leases is None else _sharing(store, rooms_bus, leases, connections, documents)
    rooms = RoomManager(
        store, time.time, lambda: secrets.token_urlsafe(12), sharing=sharing, closed=connections.wait_gone
    )
    # Instances on one database share its keys, which are read when it is open; until then nobody is answered.
    is_shared = isinstance(store, KeyShare)
    tokens = TokenIssuer(TokenKeys(make_key()) if is_shared else load_token_keys(settings.data))
    realtime = RealtimeServer(rooms, tokens, connections, callers, pace, metrics)
    yjs = YjsEndpoint(rooms, documents, tokens, connections, callers, pace, metrics)
    engines: dict[EngineName, MediaEngine] = {}
    outbox: MediaOutbox = realtime.announcer
    if sharing is not None:
        outbox = SharedOutbox(realtime.announcer, sharing)
    media = MediaService(
        engines,
        RoomMediaRights(rooms, server_engine_of(settings)),
        outbox,
        turn_urls=settings.turn_urls,
        turn_secret=settings.turn_secret,
    )
    door: MediaDoor = media
    if sharing is not None and isinstance(outbox, SharedOutbox):
        door = shared = SharedMedia(media, realtime.announcer, outbox, sharing)
        sharing.accompany(shared)
    engines["p2p"] = P2pEngine(media.receive_engine_event)
    engines[server_engine_of(settings)] = _server_engine(settings, media.receive_engine_event)
    realtime.wire(Commands(rooms, documents, door, realtime.announcer), door)
    app = web.Application(middlewares=make_middleware(settings, metrics), client_max_size=MAX_BODY_BYTES)
    house = House(
        settings, store, lines, rooms, documents, realtime, yjs, media, engines, connections, tokens, metrics, app
    )
    house.leases, house.sharing = leases, sharing
    rooms.add_listener(RightsFollow(house))
    HttpApi(settings, rooms, tokens, door, callers).add_routes(app)
    GatewayApi(settings, callers, engines).add_routes(app)
    NetworkCheckApi(settings, callers, engines).add_routes(app)
    app.router.add_get("/yjs/{room}/{document:[A-Za-z0-9_.-]{1,64}}", yjs.handle)
    add_operations(house)
    add_page(app)
    app.on_response_prepare.append(set_asset_caching)
    realtime.attach(app)
    return house


def _server_engine(settings: Settings, sink: EngineSink) -> MediaEngine:
    if server_engine_of(settings) == "sfu":
        workers = settings.media_workers or usable_cores()
        return SfuEngine(sink, settings.media_addresses, settings.media_port, workers)
    return JanusEngine(
        sink, settings.janus_urls, token_secret=settings.janus_token_secret, admin_key=settings.janus_admin_key
    )


def make_store(settings: Settings) -> Store:
    """PostgreSQL, where there is an address of one; else the file of this machine. Not opened."""
    if settings.database_url is None:
        return SqliteStore(settings.data, settings.durability)
    from server.storage.postgres import PostgresStore  # its library is for those who have it

    return PostgresStore(
        settings.database_url,
        settings.durability,
        settings.database_connections,
        is_alone=settings.redis_url is None,
    )


def _sharing(store: Store, bus: Bus, leases: RoomLeases, connections: Connections, documents: DocumentHub) -> Sharing:
    return Sharing(
        store,
        bus,
        leases,
        RoomMessageCodec(),
        clock=time.time,
        monotonic=_time_since_boot,
        closed=connections.wait_gone,
        instance_lost=documents.instance_lost,
    )


def _time_since_boot() -> float:
    """Seconds; they go on while the process, or the machine, is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


async def serve(settings: Settings, stop: asyncio.Event, ready: Callable[[str], None]) -> None:
    """Serve until `stop`, then drain. Raises: OSError when the port is taken, StoreUnavailable."""
    listener = listen(settings.host, settings.port)
    house = build_house(settings)
    runner = web.AppRunner(
        house.web, access_log=None, handle_signals=False, shutdown_timeout=1.0, keepalive_timeout=KEEP_ALIVE_S
    )
    try:
        await start_house(house)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        server = runner.server
        assert server is not None
        watches = [
            asyncio.create_task(close_silent_callers(server)),
            asyncio.create_task(watch_messages(lambda: [*server.connections, *house.yjs.upgraded])),
        ]
        ready(address_of(settings, listener))
        await stop.wait()
        for watch in watches:
            watch.cancel()
        await drain(house)
        await stop_house(house)
    finally:
        await runner.cleanup()
        listener.close()
