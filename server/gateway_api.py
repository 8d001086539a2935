"""The administrator's view of the Janus gateways: how they are, and which one takes no more rooms."""

from collections.abc import Mapping

import msgspec
from aiohttp import web

from server.auth import bearer_of, may_create_rooms
from server.callers import Callers
from server.config import Settings
from server.error_answers import Refusal
from server.http_api import request_origin
from server.wire import http
from signaling.engines import MediaEngine
from signaling.engines.janus import JanusEngine
from signaling.messages import EngineName

MAX_INDEX_DIGITS = 2
"""JANUS_URLS has at most 64 entries."""


class GatewayApi:
    """The handlers of /api/media/gateways; who may make rooms may use them."""

    def __init__(self, settings: Settings, callers: Callers, engines: Mapping[EngineName, MediaEngine]) -> None:
        self._settings = settings
        self._callers = callers
        self._engines = engines

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/api/media/gateways", self.list_gateways)
        app.router.add_put("/api/media/gateways/{gateway}/drain", self.drain)
        app.router.add_delete("/api/media/gateways/{gateway}/drain", self.end_drain)

    async def list_gateways(self, request: web.Request) -> web.Response:
        engine = await self._engine(request)
        reports = engine.gateways() if engine is not None else ()
        gateways = [
            http.MediaGateway(index=index, state=each.state, rooms=each.rooms, sessions=each.sessions)
            for index, each in enumerate(reports)
        ]
        body = msgspec.json.encode(http.MediaGatewayList(gateways=gateways))
        return web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-store"})

    async def drain(self, request: web.Request) -> web.Response:
        return await self._set_draining(request, draining=True)

    async def end_drain(self, request: web.Request) -> web.Response:
        return await self._set_draining(request, draining=False)

    async def _set_draining(self, request: web.Request, *, draining: bool) -> web.Response:
        engine, given = await self._engine(request), request.match_info["gateway"]
        try:
            if engine is None or not given.isdecimal() or not given.isascii() or len(given) > MAX_INDEX_DIGITS:
                raise IndexError
            engine.drain(int(given), draining=draining)
        except IndexError:
            raise Refusal("not-found", "There is no such gateway.") from None
        return web.Response(status=204)

    async def _engine(self, request: web.Request) -> JanusEngine | None:
        """Raises: Refusal."""
        allowed = may_create_rooms(
            self._settings, request_origin(request), bearer_of(request.headers.get("Authorization"))
        )
        if not allowed:
            await self._callers.hold_back(request)
            raise Refusal(allowed.code or "permission-denied", allowed.message)
        engine = self._engines.get("janus")
        return engine if isinstance(engine, JanusEngine) else None
