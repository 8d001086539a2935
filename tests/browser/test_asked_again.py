"""A request whose answer was lost on its way is sent again, by the browser itself or by whoever presses the button once
more: it makes one participant, and one room."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.support.old_proxy import old_proxy
from tests.support.page import STEP_MS, by_test
from tests.support.server_process import ServerProcess
from tests.support.session_setup import post

pytestmark = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def visitor(browser: Browser) -> AsyncIterator[Page]:
    context = await browser.new_context(locale="fr-CA")
    try:
        yield await context.new_page()
    finally:
        await context.close()


def losing_the_first(path: str, answers: list[Any]) -> Callable[[str, bytes], bool]:
    """All answers to that path, as the server gave them."""

    def loses(of: str, answer: bytes) -> bool:
        if of != path:
            return False
        answers.append(json.loads(answer))
        return len(answers) == 1

    return loses


async def test_a_join_that_the_browser_repeats_by_itself_is_one_participant(
    server: ServerProcess, browser: Browser
) -> None:
    """Over a connection that it had kept, and that breaks before the answer (net/http, ShouldResendRequest)."""
    created = await post(server, "/api/rooms", {"name": "Les oiseaux", "host_name": "Mme Roy"})
    made = f"/api/rooms/{created['room']['id']}/invitations"
    invitation = await post(server, made, {"role": "class", "uses": 1}, created["token"])
    answers: list[Any] = []
    async with old_proxy(server.port, losing_the_first("/api/join", answers)) as (url, _), visitor(browser) as school:
        await school.goto(f"{url}/entrer#{invitation['id']}")
        await by_test(school, "join-name").fill("Classe de Gaspé")
        await by_test(school, "join").click()
        await expect(by_test(school, "device-check")).to_be_visible(timeout=STEP_MS)
        assert len(answers) == 2, "the browser did not send it again"
        assert answers[0]["participant_id"] == answers[1]["participant_id"]


async def test_a_room_that_the_browser_begins_again_by_itself_is_one_room(
    server: ServerProcess, browser: Browser
) -> None:
    answers: list[Any] = []
    async with old_proxy(server.port, losing_the_first("/api/rooms", answers)) as (url, _), visitor(browser) as host:
        await host.goto(url)
        await by_test(host, "room-name").fill("Les oiseaux")
        await by_test(host, "host-name").fill("Mme Roy")
        await by_test(host, "open-room").click()
        await expect(by_test(host, "device-check")).to_be_visible(timeout=STEP_MS)
        assert len(answers) == 2, "the browser did not send it again"
        assert answers[0]["room"] == answers[1]["room"]
        assert answers[0]["participant_id"] == answers[1]["participant_id"]


@pytest.mark.parametrize("by", ["link", "code"])
async def test_who_presses_the_button_again_after_a_lost_answer_is_one_participant(
    server: ServerProcess, browser: Browser, by: str
) -> None:
    created = await post(server, "/api/rooms", {"name": "Les oiseaux", "host_name": "Mme Roy"})
    made = f"/api/rooms/{created['room']['id']}/invitations"
    invitation = await post(server, made, {"role": "pupil", "uses": 1}, created["token"])
    async with visitor(browser) as pupil:
        answers: list[Any] = []

        async def lose_the_first(route: Route) -> None:
            response = await route.fetch()
            answers.append(await response.json())
            await (route.abort() if len(answers) == 1 else route.fulfill(response=response))

        await pupil.route("**/api/join", lose_the_first)
        await pupil.goto(f"{server.url}/entrer#{invitation['id']}" if by == "link" else server.url)
        if by == "code":
            await by_test(pupil, "code").fill(invitation["code"])
        await by_test(pupil, "join-name" if by == "link" else "code-name").fill("Léa")
        button = by_test(pupil, "join" if by == "link" else "enter-by-code")
        await button.click()
        await expect(pupil.get_by_role("alert")).to_be_visible(timeout=STEP_MS)
        await button.click()
        await expect(by_test(pupil, "live")).to_be_visible(timeout=STEP_MS)
        first, second = answers
        assert first["participant_id"] == second["participant_id"]
