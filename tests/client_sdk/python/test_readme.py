"""The example of the README, as it stands there, against a real server."""

import re
from pathlib import Path
from typing import Any

from pycrdt import Text

from tests.support.deadlines import SECOND
from tests.support.text import text_becomes

README = Path(__file__).parents[3] / "client_sdk/python/README.md"


async def test_the_example_of_the_readme_writes_for_everyone(school: Any) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    invitation = await school.api.create_invitation(school.created.room.id, school.created.token, "class", lobby=False)
    names: dict[str, Any] = {}
    exec(compile(example, str(README), "exec"), names)  # noqa: S102
    written = await names["main"](school.url, invitation.code)
    assert "Rimouski" in written
    shared = (await school.host()).document("texte")
    await shared.when_synced()
    await text_becomes(shared.doc.get("text", type=Text), written, 5 * SECOND)
