"""A room with a host and a guest, made over HTTP: their tokens, before anyone connects."""

from typing import Any

import aiohttp

from tests.support.server_process import ServerProcess


async def post(server: ServerProcess, path: str, body: dict[str, Any], token: str | None = None) -> Any:
    """Asserts that it was not refused."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.url}{path}", json=body, headers=headers) as response,
    ):
        answer = await response.json()
        assert response.status < 300, answer
        return answer


async def room_of_two(server: ServerProcess, kind: str = "interclass") -> tuple[str, tuple[str, str]]:
    """The room's id; the tokens of its host and of a guest who need not wait."""
    created = await post(server, "/api/rooms", {"name": "Les marées", "kind": kind})
    room, host_token = created["room"]["id"], created["token"]
    invitation = await post(server, f"/api/rooms/{room}/invitations", {"role": "guest", "lobby": False}, host_token)
    joined = await post(server, "/api/join", {"code": invitation["code"], "name": "Musée"})
    return room, (host_token, joined["token"])
