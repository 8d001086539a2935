"""The server as its first version was: it announces nothing, and refuses whatever clients may send that came later.

Run as `python -m tests.support.older_server`.
"""

import sys
from collections.abc import Set
from typing import Any

import msgspec

import server.presenter
from server.cli import main
from server.wire import http, registry
from server.wire.registry import COMMANDS, LATER, Command

present = server.presenter.room_view
CAME_LATER = {name for names in LATER.values() for name in names}
LATER_OVER_HTTP = {"Join": {"request_id"}, "CreateRoom": {"request_id"}}


def without(kind: type[msgspec.Struct], came_later: Set[str]) -> type[msgspec.Struct]:
    """The payload without the fields that came later; its handler finds them not given."""
    fields = msgspec.structs.fields(kind)
    later = [field for field in fields if field.name in came_later]
    known = [(each.name, each.type, each.default) for each in fields if each not in later]
    return msgspec.defstruct(
        kind.__name__,
        [(name, of) if default is msgspec.NODEFAULT else (name, of, default) for name, of, default in known],
        namespace={field.name: field.default for field in later},
        kw_only=True,
        forbid_unknown_fields=True,
    )


def older_view(*arguments: Any) -> dict[str, Any]:
    view: dict[str, Any] = msgspec.to_builtins(present(*arguments))
    del view["understands"]
    return view


if __name__ == "__main__":
    assert CAME_LATER.isdisjoint(COMMANDS), "take such commands out of the table here, and their handlers"
    for name in {each.partition(".")[0] for each in CAME_LATER}:
        fields = {field for command, _, field in (each.partition(".") for each in CAME_LATER) if command == name}
        registry.COMMANDS[name] = Command(without(COMMANDS[name].payload, fields), COMMANDS[name].answer)
    for name, came_later in LATER_OVER_HTTP.items():
        setattr(http, name, without(getattr(http, name), came_later))
    server.presenter.room_view = older_view  # type: ignore[assignment]
    sys.exit(main())
