"""JSON from outside, checked as bytes or text: every reader's `JSON.parse` will meet it."""

import json
import re
from typing import Any, NoReturn

from rooms.documents.errors import MalformedMessage

_MARKS = re.compile(r'\\.|["\[\]{}]', re.DOTALL)
_USUAL = frozenset({"true", "false", "null", "{}", '""'})


def check_json(text: str, most_depth: int) -> None:
    """Raises: MalformedMessage: not JSON as browsers read it, or nested deeper than `most_depth`."""
    if text not in _USUAL:
        parse_json(text, most_depth)


def parse_json(text: str, most_depth: int) -> Any:
    """The value. Raises: MalformedMessage, as `check_json`."""
    if text.count("[") + text.count("{") > most_depth and _depth(text) > most_depth:
        raise MalformedMessage("JSON nested too deep")
    try:
        if text.startswith("{"):  # no white space around it: to look for that takes half as long as to read it
            value, end = _DECODER.raw_decode(text)
            if end == len(text):
                return value
        return _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise MalformedMessage("not JSON") from error


def _refuse_constant(name: str) -> NoReturn:
    """Python reads NaN and Infinity; JSON has neither."""
    raise ValueError(name)


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=float)


def _depth(text: str) -> int:
    deepest = depth = 0
    quoted = False
    for mark in _MARKS.findall(text):
        if mark == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif mark in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in "]}":
            depth -= 1
    return deepest
