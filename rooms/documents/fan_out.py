"""Send what a flush has for many readers: each transport adapter encodes it once, and writes it once."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rooms.documents.reader import FanOut, Reader

if TYPE_CHECKING:
    from rooms.documents.open_document import OpenDocument

Messages = Sequence[bytes]


class Audience:
    """Some readers of one document, sorted by adapter once and not with every flush; another one when somebody comes
    or goes."""

    __slots__ = ("_groups", "size")

    def __init__(self, readers: Iterable["OpenDocument"]) -> None:
        self._groups: dict[FanOut | None, _Group] = {}
        self.size = 0
        for opened in readers:
            group = self._groups.get(opened.fan_out)
            if group is None:
                group = self._groups[opened.fan_out] = _Group(opened.fan_out)
            group.add(opened)
            self.size += 1

    def send(
        self,
        messages: Messages,
        full_bytes: int,
        instead: Mapping["OpenDocument", Messages] | None = None,
    ) -> list["OpenDocument"]:
        """To each, in order (`instead`: other messages, or none, for some); those that got nothing because more than
        `full_bytes` are under way to them already."""
        full: list[OpenDocument] = []
        for group in self._groups.values():
            full += group.send(messages, full_bytes, instead or {})
        return full


class _Group:
    """Those of one adapter."""

    __slots__ = ("_fan_out", "_places", "_readers")

    def __init__(self, fan_out: FanOut | None) -> None:
        self._fan_out = fan_out
        self._readers: list[Reader] = []
        self._places: dict[OpenDocument, int] = {}

    def add(self, opened: "OpenDocument") -> None:
        self._places[opened] = len(self._readers)
        self._readers.append(opened.reader)

    def send(
        self, messages: Messages, full_bytes: int, instead: Mapping["OpenDocument", Messages]
    ) -> list["OpenDocument"]:
        own = {place: said for opened, said in instead.items() if (place := self._places.get(opened)) is not None}
        if self._fan_out is not None:
            full = self._fan_out.broadcast(self._readers, messages, full_bytes, own)
        else:
            full = _send_to_each(self._readers, messages, full_bytes, own)
        if not full:
            return []
        opened_at = list(self._places)
        return [opened_at[place] for place in full]


def _send_to_each(
    readers: Sequence[Reader], messages: Messages, full_bytes: int, own: Mapping[int, Messages]
) -> list[int]:
    full = []
    for place, reader in enumerate(readers):
        if reader.buffered_bytes() > full_bytes:
            full.append(place)
            continue
        for message in own.get(place, messages):
            reader.send(message)
    return full
