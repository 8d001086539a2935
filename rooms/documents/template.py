"""What a document begins with: rich text prepared by a host, as one Yjs update that is always the same bytes.

The update is written here byte by byte (Yjs update v1: yjs `Item.js`, `ContentType.js`, `ContentFormat.js`; lib0
`encoding.js`) and not by the engine, which puts the marks of a text in an order of its own: two instances that
seed one template, even of two versions of this program, must make the very same structs, so that Yjs takes
them for one. All of it stands under one client id that no client has, with clocks from 0.

The shape is that of y-prosemirror (`createTypeFromElementNode`): an XML element for each block with its attributes,
an XML text for each run of inline text, marks as formats of it. An element that the editor's schema does not know,
or not in that place, y-prosemirror *deletes* from the document: what is given here must be valid.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rooms.documents.encoding import var_string, var_uint
from rooms.documents.scan import HAS_ORIGIN, HAS_PARENT_SUB

FRAGMENT: Final = "content"
"""Name of the XML fragment that the text stands in: what the page gives Tiptap as `field`."""
TEMPLATE_CLIENT_ID: Final = 2**32
"""The first that Yjs never draws: it takes 32 random bits. Nobody but the server writes under it."""
TEMPLATE_AUTHOR: Final = "template"
"""Whose that client id is, where it says who wrote what; no participant's id is so short."""

_STRING, _FORMAT, _TYPE, _ANY = 4, 6, 7, 8
"""Kinds of content of a struct."""
_XML_ELEMENT, _XML_TEXT = b"\x03", b"\x06"
_TEXT_BLOCKS: Final = frozenset({"paragraph", "heading", "codeBlock"})
"""An empty one of these begins with an empty text. Else each of two who begin to write there at once would make a text
of their own, and y-prosemirror, which joins them, would put the letters of both in disorder."""
_NO_DELETIONS = b"\x00"


@dataclass(frozen=True, slots=True)
class Text:
    """A run of text, with its marks by name: `bold` → {}, `link` → {"href": …}."""

    text: str
    marks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Element:
    """A block, or what stands between texts (`hardBreak`), by the name that the editor's schema gives it."""

    name: str
    attributes: Mapping[str, int | str] = field(default_factory=dict)
    children: "Sequence[Element | Text]" = ()


def template_update(blocks: Sequence[Element]) -> bytes:
    """The document that consists of these, as one update; the same for the same blocks, always. Some
    2 µs a character of markup: 5 ms for a long template."""
    writer = _Writer()
    left: int | None = None
    for block in blocks:
        left = writer.element(block, None, left)
    return writer.update()


class _Writer:
    """The structs of one client, in the order of their clocks: parents before children, left before right."""

    def __init__(self) -> None:
        self._structs: list[bytes] = []
        self._clock = 0
        self._own = var_uint(TEMPLATE_CLIENT_ID)

    def update(self) -> bytes:
        """One client, all its structs, and nothing deleted."""
        head = var_uint(1) + var_uint(len(self._structs)) + self._own + var_uint(0)
        return head + b"".join(self._structs) + _NO_DELETIONS

    def element(self, element: Element, parent: int | None, left: int | None) -> int:
        """Its clock. `parent`: the clock of the type that it stands in, None: the fragment; `left`: of what stands
        before it there."""
        own = self._add(_TYPE, _XML_ELEMENT + var_string(element.name), parent, left)
        for name, value in sorted(element.attributes.items()):
            self._add(_ANY, var_uint(1) + _any(value), own, None, key=name)
        inner: int | None = None
        run: list[Text] = []
        for child in element.children:
            if isinstance(child, Text):
                run.append(child)
                continue
            inner = self._text(run, own, inner)
            run = []
            inner = self.element(child, own, inner)
        if not element.children and element.name in _TEXT_BLOCKS:
            self._add(_TYPE, _XML_TEXT, own, None)
        self._text(run, own, inner)
        return own

    def _text(self, run: Sequence[Text], parent: int, left: int | None) -> int | None:
        """Texts that stand side by side are one type; the clock of what stands last now."""
        if not run:
            return left
        own = self._add(_TYPE, _XML_TEXT, parent, left)
        last: int | None = None
        open_marks: Mapping[str, Mapping[str, str]] = {}
        for text in run:
            last = self._change_marks(open_marks, text.marks, own, last)
            open_marks = text.marks
            length = len(text.text.encode("utf-16-le")) // 2  # JavaScript counts UTF-16 code units
            last = self._add(_STRING, var_string(text.text), own, last, length) + length - 1
        self._change_marks(open_marks, {}, own, last)
        return own

    def _change_marks(
        self,
        before: Mapping[str, Mapping[str, str]],
        after: Mapping[str, Mapping[str, str]],
        parent: int,
        left: int | None,
    ) -> int | None:
        for name in sorted(before.keys() | after.keys()):
            value = after.get(name)
            if value != before.get(name):
                written = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
                left = self._add(_FORMAT, var_string(name) + var_string(written), parent, left)
        return left

    def _add(
        self,
        kind: int,
        content: bytes,
        parent: int | None,
        left: int | None,
        length: int = 1,
        *,
        key: str | None = None,
    ) -> int:
        """One struct; its first clock. What stands to the right of something is in the same parent."""
        if left is not None:
            head = bytes((kind | HAS_ORIGIN,)) + self._own + var_uint(left)
        else:
            info = kind | (HAS_PARENT_SUB if key is not None else 0)
            place = b"\x01" + var_string(FRAGMENT) if parent is None else b"\x00" + self._own + var_uint(parent)
            head = bytes((info,)) + place + (var_string(key) if key is not None else b"")
        self._structs.append(head + content)
        clock, self._clock = self._clock, self._clock + length
        return clock


def _any(value: int | str) -> bytes:
    """lib0 Any: a string, or an integer of 31 bits (varInt: sign and six bits first)."""
    if isinstance(value, str):
        return b"\x77" + var_string(value)
    size = abs(value)
    sign = 0x40 if value < 0 else 0
    if size < 0x40:
        return bytes((0x7D, sign | size))
    return bytes((0x7D, 0x80 | sign | (size & 0x3F))) + var_uint(size >> 6)


EMPTY_PARAGRAPH: Final = template_update([Element("paragraph")])
"""What an editor would begin with by itself; each of two who begin at once would make one of their own."""
