"""The composition root: the only file that knows every part of the house."""

import asyncio
import secrets
import socket
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

import msgspec
import structlog
from aiohttp import web

from rooms.documents.hub import DocumentHub
from rooms.errors import RoomError
from rooms.events import RoomConfigured
from rooms.manager import RoomChange, RoomManager
from rooms.models import ParticipantStatus, RoomKind
from rooms.ports import Bus, RoomLeases, Store, StoreUnavailable
from rooms.roles import Permission
from rooms.sharing import Sharing
from server.auth import KeyShare, TokenIssuer, TokenKeys, load_token_keys, make_key, offered_key, shared_keys
from server.bus.memory import MemoryBus
from server.bus.room_messages import RoomMessageCodec
from server.callers import Callers
from server.config import Settings, usable_cores
from server.connections import Connections
from server.engineio_fixes import apply_fixes
from server.gateway_api import GatewayApi
from server.http_api import MAX_BODY_BYTES, HttpApi
from server.limits import FailureBrake
from server.memory_return import give_memory_back
from server.metrics import CONTENT_TYPE, Metrics, watch_loop_lag
from server.middleware import make_middleware, set_asset_caching
from server.network_check import NetworkCheckApi
from server.openapi import describe_api
from server.pace import Pace
from server.realtime.adapter import STRANGER_S, RealtimeServer
from server.realtime.commands import Commands
from server.shared_media import SharedMedia, SharedOutbox
from server.silent_callers import KEEP_ALIVE_S, close_silent_callers
from server.static_files import add_page
from server.storage.observed import ObservedDocumentStore
from server.storage.sqlite import SqliteStore
from server.unfinished_messages import watch_messages
from server.yjs_websocket import YjsEndpoint
from signaling.engines import EngineSink, EngineUnavailable, MediaEngine, MediaGrants
from signaling.engines.janus import JanusEngine
from signaling.engines.p2p import P2pEngine
from signaling.engines.sfu import SfuEngine
from signaling.media_session import MediaService
from signaling.messages import EngineName
from signaling.ports import MediaDoor, MediaOutbox

logger = structlog.get_logger(__name__)

HOUSEKEEPING_S = 30.0
"""How often idle rooms leave memory, tokens are renewed and gauges set."""
RETENTION_S = 6 * 3_600.0
"""How often what its retention no longer covers is deleted."""
DRAIN_RECONNECT_MS = 1_500
"""When clients should come back after a restart, before their own spread."""
DRAIN_TELL_S = 0.3
"""How long the word that we stop may travel before sockets close: one long-polling answer."""
DRAIN_NOTICED_S = 2.0
"""How long a proxy may take to notice that nobody new is to be sent here (deploy/haproxy: two checks, 1.25 s). Until
then requests that it still sends are answered as ever."""
PROBED_WITHIN_S = 5.0
"""Whoever asks /readyz twice in so long asks it again and again: there is a proxy to be told."""
HAND_OVER_S = 2.0
"""How long handing rooms over to other instances may take; what is not handed over by then is taken over."""
UNREAD_MS = 30_000
"""A peer that takes nothing of what was sent to it for so long is cut off by the system (TCP_USER_TIMEOUT):
a socket that reads nothing, and answers every probe, would keep what waits for it for ever."""


class RoomMediaRights:
    """`signaling.media_session.MediaRights`, from the permissions table. `server_engine` carries every room
    whose media may touch a server."""

    def __init__(self, rooms: RoomManager, server_engine: EngineName) -> None:
        self._rooms = rooms
        self._server_engine = server_engine

    def engine_of(self, room_id: str) -> EngineName:
        """A private room's media never touch a server; an unknown room is taken for one."""
        kind = self._rooms.kind_of(room_id)
        return "p2p" if kind is None or kind is RoomKind.CONSULTATION else self._server_engine

    def grants_of(self, room_id: str, participant_id: str) -> MediaGrants:
        def can(permission: Permission) -> bool:
            return self._rooms.can(room_id, participant_id, permission)

        return MediaGrants(
            publish_audio=can(Permission.PUBLISH_AUDIO),
            publish_video=can(Permission.PUBLISH_VIDEO),
            publish_screen=can(Permission.PUBLISH_SCREEN),
            subscribe=can(Permission.SUBSCRIBE_MEDIA),
        )

    def is_silenced(self, room_id: str, participant_id: str) -> bool:
        return self._rooms.is_silenced(room_id, participant_id)


@dataclass(slots=True)
class House:
    """Everything that runs, once it runs."""

    settings: Settings
    store: Store
    bus: Bus
    rooms: RoomManager
    documents: DocumentHub
    realtime: RealtimeServer
    yjs: YjsEndpoint
    media: MediaService
    engines: dict[EngineName, MediaEngine]
    connections: Connections
    tokens: TokenIssuer
    metrics: Metrics
    web: web.Application
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    draining: bool = False
    leases: RoomLeases | None = None
    sharing: Sharing | None = None
    """None, both: this instance is alone."""
    probed_at: deque[float] = field(default_factory=lambda: deque(maxlen=2))
    """When /readyz was asked the last two times, in seconds of the loop's clock."""
    counted_updates: int = 0
    """Of the hub's count, how many the metrics have."""


def _redis(url: str) -> tuple[Bus, RoomLeases]:
    # A lone process does without the library: a fifth of its start, and the memory.
    from server.bus.redis import RedisBus
    from server.bus.redis_address import parse_redis_url
    from server.bus.redis_leases import RedisLeases

    address = parse_redis_url(url)
    return RedisBus(address), RedisLeases(address)


def build_house(
    settings: Settings, store: Store | None = None, bus: Bus | None = None, leases: RoomLeases | None = None
) -> House:
    """All parts, wired; nothing is started. Blocks on the disk for the key of the tokens. `bus`, `leases`: what joins
    it with other instances; without, it is alone."""
    apply_fixes()
    metrics = Metrics()
    store = store or make_store(settings)
    if bus is None and settings.redis_url is not None:
        bus, leases = _redis(settings.redis_url)
    bus = bus or MemoryBus()
    connections, callers, pace = Connections(), Callers(settings, FailureBrake()), Pace()
    documents = DocumentHub(ObservedDocumentStore(store, metrics), bus=bus)
    sharing = None if leases is None else _sharing(store, bus, leases, connections, documents)
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
        settings, store, bus, rooms, documents, realtime, yjs, media, engines, connections, tokens, metrics, app
    )
    house.leases, house.sharing = leases, sharing
    rooms.add_listener(_RightsFollow(house))
    HttpApi(settings, rooms, tokens, door, callers).add_routes(app)
    GatewayApi(settings, callers, engines).add_routes(app)
    NetworkCheckApi(settings, callers, engines).add_routes(app)
    app.router.add_get("/yjs/{room}/{document:[A-Za-z0-9_.-]{1,64}}", yjs.handle)
    _add_operations(house)
    add_page(app)
    app.on_response_prepare.append(set_asset_caching)
    realtime.attach(app)
    return house


def server_engine_of(settings: Settings) -> EngineName:
    """Which engine carries the rooms whose media may touch a server: one for all of them, so that an
    operator knows which ports and machines they take."""
    return "janus" if settings.janus_urls else "sfu"


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


class _RightsFollow:
    """What somebody may do changed, or they are out: documents and media follow at once."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, change: RoomChange) -> None:
        house = self._house
        if any(isinstance(event, RoomConfigured) for _before, _after, event in change.steps):
            house.documents.rights_changed(room_id=change.room_id)
            self._spawn(house.media.refresh_grants(change.room_id))
        if change.before.watch.is_frozen != change.after.watch.is_frozen:
            house.documents.rights_changed(room_id=change.room_id)
            self._spawn(house.media.follow_silence(change.room_id))
            self._note_freeze(change)
        for person_id, person in change.after.participants.items():
            old = change.before.participants.get(person_id)
            if old is not None and old.status is ParticipantStatus.ADMITTED and person.status is not old.status:
                house.documents.rights_changed(room_id=change.room_id, participant_id=person_id)
                self._spawn(house.media.remove_participant(change.room_id, person_id))

    def _note_freeze(self, change: RoomChange) -> None:
        """Counted once: where it was decided."""
        if self._house.sharing is not None and not self._house.sharing.is_home(change.room_id):
            return
        freeze = change.after.watch.freeze
        if change.after.watch.is_frozen:
            self._house.metrics.count_freeze()
            logger.warning("room_frozen", room_id=change.room_id)
        elif freeze is not None and freeze.until is not None:
            logger.info("room_thawed", room_id=change.room_id, frozen_for_s=round(freeze.until - freeze.since, 1))

    def _spawn(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


# --- health, metrics, the API's description ---------------------------------------------------------


def _add_operations(house: House) -> None:
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


# --- life ---------------------------------------------------------------------------------------------


async def start_house(house: House) -> None:
    """Raises: StoreUnavailable."""
    await house.store.open()
    if isinstance(house.store, KeyShare):
        offered = await asyncio.to_thread(offered_key, house.settings.data)
        house.tokens.use(shared_keys(await house.store.share_token_key(offered)))
    await house.bus.open()
    await house.rooms.start()
    await house.documents.start()
    for name, engine in tuple(house.engines.items()):
        try:
            await engine.start()
        except EngineUnavailable:
            # Rooms and writing work without; who wants media is told "media-unavailable".
            logger.error("engine_not_started", engine=name)
            del house.engines[name]
    house.tasks = [
        asyncio.create_task(watch_loop_lag(house.metrics)),
        asyncio.create_task(_keep_house(house)),
        asyncio.create_task(give_memory_back(lambda: house.documents.statistics().documents)),
        asyncio.create_task(_forget_old(house)),
        asyncio.create_task(_close_strangers(house)),
    ]


async def stop_house(house: House) -> None:
    """Texts are flushed, sockets closed, everything released. What does not end in time is left behind:
    all of it takes no longer than the settings' `shutdown_s`."""
    ends_at = asyncio.get_running_loop().time() + house.settings.shutdown_s
    for task in house.tasks:
        task.cancel()
    await asyncio.gather(*house.tasks, return_exceptions=True)
    # The texts come first, and get the most of the time.
    await house.documents.stop(timeout_s=house.settings.shutdown_s / 2)
    await _within(house.settings.shutdown_s / 8, house.realtime.stop(), "sockets")
    await _within(house.settings.shutdown_s / 4, _stop_media(house), "media")
    await _within(max(0.1, ends_at - asyncio.get_running_loop().time()), house.rooms.stop(), "rooms")
    await house.bus.close()
    if house.leases is not None:
        await house.leases.close()
    await house.store.close()


async def _stop_media(house: House) -> None:
    await house.media.stop()
    await asyncio.gather(*(engine.stop() for engine in house.engines.values()))


async def _within(limit_s: float, work: Awaitable[None], part: str) -> None:
    try:
        async with asyncio.timeout(limit_s):
            await work
    except TimeoutError:
        logger.warning("not_stopped_in_time", task=part)


async def drain(house: House) -> None:
    """Hand the rooms over, let the proxy notice, tell everyone, and give the word time to arrive."""
    began_at = asyncio.get_running_loop().time()
    house.draining = house.yjs.draining = house.realtime.draining = True
    await _within(HAND_OVER_S, house.rooms.leave(), "hand-over")
    if len(house.probed_at) == 2 and house.probed_at[0] > began_at - PROBED_WITHIN_S:
        await asyncio.sleep(began_at + DRAIN_NOTICED_S - asyncio.get_running_loop().time())
    house.realtime.drain(DRAIN_RECONNECT_MS)
    if len(house.connections):
        await asyncio.sleep(DRAIN_TELL_S)


async def _close_strangers(house: House) -> None:
    while True:
        await asyncio.sleep(STRANGER_S)
        house.realtime.close_strangers()


async def _keep_house(house: House) -> None:
    while True:
        await asyncio.sleep(HOUSEKEEPING_S)
        house.rooms.forget_idle()
        await _read_shared_keys(house)
        house.realtime.renew_tokens()


async def _read_shared_keys(house: House) -> None:
    if not isinstance(house.store, KeyShare):
        return
    try:
        house.tokens.use(shared_keys(await house.store.share_token_key(make_key())))
    except StoreUnavailable as error:
        logger.warning("token_keys_not_read", exc_info=error)  # those of before go on


async def _forget_old(house: House) -> None:
    while True:
        try:
            await house.store.forget_before(time.time())
        except (StoreUnavailable, RoomError) as error:
            logger.warning("retention_failed", exc_info=error)
        await asyncio.sleep(RETENTION_S)


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
        assert runner.server is not None
        watches = [
            asyncio.create_task(close_silent_callers(runner.server)),
            asyncio.create_task(watch_messages(runner.server)),
        ]
        ready(_address(settings, listener))
        await stop.wait()
        for watch in watches:
            watch.cancel()
        await drain(house)
        await stop_house(house)
    finally:
        await runner.cleanup()
        listener.close()


def listen(host: str, port: int) -> socket.socket:
    """Before anything else is made: a port that is taken ends the start at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; what is accepted inherits it
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS)
        listener.listen(1024)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _address(settings: Settings, listener: socket.socket) -> str:
    if settings.public_url is not None:
        return settings.public_url
    port = listener.getsockname()[1]
    host = "localhost" if settings.listens_on_loopback else settings.host
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
