"""What people call themselves, made fit to be shown: trimmed, one line, nothing invisible."""

import unicodedata

from rooms.errors import InvalidName

MAX_NAME_CHARACTERS = 60
"""What a tile can still show; as on the wire."""

_FORBIDDEN = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}
"""Unicode categories that show nothing, or turn the text around them (bidirectional controls)."""
_JOINERS = {"\u200c", "\u200d"}
"""Allowed although invisible: names of some scripts, and emoji, are written with them."""


def clean_name(name: str) -> str:
    """The name as it is kept: NFC, inner spaces single, no control or bidirectional character.

    Raises: InvalidName when nothing is left, or it is too long.
    """
    folded = unicodedata.normalize("NFC", " ".join(name.split()))
    if any(unicodedata.category(character) in _FORBIDDEN and character not in _JOINERS for character in folded):
        raise InvalidName("it has characters that cannot be shown")
    if not folded.strip("".join(_JOINERS)):
        raise InvalidName("it is empty")
    if len(folded) > MAX_NAME_CHARACTERS:
        raise InvalidName(f"it is longer than {MAX_NAME_CHARACTERS} characters")
    return folded
