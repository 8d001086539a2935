"""A camera that is turned off and on again comes in all its sizes each time, by the browser SDK in real Chromium."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from tests.browser.test_unwatched_layers import BEGINS_S, CAMERA, COMES, PUBLISH, SENT_IN_A_SECOND, look
from tests.support.chromium import launched_chromium
from tests.support.sdk_page import two_admitted, wait_for
from tests.support.server_process import running_server


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_a_camera_that_is_turned_on_again_comes_in_each_of_its_sizes(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_server(tmp_path))
        browser = await stack.enter_async_context(launched_chromium(CAMERA, tmp_path))
        pages = sending, looking = await two_admitted(server, browser, tmp_path)
        await asyncio.gather(*(page.evaluate("room.media.start()") for page in pages))
        for _turn in range(3):
            camera = await sending.evaluate(PUBLISH)
            await look(looking, camera, 960, 540)
            await wait_for(looking, COMES, [camera, 540], BEGINS_S)
            await wait_for(sending, SENT_IN_A_SECOND, "fhq", BEGINS_S)
            await look(looking, camera, 240, 135)
            await wait_for(looking, COMES, [camera, 135], BEGINS_S)
            await sending.evaluate("(id) => room.media.unpublish(id)", camera)
            await wait_for(looking, "(id) => !seen.has(id)", camera)
