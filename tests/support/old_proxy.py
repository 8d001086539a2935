"""A school's proxy from before WebSockets: it passes requests and answers on, whole, and refuses every upgrade."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade", "content-encoding", "content-length"}
LONGEST_ANSWER_S = 60.0
"""Of a long poll; the server ends it sooner."""


@asynccontextmanager
async def old_proxy(
    target_port: int, loses: Callable[[str, bytes], bool] = lambda _path, _answer: False
) -> AsyncIterator[tuple[str, list[str]]]:
    """Its URL, and the paths whose upgrade it has refused. `loses`: whether this answer of the server does not arrive,
    and the connection that it was for breaks."""
    refused: list[str] = []
    timeout = aiohttp.ClientTimeout(total=LONGEST_ANSWER_S)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as onward:

        async def pass_on(request: web.Request) -> web.Response:
            if "upgrade" in request.headers.get("Connection", "").lower():
                refused.append(request.path)
                return web.Response(status=403)
            headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
            address = f"http://127.0.0.1:{target_port}{request.raw_path}"
            async with onward.request(
                request.method, address, headers=headers, data=await request.read(), allow_redirects=False
            ) as answer:
                body = await answer.read()
                if loses(request.path, body) and request.transport is not None:
                    request.transport.close()
                passed = [(name, value) for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP]
                return web.Response(status=answer.status, headers=passed, body=body)

        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", pass_on)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            host, port = runner.addresses[0][:2]
            yield f"http://{host}:{port}", refused
        finally:
            await runner.cleanup()
