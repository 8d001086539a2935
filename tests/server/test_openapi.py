"""/api/openapi.json says what the server does: every route, every body, and only those."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.running_house import RunningHouse, running_house

NOT_AN_API = {"/", "/socket.io/", "/assets"}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[RunningHouse]:
    async with running_house(tmp_path / "data") as running:
        yield running


async def test_every_route_is_described_and_every_description_is_a_route(house: RunningHouse) -> None:
    status, api = await house.request("GET", "/api/openapi.json")
    assert status == 200
    described = {(method.upper(), path) for path, operations in api["paths"].items() for method in operations}
    served = set()
    for route in house.house.web.router.routes():
        assert route.resource is not None
        path = route.resource.canonical
        is_page = (
            path in NOT_AN_API or "slash" in path or ("." in path.rsplit("/", 1)[-1] and not path.startswith("/api"))
        )
        if route.method != "HEAD" and not is_page:
            served.add((route.method, path))
    assert described == served


async def test_references_lead_somewhere(house: RunningHouse) -> None:
    _status, api = await house.request("GET", "/api/openapi.json")

    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for value in node.values() for found in references(value)]
        return [found for value in node for found in references(value)] if isinstance(node, list) else []

    found = references(api)
    assert found
    for reference in found:
        assert reference.removeprefix("#/components/schemas/") in api["components"]["schemas"], reference
