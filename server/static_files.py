"""The page: what `vite build` made, served with the right caching and compression."""

import mimetypes
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

STATIC = Path(__file__).parent / "static"
PAGE_ROUTES = (
    "/",
    "/entrer{slash:/?}",
    "/salle/{room:[A-Za-z0-9_-]{1,64}}{slash:/?}",
    "/aide{slash:/?}",
    "/controle{slash:/?}",
)
"""Paths of the page's own router: each answers with the same document."""
COMPRESSED = (".br", ".gz")
"""Made beside each file by the build; aiohttp sends the one that the browser takes."""

_MISSING = """<!doctype html><html lang="fr"><meta charset="utf-8"><title>Passerelle</title>
<h1>La page n'est pas construite</h1><p><code>make run</code> la construit.</p>
<p lang="en">The page has not been built; <code>make run</code> builds it.</p></html>"""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def add_page(app: web.Application, folder: Path = STATIC) -> None:
    """Add the page's routes; without a built page they say how to build it."""
    is_built = (folder / "index.html").is_file()
    page = _file(folder / "index.html") if is_built else _missing
    for route in PAGE_ROUTES:
        app.router.add_get(route, page)
    if not is_built:
        return
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.name != "index.html" and file.suffix not in COMPRESSED:
            app.router.add_get(f"/{file.name}", _file(file))
    if (folder / "assets").is_dir():
        app.router.add_static("/assets", folder / "assets")


async def _missing(_request: web.Request) -> web.StreamResponse:
    return web.Response(text=_MISSING, content_type="text/html", status=503, headers={"Cache-Control": "no-store"})


def _file(path: Path) -> Handler:
    """Asked for again each time (304 when it is the same): it names the assets of today."""
    headers = {"Cache-Control": "no-cache"}
    if path.suffix == ".webmanifest":  # unknown to Debian's table of types
        headers["Content-Type"] = "application/manifest+json"
    elif (known := mimetypes.guess_type(path.name)[0]) is not None:
        headers["Content-Type"] = known if not known.startswith("text/") else f"{known}; charset=utf-8"

    async def serve(_request: web.Request) -> web.StreamResponse:
        return web.FileResponse(path, headers=headers)

    return serve
