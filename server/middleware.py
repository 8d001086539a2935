"""What every request passes: who may ask from where, headers of every answer, errors, the access log."""

import re
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
from aiohttp import hdrs, web

from server import error_answers
from server.config import Settings
from server.error_answers import Refusal
from server.logs import log_request
from server.metrics import Metrics

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SECURITY_HEADERS = {
    "Permissions-Policy": "camera=(self), microphone=(self), display-capture=(self), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Server": "Passerelle",  # else aiohttp names its version and Python's
}
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "media-src 'self' blob: mediastream:; connect-src 'self'{sockets}; worker-src 'self'; manifest-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Styles may be inline: the editor places cursors and colours so. Scripts may not."""

SOCKET_ROUTE = "/socket.io/"
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})

CORS_MAX_AGE_S = 600
"""How long a browser remembers that another site's page may ask."""
CORS_HEADERS = {
    "Access-Control-Allow-Methods": "GET, POST, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Max-Age": str(CORS_MAX_AGE_S),
}

_PLAIN_HOST = re.compile(r"[A-Za-z0-9.\-:\[\]]{1,255}")


def make_middleware(settings: Settings, metrics: Metrics) -> list[Any]:
    """Outermost first."""

    @web.middleware
    async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.monotonic()
        status = 500
        try:
            response = await handler(request)
            status = response.status
            return response
        except web.HTTPException as answer:
            status = answer.status
            raise
        finally:
            _note(request, metrics, status, time.monotonic() - started)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            check_origin(settings, request)
            response = _preflight(request) or await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            response = _error(_http_refusal(error), metrics)
            if hdrs.ALLOW in error.headers:
                response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
        except Exception as error:
            response = _error(error, metrics)
        if not response.prepared:
            _add_headers(request, response, settings)
        return response

    return [observe, guard]


def _note(request: web.Request, metrics: Metrics, status: int, duration_s: float) -> None:
    route = _route(request)
    stays_open = status == 101 or route == SOCKET_ROUTE
    metrics.count_request(route, request.method, status, None if stays_open else duration_s)
    if route in PROBES or (route == SOCKET_ROUTE and status < 500):
        return  # several a second for each long-polling client
    log_request(request.method, route, status, duration_s)


async def set_asset_caching(request: web.Request, response: web.StreamResponse) -> None:
    """A signal: hashed assets never change."""
    if request.path.startswith("/assets/") and response.status in (200, 206, 304):
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"


# --- other sites ------------------------------------------------------------------------------------


def check_origin(settings: Settings, request: web.Request) -> None:
    """A page of another site may not use a visitor's browser as its arm: what changes something, and
    every WebSocket and polling request, comes from our own pages, from those of the settings' origins,
    or from programs (no Origin).

    Raises: Refusal."""
    origin = request.headers.get(hdrs.ORIGIN)
    is_socket = request.path.startswith(("/socket.io", "/yjs/"))
    if origin is None or (request.method in ("GET", "HEAD") and not is_socket):
        return
    if not (_is_allowed(settings, origin) or _is_own(origin, request)):
        raise Refusal("origin-refused", "Pages of this origin may not use this server (PASSERELLE_ALLOWED_ORIGINS).")


def _is_allowed(settings: Settings, origin: str) -> bool:
    public = settings.public_url
    if public is not None:
        parts = urlsplit(public)
        if origin == f"{parts.scheme}://{parts.netloc}":
            return True
    return origin in settings.allowed_origins


def _is_own(origin: str, request: web.Request) -> bool:
    """By host and port alone: a proxy that ends TLS makes the scheme differ."""
    try:
        return urlsplit(origin).netloc.lower() == request.host.lower()
    except ValueError:
        return False


def _preflight(request: web.Request) -> web.Response | None:
    """A browser asks whether a page of another site may send this (W3C Fetch, CORS preflight)."""
    if request.method != "OPTIONS" or hdrs.ACCESS_CONTROL_REQUEST_METHOD not in request.headers:
        return None
    return web.Response(status=204, headers=CORS_HEADERS)


# --- headers ----------------------------------------------------------------------------------------


def _add_headers(request: web.Request, response: web.StreamResponse, settings: Settings) -> None:
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Content-Security-Policy", _content_security_policy(request))
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None and _is_allowed(settings, origin):
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = "Location, Link, Retry-After"
    if settings.allowed_origins:
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)


def _content_security_policy(request: web.Request) -> str:
    # Older Safari does not take 'self' for the same host's WebSockets.
    host = request.host
    sockets = f" ws://{host} wss://{host}" if _PLAIN_HOST.fullmatch(host) else ""
    return CONTENT_SECURITY_POLICY.format(sockets=sockets)


# --- errors -----------------------------------------------------------------------------------------


def _route(request: web.Request) -> str | None:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else None


def _error(error: BaseException, metrics: Metrics) -> web.Response:
    answer = error_answers.answer(error)
    metrics.count_refusal(answer.error.code)
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, Refusal) and error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if error_answers.status(answer) == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return web.Response(
        body=msgspec.json.encode(answer),
        status=error_answers.status(answer),
        content_type="application/json",
        headers=headers,
    )


def _http_refusal(error: web.HTTPException) -> Refusal:
    """aiohttp's own refusals: an unknown route, a method, a body too large."""
    match error.status:
        case 404:
            return Refusal("not-found", "There is nothing at this address.")
        case 405:
            return Refusal("method-not-allowed", "This address does not take that method.")
        case 413:
            return Refusal("too-large", "The request is too large.")
    return Refusal("invalid", "The request cannot be understood.")
