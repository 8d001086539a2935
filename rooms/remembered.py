"""Questions that were asked already: each is worked on once, however often it arrives."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from rooms.instance_messages import Answer

MAX_REMEMBERED_ANSWERS = 4_096
"""More than are asked in the ten seconds for which one is asked again."""


class RememberedAnswers:
    """By the question's id: the answer, or the work on it."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, asyncio.Task[Answer]] = OrderedDict()

    async def once(self, ask_id: str, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer of the first call with this id. One that says "not home" is not remembered: nothing was done."""
        task = self._answers.get(ask_id)
        if task is None:
            task = self._answers[ask_id] = asyncio.ensure_future(work())
            if len(self._answers) > MAX_REMEMBERED_ANSWERS:
                self._answers.popitem(last=False)
        try:
            answer = await asyncio.shield(task)
        except BaseException:
            if task.done():
                self._answers.pop(ask_id, None)
            raise
        if answer.is_not_home:
            self._answers.pop(ask_id, None)
        return answer

    async def stop(self) -> None:
        tasks = [task for task in self._answers.values() if not task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._answers.clear()
