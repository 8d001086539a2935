"""What a visitor without an account gets to try a school's network with, days before a visit.

No room and no session: places that answer ICE checks, credentials of the relay that are short and shared by few
allocations, what is to be opened in a firewall, and bytes to measure a line with. Nothing of the visitor is kept.
"""

import asyncio
import secrets
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from aiohttp import web

from server.callers import Callers
from server.config import Settings, usable_cores
from server.error_answers import Refusal
from server.http_api import json_answer, public_base_url, read_json
from server.limits import CHECK_BYTES, CHECK_BYTES_HERE, NETWORK_CHECK, NETWORK_CHECK_HERE, VisitorShare
from server.wire import http
from signaling.engines import MediaEngine, ReachabilityTarget
from signaling.engines.sfu.addresses import usable_addresses
from signaling.messages import EngineName
from signaling.turn import ice_servers, relay_address

CREDENTIAL_LIFETIME_S = 120
"""A check takes some twenty seconds, on a slow line and with questions to answer a minute."""
VISITOR_IDS = 4
"""Ids that all visitors' credentials share: the relay's quota is by id, so that they cannot use up what participants
need (with deploy/coturn 4 × 16 allocations of its 2,400; a check takes three for a few seconds)."""
MAX_PROBES = 4
"""Media processes that one check tries."""
DOWNLOAD_BYTES = 1024 * 1024
MAX_UPLOAD_BYTES = 768 * 1024
"""Below the 1 MB body limit of school proxies."""
MAX_TRANSFER_S = 15.0
"""Longest time that either may take; the page gives up long before."""
CHUNK_BYTES = 32 * 1024

_DEFAULT_PORTS = {"http": 80, "https": 443}


class NetworkCheckApi:
    """The handlers of /api/network-check."""

    def __init__(self, settings: Settings, callers: Callers, engines: Mapping[EngineName, MediaEngine]) -> None:
        self._settings = settings
        self._callers = callers
        self._engines = engines
        self._checks = VisitorShare(NETWORK_CHECK, NETWORK_CHECK_HERE)
        self._bytes = VisitorShare(CHECK_BYTES, CHECK_BYTES_HERE)
        # Incompressible, so that nothing in between makes the line look wider than it is.
        self._noise = secrets.token_bytes(CHUNK_BYTES)

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/api/network-check", self.start)
        app.router.add_get("/api/network-check/bytes", self.download, allow_head=False)
        app.router.add_post("/api/network-check/bytes", self.upload)

    async def start(self, request: web.Request) -> web.Response:
        self._take(self._checks, request, 1.0)
        await read_json(request, http.StartNetworkCheck)
        settings = self._settings
        reachable = [target for engine in self._engines.values() for target in engine.reachability()]
        secrets.SystemRandom().shuffle(reachable)
        visitor = f"visiteur-{secrets.randbelow(VISITOR_IDS)}"
        check = http.NetworkCheck(
            engine="janus" if settings.janus_urls else "sfu",
            ice_servers=ice_servers(
                settings.turn_urls, settings.turn_secret, visitor, time.time(), CREDENTIAL_LIFETIME_S
            ),
            lifetime_s=CREDENTIAL_LIFETIME_S,
            probes=[_probe(each) for each in reachable[:MAX_PROBES]],
            targets=[
                _page_target(public_base_url(settings, request)),
                *_media_targets(settings, reachable),
                *_relay_targets(settings),
            ],
        )
        return json_answer(check)

    async def download(self, request: web.Request) -> web.StreamResponse:
        self._take(self._bytes, request, DOWNLOAD_BYTES)
        response = web.StreamResponse(headers={"Cache-Control": "no-store", "Content-Type": "application/octet-stream"})
        response.content_length = DOWNLOAD_BYTES
        try:
            async with asyncio.timeout(MAX_TRANSFER_S):
                await response.prepare(request)
                for _ in range(DOWNLOAD_BYTES // CHUNK_BYTES):
                    await response.write(self._noise)
                await response.write_eof()
        except TimeoutError:
            # The answer has begun; only its end can say that it is not whole.
            if request.transport is not None:
                request.transport.abort()
        return response

    async def upload(self, request: web.Request) -> web.Response:
        size = request.content_length
        if request.content_type != "application/octet-stream":
            raise Refusal("content-type", "Send bytes as application/octet-stream.")
        if size is None or size > MAX_UPLOAD_BYTES:
            raise Refusal("too-large", f"Say how many bytes come, at most {MAX_UPLOAD_BYTES}.")
        self._take(self._bytes, request, float(size))
        try:
            async with asyncio.timeout(MAX_TRANSFER_S):
                async for _chunk in request.content.iter_any():
                    pass
        except TimeoutError:
            raise Refusal("too-slow", "The bytes did not arrive in time.") from None
        return web.Response(status=204, headers={"Cache-Control": "no-store"})

    def _take(self, share: VisitorShare, request: web.Request, cost: float) -> None:
        wait_s = share.take(self._callers.address(request), time.monotonic(), cost)
        if wait_s > 0.0:
            raise Refusal("too-many-requests", "Many networks are being checked now.", retry_after_s=wait_s)


def _probe(target: ReachabilityTarget) -> http.MediaProbe:
    return http.MediaProbe(
        addresses=list(target.addresses), port=target.port, username_fragment=target.ufrag, password=target.password
    )


def _page_target(base_url: str) -> http.NetworkTarget:
    parts = urlsplit(base_url)
    return http.NetworkTarget(
        purpose="page",
        host=parts.hostname or "",
        port=parts.port or _DEFAULT_PORTS.get(parts.scheme, 443),
        transport="tls" if parts.scheme == "https" else "tcp",
    )


def _media_targets(settings: Settings, reachable: list[ReachabilityTarget]) -> list[http.NetworkTarget]:
    """With Janus none: only the gateways' own configuration knows their ports."""
    if settings.janus_urls:
        return []
    places = {(address, target.port) for target in reachable for address in target.addresses}
    if settings.media_port:
        # Whichever processes are ready at this moment.
        ports = range(settings.media_port, settings.media_port + (settings.media_workers or usable_cores()))
        places = {(address, port) for address in usable_addresses(settings.media_addresses) for port in ports}
    return [
        http.NetworkTarget(purpose="media", host=host, port=port, transport="udp", lasts=bool(settings.media_port))
        for host, port in sorted(places)
    ]


def _relay_targets(settings: Settings) -> list[http.NetworkTarget]:
    found: dict[tuple[str, int, str], http.NetworkTarget] = {}
    for url in settings.turn_urls:
        address = relay_address(url)
        target = http.NetworkTarget(purpose="relay", host=address.host, port=address.port, transport=address.transport)
        found.setdefault((address.host, address.port, address.transport), target)
    return list(found.values())
