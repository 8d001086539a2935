"""Send what a flush has for many readers: each transport adapter encodes it once, and writes it once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rooms.documents.reader import FanOut

if TYPE_CHECKING:
    from rooms.documents.open_document import OpenDocument


def broadcast(readers: Sequence["OpenDocument"], messages: Sequence[bytes], full_bytes: int) -> list["OpenDocument"]:
    """To each reader, in order; those that got nothing because more than `full_bytes` are under way to
    them already."""
    if not messages:
        return []
    full: list[OpenDocument] = []
    groups: dict[FanOut | None, list[OpenDocument]] = {}
    for opened in readers:
        groups.setdefault(opened.fan_out, []).append(opened)
    for fan_out, group in groups.items():
        if fan_out is not None:
            places = fan_out.broadcast([opened.reader for opened in group], messages, full_bytes)
            full.extend(group[place] for place in places)
        else:
            full.extend(_send_to_each(group, messages, full_bytes))
    return full


def _send_to_each(group: Sequence["OpenDocument"], messages: Sequence[bytes], full_bytes: int) -> list["OpenDocument"]:
    full = []
    for opened in group:
        if opened.reader.buffered_bytes() > full_bytes:
            full.append(opened)
            continue
        for message in messages:
            opened.reader.send(message)
    return full
