"""What a new document may begin with: rich text, as ProseMirror and Tiptap write it in JSON (`editor.getJSON()`).

Exactly the nodes and marks of Tiptap's StarterKit, in the places where its schema has them: an editor deletes
what it does not know. How much there may be is in `rooms.documents.limits`.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

MAX_CHILDREN = 1_000
"""Of one node; as many as there may be nodes at all."""
MAX_RUN_CHARACTERS = 50_000
"""Of one run of text; as much as there may be at all."""
MAX_ADDRESS_CHARACTERS = 2_000
"""Of a link."""


class _Node(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Read strictly: what would be dropped in silence is refused."""


# --- marks --------------------------------------------------------------------------------------


class BoldMark(_Node, kw_only=True, tag="bold"):
    pass


class ItalicMark(_Node, kw_only=True, tag="italic"):
    pass


class UnderlineMark(_Node, kw_only=True, tag="underline"):
    pass


class StrikeMark(_Node, kw_only=True, tag="strike"):
    pass


class CodeMark(_Node, kw_only=True, tag="code"):
    """Alone: it excludes every other mark."""


class LinkAttributes(_Node, kw_only=True):
    href: Annotated[str, Meta(max_length=MAX_ADDRESS_CHARACTERS)]
    """Begins with `https://`, `http://` or `mailto:`."""
    target: str | None = None
    """This and the following may be there, as an editor writes them, and are not kept: each editor has its own."""
    rel: str | None = None
    title: str | None = None
    class_: str | None = msgspec.field(default=None, name="class")


class LinkMark(_Node, kw_only=True, tag="link"):
    attrs: LinkAttributes


Mark = BoldMark | ItalicMark | UnderlineMark | StrikeMark | CodeMark | LinkMark
Marks = Annotated[list[Mark], Meta(max_length=6)]

# --- inside a paragraph ---------------------------------------------------------------------------


class TextNode(_Node, kw_only=True, tag="text"):
    text: Annotated[str, Meta(min_length=1, max_length=MAX_RUN_CHARACTERS)]
    marks: Marks = []


class HardBreakNode(_Node, kw_only=True, tag="hardBreak"):
    pass


Inline = TextNode | HardBreakNode
Line = Annotated[list[Inline], Meta(max_length=MAX_CHILDREN)]

# --- blocks ---------------------------------------------------------------------------------------


class ParagraphNode(_Node, kw_only=True, tag="paragraph"):
    content: Line = []


class HeadingAttributes(_Node, kw_only=True):
    level: Annotated[int, Meta(ge=1, le=6)]


class HeadingNode(_Node, kw_only=True, tag="heading"):
    attrs: HeadingAttributes
    content: Line = []


class CodeBlockAttributes(_Node, kw_only=True):
    language: Annotated[str, Meta(pattern=r"^[A-Za-z0-9+#._-]{1,40}$(?!\n)")] | None = None


class CodeBlockNode(_Node, kw_only=True, tag="codeBlock"):
    """Text without marks."""

    attrs: CodeBlockAttributes | None = None
    content: Annotated[list[TextNode], Meta(max_length=MAX_CHILDREN)] = []


class HorizontalRuleNode(_Node, kw_only=True, tag="horizontalRule"):
    pass


class ListItemNode(_Node, kw_only=True, tag="listItem"):
    """Begins with a paragraph."""

    content: "Annotated[list[Block], Meta(min_length=1, max_length=MAX_CHILDREN)]"


Items = Annotated[list[ListItemNode], Meta(min_length=1, max_length=MAX_CHILDREN)]


class BulletListNode(_Node, kw_only=True, tag="bulletList"):
    content: Items


class OrderedListAttributes(_Node, kw_only=True):
    start: Annotated[int, Meta(ge=0, le=9_999)] = 1
    type: Literal["1", "a", "A", "i", "I"] | None = None
    """How its numbers are written (HTML's `ol`)."""


class OrderedListNode(_Node, kw_only=True, tag="orderedList"):
    attrs: OrderedListAttributes | None = None
    content: Items


class BlockquoteNode(_Node, kw_only=True, tag="blockquote"):
    content: "Annotated[list[Block], Meta(min_length=1, max_length=MAX_CHILDREN)]"


Block = (
    ParagraphNode | HeadingNode | BulletListNode | OrderedListNode | BlockquoteNode | CodeBlockNode | HorizontalRuleNode
)


class RichText(_Node, kw_only=True, tag="doc"):
    """A whole text."""

    content: Annotated[list[Block], Meta(min_length=1, max_length=MAX_CHILDREN)]


Template = RichText | Annotated[str, Meta(min_length=1, max_length=MAX_RUN_CHARACTERS)]
"""Or plain text: each line is a paragraph."""
