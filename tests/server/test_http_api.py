"""The HTTP API: rooms, invitations, joining; errors, other sites, headers."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from server import http_api
from server.http_api import MAX_BODY_BYTES
from tests.support.running_house import Person, RunningHouse, running_house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[RunningHouse]:
    async with running_house(tmp_path / "data") as running:
        yield running


def error_of(answer: tuple[int, Any]) -> tuple[int, str]:
    status, body = answer
    assert set(body) == {"error"}, body
    return status, body["error"]["code"]


# --- rooms and invitations --------------------------------------------------------------------------


async def test_room_is_made_and_seen_by_its_host(house: RunningHouse) -> None:
    status, made = await house.request("POST", "/api/rooms", json={"name": "Rimouski – Montréal"})
    assert status == 201
    assert made["room"]["kind"] == "interclass"
    assert made["url"] == f"{house.url}/salle/{made['room']['id']}#jeton={made['token']}"
    status, view = await house.request("GET", f"/api/rooms/{made['room']['id']}", token=made["token"])
    assert status == 200
    assert view["self_id"] == made["participant_id"]
    assert view["role"] == "host"
    assert "admit" in view["permissions"]


async def test_public_address_is_the_one_of_links(tmp_path: Path) -> None:
    async with running_house(tmp_path / "data", public_url="https://passerelle.example.org/vie") as house:
        host = await house.room()
        invitation = await house.invite(host, "guest")
        assert invitation["url"] == f"https://passerelle.example.org/vie/entrer#{invitation['id']}"


async def test_invitation_by_link_by_code_and_back_again(house: RunningHouse) -> None:
    host = await house.room()
    invitation = await house.invite(host, "pupil", label="5e année, Rimouski", uses=2)
    assert re.fullmatch(r"[a-z]+-[a-z]+-\d\d", invitation["code"])
    status, joined = await house.request(
        "POST", "/api/join", json={"code": invitation["code"].upper().replace("-", " "), "name": "Léa"}
    )
    assert (status, joined["state"], joined["role"]) == (200, "admitted", "pupil")
    again = {"invitation": invitation["id"], "name": "Léa", "resume": joined["token"]}
    status, back = await house.request("POST", "/api/join", json=again)
    assert (status, back["participant_id"]) == (200, joined["participant_id"])
    status, listed = await house.request("GET", f"/api/rooms/{host.room_id}/invitations", token=host.token)
    assert [(each["id"], each["uses_left"], each["revoked"]) for each in listed["invitations"]] == [
        (invitation["id"], 1, False)
    ]
    await house.join(invitation, "Noé")
    spent = await house.request("POST", "/api/join", json={"invitation": invitation["id"], "name": "Zoé"})
    assert error_of(spent) == (410, "invitation-used-up")


async def test_a_request_that_comes_again_makes_one_participant_and_one_room(house: RunningHouse) -> None:
    begin = {"name": "Le fleuve", "host_name": "Amélie", "request_id": "f" * 32}
    (_, made), (status, again) = [await house.request("POST", "/api/rooms", json=begin) for _ in range(2)]
    assert (status, again["room"], again["participant_id"]) == (201, made["room"], made["participant_id"])
    host = Person(again["participant_id"], again["token"], again["room"]["id"])
    invitation = await house.invite(host, "pupil", uses=1)
    ask = {"invitation": invitation["id"], "name": "Léa", "request_id": "e" * 32}
    (_, first), (status, second) = [await house.request("POST", "/api/join", json=ask) for _ in range(2)]
    assert (status, second["participant_id"]) == (200, first["participant_id"])
    for joined in (first, second):
        status, view = await house.request("GET", f"/api/rooms/{host.room_id}", token=joined["token"])
        assert (status, view["self_id"], len(view["participants"])) == (200, first["participant_id"], 2)
    spent = await house.request("POST", "/api/join", json=ask | {"request_id": "d" * 32})
    assert error_of(spent) == (410, "invitation-used-up")


async def test_worthless_resume_token_makes_a_newcomer(house: RunningHouse) -> None:
    host = await house.room()
    invitation = await house.invite(host, "class")
    other = await house.room()
    for resume in ("nonsense", other.token):
        status, joined = await house.request(
            "POST", "/api/join", json={"invitation": invitation["id"], "name": "5e B", "resume": resume}
        )
        assert (status, joined["state"]) == (200, "admitted")
        assert joined["participant_id"] != other.id


async def test_guest_waits_and_sees_nothing(house: RunningHouse) -> None:
    host = await house.room()
    guest = await house.guest(host, lobby=True)
    answer = await house.request("GET", f"/api/rooms/{host.room_id}", token=guest.token)
    assert error_of(answer) == (403, "not-admitted")


async def test_unknown_invitations_tell_nothing(house: RunningHouse) -> None:
    host = await house.room()
    for body in ({"code": "lune-renard-42", "name": "Léa"}, {"invitation": host.room_id, "name": "Léa"}):
        assert error_of(await house.request("POST", "/api/join", json=body)) == (404, "invitation-unknown")


# --- who may make a room ------------------------------------------------------------------------------


async def test_rooms_need_the_api_key_where_one_is_set(tmp_path: Path) -> None:
    key = "k" * 32
    async with running_house(tmp_path / "data", api_key=key) as house:
        body = {"name": "Salle"}
        assert error_of(await house.request("POST", "/api/rooms", json=body)) == (401, "api-key-required")
        wrong = await house.request("POST", "/api/rooms", json=body, token="x" * 32)
        assert error_of(wrong) == (401, "api-key-invalid")
        status, _made = await house.request("POST", "/api/rooms", json=body, token=key)
        assert status == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "203.0.113.7"},
        {"Host": "rebound.example"},
        {"Via": "1.1 proxy"},
    ],
)
async def test_without_a_key_rooms_are_made_on_this_machine_only(house: RunningHouse, headers: dict[str, str]) -> None:
    answer = await house.request("POST", "/api/rooms", json={"name": "Salle"}, headers=headers)
    assert error_of(answer) == (403, "not-from-this-machine")


# --- other sites --------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1", "http://[", ""])
async def test_pages_of_other_sites_change_nothing(house: RunningHouse, origin: str) -> None:
    host = await house.room()
    headers = {"Origin": origin}
    path = f"/api/rooms/{host.room_id}/invitations"
    for method, where, body in (
        ("POST", "/api/rooms", {"name": "Salle"}),
        ("POST", "/api/join", {"code": "a", "name": "b"}),
        ("POST", path, {"role": "guest"}),
        ("DELETE", f"{path}/x", None),
        ("POST", f"/whip/{host.room_id}", None),
    ):
        answer = await house.request(method, where, token=host.token, json=body, headers=headers)
        assert error_of(answer) == (403, "origin-refused"), (method, where)
    async with house.http.get(house.url + "/api/openapi.json", headers=headers) as response:
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_own_page_may_ask(house: RunningHouse) -> None:
    status, _made = await house.request("POST", "/api/rooms", json={"name": "Salle"}, headers={"Origin": house.url})
    assert status == 201


async def test_forms_are_refused(house: RunningHouse) -> None:
    """A form of any page can be sent to this machine, but not as application/json."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        async with house.http.post(
            house.url + "/api/rooms", data=b'{"name": "x"}', headers={"Content-Type": kind}
        ) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (415, "content-type")


async def test_allowed_sites_may_use_the_api(tmp_path: Path) -> None:
    site = "https://ecole.example.org"
    async with running_house(tmp_path / "data", allowed_origins=(site,)) as house:
        host = await house.room()
        asking = {"Origin": site, "Access-Control-Request-Method": "POST"}
        async with house.http.options(f"{house.url}/api/join", headers=asking) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == site
            assert "Content-Type" in response.headers["Access-Control-Allow-Headers"]
        invitation = await house.invite(host, "class")
        async with house.http.post(
            f"{house.url}/api/join", json={"invitation": invitation["id"], "name": "5e"}, headers={"Origin": site}
        ) as response:
            assert response.status == 200
            assert response.headers["Access-Control-Allow-Origin"] == site
            assert response.headers["Vary"] == "Origin"
        asking["Origin"] = "https://evil.example"
        async with house.http.options(f"{house.url}/api/join", headers=asking) as response:
            assert response.status == 403
            assert "Access-Control-Allow-Origin" not in response.headers


# --- bodies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "code", "field"),
    [
        ("/api/rooms", {}, "invalid", None),
        ("/api/rooms", {"name": 7}, "invalid", "$.name"),
        ("/api/rooms", {"name": ""}, "invalid", "$.name"),
        ("/api/rooms", {"name": "x" * 61}, "invalid", "$.name"),
        ("/api/rooms", {"name": "\x00"}, "name-invalid", None),
        ("/api/rooms", {"name": "Salle", "kind": "party"}, "invalid", "$.kind"),
        ("/api/rooms", {"name": "Salle", "extra": 1}, "invalid", None),
        ("/api/rooms", [], "invalid", None),
        ("/api/join", {"name": "Léa"}, "invalid", "$.invitation"),
        ("/api/join", {"name": "Léa", "code": "a", "invitation": "b"}, "invalid", "$.invitation"),
        ("/api/join", {"name": "Léa", "code": "x" * 65}, "invalid", "$.code"),
        ("/api/join", {"name": "Léa", "code": "x", "request_id": "e" * 21}, "invalid", "$.request_id"),
        ("/api/join", {"name": "Léa", "code": "x", "request_id": "e" * 65}, "invalid", "$.request_id"),
        ("/api/join", {"name": "Léa", "code": "x", "request_id": "e" * 32 + "\n"}, "invalid", "$.request_id"),
    ],
)
async def test_wrong_bodies_are_named(house: RunningHouse, path: str, body: Any, code: str, field: Any) -> None:
    status, answer = await house.request("POST", path, json=body)
    assert (status, answer["error"]["code"], answer["error"].get("field")) == (400, code, field)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"name": "\xff"}', b"[" * 60_000, b"{" * 60_000, b"null"])
async def test_broken_json_is_refused(house: RunningHouse, body: bytes) -> None:
    async with house.http.post(
        house.url + "/api/rooms", data=body, headers={"Content-Type": "application/json"}
    ) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (400, "invalid")


async def test_bodies_are_bounded(house: RunningHouse) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b" " * 1_024

    for body in (b" " * (MAX_BODY_BYTES + 1), endless()):
        async with house.http.post(
            house.url + "/api/rooms", data=body, headers={"Content-Type": "application/json"}
        ) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (413, "too-large")


async def test_body_that_does_not_arrive_is_given_up(house: RunningHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_api, "MAX_BODY_S", 0.1)

    async def stalled() -> AsyncIterator[bytes]:
        yield b'{"name":'
        await asyncio.sleep(5)

    async with house.http.post(
        house.url + "/api/rooms", data=stalled(), headers={"Content-Type": "application/json"}
    ) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (408, "too-slow")


# --- errors and headers -------------------------------------------------------------------------------


async def test_tokens_are_asked_for_and_checked(house: RunningHouse) -> None:
    host, other = await house.room(), await house.room()
    path = f"/api/rooms/{host.room_id}"
    assert error_of(await house.request("GET", path)) == (401, "token-missing")
    assert error_of(await house.request("GET", path, token="x.y.z")) == (401, "token-invalid")
    assert error_of(await house.request("GET", path, token=other.token)) == (401, "token-invalid")
    assert error_of(await house.request("GET", path, headers={"Authorization": "Basic abc"})) == (401, "token-missing")
    async with house.http.get(house.url + path) as response:
        assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_unknown_addresses_and_methods(house: RunningHouse) -> None:
    assert error_of(await house.request("GET", "/api/nonsense")) == (404, "not-found")
    assert error_of(await house.request("GET", "/api/join")) == (405, "method-not-allowed")
    async with house.http.get(house.url + "/api/join") as response:
        assert response.headers["Allow"] == "POST"
    assert error_of(await house.request("POST", "/yjs/room/../x", json={}))[0] == 404


async def test_store_that_fails_is_told_and_not_blamed_on_the_caller(tmp_path: Path) -> None:
    from server.storage.memory import MemoryStore

    store = MemoryStore()
    async with running_house(tmp_path / "data", store=store) as house:
        store.available = False
        answer = await house.request("POST", "/api/rooms", json={"name": "Salle"})
        assert error_of(answer) == (503, "store-unavailable")


async def test_defect_shows_nothing_but_a_reference(
    house: RunningHouse, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def broken(*_arguments: Any, **_more: Any) -> None:
        raise RuntimeError("Éléonore")

    monkeypatch.setattr(house.house.rooms, "create_room", broken)
    status, body = await house.request("POST", "/api/rooms", json={"name": "Salle"})
    assert (status, body["error"]["code"]) == (500, "internal")
    assert "Éléonore" not in json.dumps(body, ensure_ascii=False)
    reference = re.search(r"[0-9a-f]{12}", body["error"]["message"])
    assert reference is not None
    assert reference.group() in "".join(capfd.readouterr())


async def test_every_answer_has_the_security_headers(house: RunningHouse) -> None:
    for path in (
        "/",
        "/salle/x",
        "/healthz",
        "/api/nonsense",
        "/api/openapi.json",
        "/socket.io/?EIO=4&transport=polling",
    ):
        async with house.http.get(house.url + path) as response:
            policy = response.headers["Content-Security-Policy"]
            scripts = next(part for part in policy.split(";") if part.strip().startswith("script-src"))
            assert scripts.split() == ["script-src", "'self'"]
            assert "frame-ancestors 'none'" in policy
            host = house.url.removeprefix("http://")
            assert f"connect-src 'self' ws://{host} wss://{host};" in policy
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Referrer-Policy"] == "no-referrer"
            assert response.headers["Permissions-Policy"].startswith("camera=(self), microphone=(self)")


async def test_host_header_adds_nothing_to_the_policy(house: RunningHouse) -> None:
    for host in ("evil.example; script-src *", "a b", "x'", "*"):
        async with house.http.get(house.url + "/healthz", headers={"Host": host}) as response:
            assert "evil" not in response.headers["Content-Security-Policy"]
            assert "*" not in response.headers["Content-Security-Policy"]


async def test_secrets_are_never_cached(house: RunningHouse) -> None:
    async with house.http.post(house.url + "/api/rooms", json={"name": "Salle"}) as response:
        assert response.headers["Cache-Control"] == "no-store"


# --- many at once -------------------------------------------------------------------------------------


async def test_a_class_joins_from_one_address_in_a_burst(house: RunningHouse) -> None:
    host = await house.room()
    invitation = await house.invite(host, "pupil")
    people = await asyncio.gather(
        *(
            house.request("POST", "/api/join", json={"code": invitation["code"], "name": f"Élève {n}"})
            for n in range(120)
        )
    )
    assert {status for status, _body in people} == {200}
    assert len({body["participant_id"] for _status, body in people}) == 120


async def test_a_class_joins_while_somebody_at_its_address_guesses(house: RunningHouse) -> None:
    """Wrong codes are held back; right ones from there, by code and by link, overtake them."""
    host = await house.room()
    invitation = await house.invite(host, "pupil")
    wrong = [
        asyncio.create_task(house.request("POST", "/api/join", json={"code": f"lune-renard-{number:03}", "name": "x"}))
        for number in range(80)
    ]
    await wrong[0]
    by = ({"code": invitation["code"]}, {"invitation": invitation["id"]})
    good = await asyncio.gather(
        *(house.request("POST", "/api/join", json={**by[n % 2], "name": f"Élève {n}"}) for n in range(35))
    )
    assert {status for status, _body in good} == {200}
    assert not all(task.done() for task in wrong)
    for task in wrong:
        task.cancel()
    await asyncio.gather(*wrong, return_exceptions=True)


async def test_one_participants_requests_do_not_starve_another(house: RunningHouse) -> None:
    host = await house.room()
    second = await house.guest(host, role="host")
    path = f"/api/rooms/{host.room_id}/invitations"
    answers = await asyncio.gather(
        *(house.request("POST", path, token=host.token, json={"role": "guest"}) for _ in range(80))
    )
    refused = [body["error"]["code"] for status, body in answers if status == 429]
    assert refused
    assert set(refused) == {"too-many-requests"}
    async with house.http.post(
        house.url + path, json={"role": "guest"}, headers={"Authorization": f"Bearer {host.token}"}
    ) as response:
        assert response.status == 429
        assert int(response.headers["Retry-After"]) >= 1
    await house.invite(second, "guest")


async def test_wrong_codes_are_slowed_until_they_are_refused(
    house: RunningHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    real_sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        waited.append(seconds)
        await real_sleep(0)

    monkeypatch.setattr("server.callers.asyncio.sleep", note)
    codes: list[str] = []
    for number in range(160):
        _status, body = await house.request("POST", "/api/join", json={"code": f"lune-renard-{number:03}", "name": "x"})
        codes.append(body["error"]["code"])
    assert codes[0] == "invitation-unknown"
    assert codes[-1] == "too-many-requests"
    assert max(waited) >= 4.0


async def test_client_session_of_the_test_uses_no_cookies(house: RunningHouse) -> None:
    """Nothing in the house relies on cookies: there is none for another site's page to ride on."""
    await house.room()
    jar = house.http.cookie_jar
    assert isinstance(jar, aiohttp.CookieJar)
    assert len(jar) == 0
