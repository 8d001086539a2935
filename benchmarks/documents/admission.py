"""Rooms, and participants in them, through Passerelle's HTTP API: as a school would make them."""

from collections.abc import Sequence
from typing import Any

import aiohttp

from benchmarks.documents.dialects import PasserelleDialect

MAX_ROOMS = 50
"""The server makes 60 at once, then one a second; beyond, a room has several documents, as classes do
that write in groups."""
MAX_PEOPLE = 300
"""Of the 400 that a room takes."""
JOINS_PER_INVITATION = 200
"""Of the 300 that it may be used for at once."""


async def admit(url: str, documents: Sequence[str], people_each: int) -> PasserelleDialect:
    """Make the rooms, and let as many people into each as its documents want. Raises: aiohttp.ClientError."""
    rooms: dict[str, str] = {}
    tokens: dict[str, list[str]] = {}
    documents_each = -(-len(documents) // MAX_ROOMS)
    if documents_each * people_each > MAX_PEOPLE:
        raise ValueError(f"{documents_each} x {people_each} people are too many for a room")
    async with aiohttp.ClientSession(url, raise_for_status=True) as http:
        for start in range(0, len(documents), documents_each):
            group = documents[start : start + documents_each]
            room, people = await _room(http, f"Classe {start}", len(group) * people_each)
            rooms.update(dict.fromkeys(group, room))
            tokens[room] = people
    return PasserelleDialect(rooms, tokens)


async def _room(http: aiohttp.ClientSession, name: str, people: int) -> tuple[str, list[str]]:
    """A new room's id, and the join tokens of its pupils."""
    made = await _post(http, "/api/rooms", {"name": name})
    room, host = made["room"]["id"], made["token"]
    tokens: list[str] = []
    while len(tokens) < people:
        if len(tokens) % JOINS_PER_INVITATION == 0:
            terms = {"role": "pupil", "lobby": False}
            invitation = (await _post(http, f"/api/rooms/{room}/invitations", terms, host))["id"]
        joined = await _post(http, "/api/join", {"invitation": invitation, "name": f"Élève {len(tokens)}"})
        tokens.append(joined["token"])
    return room, tokens


async def _post(
    http: aiohttp.ClientSession, path: str, body: dict[str, Any], token: str | None = None
) -> dict[str, Any]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with http.post(path, json=body, headers=headers) as response:
        answer: dict[str, Any] = await response.json()
        return answer
