"""What every request passes: who may ask from where, headers of every answer, errors, the access log."""

import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from server import error_answers
from server.config import Settings
from server.error_answers import Refusal
from server.logs import log_request
from server.metrics import Metrics

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "media-src 'self' blob: mediastream:; connect-src 'self' ws: wss:; worker-src 'self'; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "camera=(self), microphone=(self), display-capture=(self), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
}


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
        finally:
            duration_s = time.monotonic() - started
            route = _route(request)
            is_socket = status == 101
            metrics.count_request(route, request.method, status, None if is_socket else duration_s)
            if route not in ("/healthz", "/readyz", "/metrics"):
                log_request(request.method, route, status, duration_s)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            check_origin(settings, request)
            response = await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            response = _error(_http_refusal(error))
        except Exception as error:
            response = _error(error)
            metrics.count_refusal("error")
        if not response.prepared:
            for name, value in SECURITY_HEADERS.items():
                response.headers.setdefault(name, value)
        return response

    return [observe, guard]


async def set_asset_caching(request: web.Request, response: web.StreamResponse) -> None:
    """A signal: hashed assets never change."""
    if request.path.startswith("/assets/") and response.status in (200, 206, 304):
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"


def check_origin(settings: Settings, request: web.Request) -> None:
    """A page of another site may not use a visitor's browser as its arm: what changes something, and
    every WebSocket and polling request, comes from our own pages or from programs (no Origin).

    Raises: Refusal."""
    origin = request.headers.get("Origin")
    is_socket = request.path.startswith(("/socket.io", "/yjs/"))
    if origin is None or (request.method in ("GET", "HEAD") and not is_socket):
        return
    if origin in settings.allowed_origins or (settings.public_url is not None and origin == settings.public_url):
        return
    if urlsplit(origin).netloc.lower() != request.host.lower():
        raise Refusal("origin-refused", "Pages of this origin may not use this server (PASSERELLE_ALLOWED_ORIGINS).")


def _route(request: web.Request) -> str | None:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else None


def _error(error: BaseException) -> web.Response:
    answer = error_answers.answer(error)
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
