"""The page: what `vite build` made, served with the right caching and compression."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

STATIC = Path(__file__).parent / "static"
PAGE_ROUTES = ("/", "/entrer", "/salle/{room}", "/aide", "/controle")
"""Paths of the page's own router: each answers with the same document."""

_MISSING = """<!doctype html><html lang="fr"><meta charset="utf-8"><title>Passerelle</title>
<h1>La page n'est pas construite</h1><p><code>make run</code> la construit.</p>
<p lang="en">The page has not been built; <code>make run</code> builds it.</p></html>"""


def add_page(app: web.Application, folder: Path = STATIC) -> None:
    """Add the page's routes; without a built page they say how to build it."""
    index = folder / "index.html"

    async def page(_request: web.Request) -> web.StreamResponse:
        if not index.is_file():
            return web.Response(text=_MISSING, content_type="text/html", status=503)
        # The document itself is always asked for again: it names the assets of today.
        return web.FileResponse(index, headers={"Cache-Control": "no-cache"})

    for route in PAGE_ROUTES:
        app.router.add_get(route, page)
    if not index.is_file():
        return
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.name != "index.html" and file.suffix not in (".br", ".gz"):
            app.router.add_get(f"/{file.name}", _file(file))
    if (folder / "assets").is_dir():
        app.router.add_static("/assets", folder / "assets")


def _file(path: Path) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def serve(_request: web.Request) -> web.StreamResponse:
        return web.FileResponse(path, headers={"Cache-Control": "no-cache"})

    return serve
