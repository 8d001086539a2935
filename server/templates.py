"""A template from the wire to the domain: its shape was checked by the types, here is what they cannot say."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from rooms.documents.limits import (
    MAX_LINK_CHARACTERS,
    MAX_TEMPLATE_CHARACTERS,
    MAX_TEMPLATE_DEPTH,
    MAX_TEMPLATE_NODES,
)
from rooms.documents.template import Element, Text
from server.error_answers import Refusal
from server.wire import template as wire

FIELD: Final = "$.template"
_ADDRESS = re.compile(r"(https?://|mailto:)[^\s\x00-\x20\x7f]+", re.IGNORECASE)
"""What may be followed from a school's page: never `javascript:`, `data:` or a file."""
_SEEN_CONTROLS = {"\t", "\n"}


def read_template(template: wire.Template) -> Sequence[Element]:
    """Its blocks. Raises: Refusal (`invalid`, with the field), before anything is kept."""
    reader = _Reader()
    if isinstance(template, str):
        return reader.lines(template)
    return [reader.block(block, f"{FIELD}.content[{at}]", 1) for at, block in enumerate(template.content)]


class _Reader:
    """Counts what a template holds as it goes."""

    def __init__(self) -> None:
        self._nodes = 0
        self._characters = 0

    def lines(self, text: str) -> Sequence[Element]:
        """Plain text: a paragraph for each line."""
        blocks = []
        for line in text.splitlines() or [""]:
            self._count(FIELD, 1)
            blocks.append(Element("paragraph", {}, [self._text(line, FIELD)] if line else []))
        return blocks

    def block(self, node: wire.Block | wire.ListItemNode, field: str, depth: int) -> Element:
        self._count(field, depth)
        match node:
            case wire.ParagraphNode():
                return Element("paragraph", {}, self._line(node.content, field))
            case wire.HeadingNode():
                return Element("heading", {"level": node.attrs.level}, self._line(node.content, field))
            case wire.BulletListNode():
                return Element("bulletList", {}, self._blocks(node.content, field, depth))
            case wire.OrderedListNode():
                attributes = node.attrs or wire.OrderedListAttributes()
                written = _given(start=attributes.start, type=attributes.type)
                return Element("orderedList", written, self._blocks(node.content, field, depth))
            case wire.ListItemNode():
                if not isinstance(node.content[0], wire.ParagraphNode):
                    _refuse("A list item begins with a paragraph.", f"{field}.content[0]")
                return Element("listItem", {}, self._blocks(node.content, field, depth))
            case wire.BlockquoteNode():
                return Element("blockquote", {}, self._blocks(node.content, field, depth))
            case wire.CodeBlockNode():
                written = _given(language=node.attrs.language if node.attrs is not None else None)
                return Element("codeBlock", written, self._code(node.content, field))
            case wire.HorizontalRuleNode():
                return Element("horizontalRule")

    def _blocks(self, nodes: Sequence[wire.Block | wire.ListItemNode], field: str, depth: int) -> Sequence[Element]:
        return [self.block(node, f"{field}.content[{at}]", depth + 1) for at, node in enumerate(nodes)]

    def _line(self, nodes: Sequence[wire.Inline], field: str) -> Sequence[Element | Text]:
        return [self._inline(node, f"{field}.content[{at}]") for at, node in enumerate(nodes)]

    def _inline(self, node: wire.Inline, field: str) -> Element | Text:
        self._count(field, 1)
        if isinstance(node, wire.HardBreakNode):
            return Element("hardBreak")
        return self._text(node.text, f"{field}.text", _marks(node.marks, field))

    def _code(self, nodes: Sequence[wire.TextNode], field: str) -> Sequence[Text]:
        texts = []
        for at, node in enumerate(nodes):
            self._count(f"{field}.content[{at}]", 1)
            if node.marks:
                _refuse("Text in a block of code has no marks.", f"{field}.content[{at}].marks")
            texts.append(self._text(node.text, f"{field}.content[{at}].text"))
        return texts

    def _text(self, text: str, field: str, marks: Mapping[str, Mapping[str, str]] | None = None) -> Text:
        self._characters += len(text)
        if self._characters > MAX_TEMPLATE_CHARACTERS:
            _refuse(f"A template has at most {MAX_TEMPLATE_CHARACTERS} characters.", field)
        if any(unicodedata.category(one) in ("Cc", "Cs") and one not in _SEEN_CONTROLS for one in text):
            _refuse("A template has no control characters, and whole ones only.", field)
        return Text(text, marks or {})

    def _count(self, field: str, depth: int) -> None:
        self._nodes += 1
        if self._nodes > MAX_TEMPLATE_NODES:
            _refuse(f"A template has at most {MAX_TEMPLATE_NODES} nodes.", field)
        if depth > MAX_TEMPLATE_DEPTH:
            _refuse(f"A template is nested at most {MAX_TEMPLATE_DEPTH} deep.", field)


def _given(**attributes: int | str | None) -> Mapping[str, int | str]:
    return {name: value for name, value in attributes.items() if value is not None}


def _marks(marks: Sequence[wire.Mark], field: str) -> Mapping[str, Mapping[str, str]]:
    read: dict[str, Mapping[str, str]] = {}
    for at, mark in enumerate(marks):
        name = str(mark.__struct_config__.tag)
        if name in read:
            _refuse("A mark is there once.", f"{field}.marks[{at}]")
        read[name] = {}
        if isinstance(mark, wire.LinkMark):
            read[name] = {"href": _address(mark, f"{field}.marks[{at}].attrs.href")}
    if "code" in read and len(read) > 1:
        _refuse("Code has no other mark.", f"{field}.marks")
    return read


def _address(mark: wire.LinkMark, field: str) -> str:
    href = mark.attrs.href
    if len(href) > MAX_LINK_CHARACTERS or not _ADDRESS.fullmatch(href):
        _refuse("A link leads to https://, http:// or mailto:.", field)
    return href


def _refuse(message: str, field: str) -> NoReturn:
    raise Refusal("invalid", message, field)
