"""The page's files: what may be kept, what is asked for again, which form is sent."""

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import brotli
import pytest
from aiohttp import web

from server.config import Settings
from server.metrics import Metrics
from server.middleware import make_middleware, set_asset_caching
from server.static_files import add_page

SCRIPT = b"console.log('bonjour')" * 50


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A folder as the build leaves it."""
    folder = tmp_path / "static"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>Passerelle</title>", "utf-8")
    (folder / "sw.js").write_bytes(SCRIPT)
    (folder / "manifest.webmanifest").write_text("{}", "utf-8")
    (folder / "icon.svg").write_text("<svg/>", "utf-8")
    script = folder / "assets/index-abc123.js"
    script.write_bytes(SCRIPT)
    script.with_name(script.name + ".gz").write_bytes(gzip.compress(SCRIPT))
    script.with_name(script.name + ".br").write_bytes(brotli.compress(SCRIPT))
    return folder


async def serve(folder: Path) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    app = web.Application(middlewares=make_middleware(Settings(), Metrics()))
    add_page(app, folder)
    app.on_response_prepare.append(set_asset_caching)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with aiohttp.ClientSession(auto_decompress=False) as http:
        yield http, f"http://127.0.0.1:{port}"
    await runner.cleanup()


@pytest.fixture
async def page(built: Path) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    async for served in serve(built):
        yield served


@pytest.mark.parametrize("path", ["/", "/entrer", "/entrer/", "/salle/abc_DEF-1", "/salle/abc/", "/aide"])
async def test_every_address_of_the_page_is_the_page(page: tuple[aiohttp.ClientSession, str], path: str) -> None:
    http, url = page
    async with http.get(url + path) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-cache"
        assert "<title>Passerelle</title>" in await response.text()


@pytest.mark.parametrize("path", ["/salle", "/salle/é", "/salle/a/b", "/index.html", "/nonsense", "/assets/no.js"])
async def test_other_addresses_are_not(page: tuple[aiohttp.ClientSession, str], path: str) -> None:
    http, url = page
    async with http.get(url + path) as response:
        assert response.status == 404
        if not path.startswith("/assets/"):
            assert (await response.json())["error"]["code"] == "not-found"
        assert "immutable" not in response.headers.get("Cache-Control", "")


@pytest.mark.parametrize(
    "path", ["/assets/../index.html", "/assets/..%2findex.html", "/assets/%2e%2e/sw.js", "/..%2fx"]
)
async def test_nothing_outside_the_folder_is_served(page: tuple[aiohttp.ClientSession, str], path: str) -> None:
    http, url = page
    async with http.get(aiohttp.client.URL(url + path, encoded=True)) as response:
        assert response.status in (403, 404)


@pytest.mark.parametrize(
    ("accepted", "sent", "unpack"),
    [("br, gzip", "br", brotli.decompress), ("gzip", "gzip", gzip.decompress), ("identity", None, bytes)],
)
async def test_assets_come_in_the_form_that_the_browser_takes(page, accepted: str, sent: str | None, unpack) -> None:
    http, url = page
    async with http.get(f"{url}/assets/index-abc123.js", headers={"Accept-Encoding": accepted}) as response:
        assert response.headers.get("Content-Encoding") == sent
        assert "Accept-Encoding" in response.headers.get("Vary", "") or sent is None
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert "javascript" in response.headers["Content-Type"]
        assert unpack(await response.read()) == SCRIPT


async def test_service_worker_is_asked_for_again_and_answered_shortly(page: tuple[aiohttp.ClientSession, str]) -> None:
    http, url = page
    async with http.get(f"{url}/sw.js") as response:
        assert response.headers["Cache-Control"] == "no-cache"
        assert "javascript" in response.headers["Content-Type"]
        tag = response.headers["ETag"]
    async with http.get(f"{url}/sw.js", headers={"If-None-Match": tag}) as response:
        assert response.status == 304


async def test_manifest_and_icon_have_their_types(page: tuple[aiohttp.ClientSession, str]) -> None:
    http, url = page
    for path, kind in (("/manifest.webmanifest", "application/manifest+json"), ("/icon.svg", "image/svg+xml")):
        async with http.get(url + path) as response:
            assert response.headers["Content-Type"].startswith(kind)


async def test_page_that_is_not_built_says_how_to_build_it(tmp_path: Path) -> None:
    async for http, url in serve(tmp_path / "nothing"):
        async with http.get(url) as response:
            assert response.status == 503
            assert "make run" in await response.text()
