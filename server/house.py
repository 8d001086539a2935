"""What one process is made of: made and wired in `app`, started and stopped in `life`, watched in `operations`."""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from aiohttp import web

from rooms.documents.hub import DocumentHub
from rooms.manager import RoomManager
from rooms.ports import Bus, RoomLeases, Store
from rooms.sharing import Sharing
from server.auth import TokenIssuer
from server.bus.two_lines import TwoLines
from server.config import Settings
from server.connections import Connections
from server.metrics import Metrics
from server.realtime.adapter import RealtimeServer
from server.yjs_websocket import YjsEndpoint
from signaling.engines import MediaEngine
from signaling.media_session import MediaService
from signaling.messages import EngineName


@dataclass(slots=True)
class House:
    """Everything that runs, once it runs."""

    settings: Settings
    store: Store
    bus: Bus | TwoLines
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


def server_engine_of(settings: Settings) -> EngineName:
    """Which engine carries the rooms whose media may touch a server: one for all of them, so that an
    operator knows which ports and machines they take."""
    return "janus" if settings.janus_urls else "sfu"
