"""What people call themselves, made fit to be shown: trimmed, one line, nothing invisible."""

import unicodedata

from rooms.errors import InvalidName

MAX_NAME_CHARACTERS = 60
"""What a tile can still show; as on the wire."""
MAX_RAW_CHARACTERS = 4 * MAX_NAME_CHARACTERS
"""Looked at before anything is folded: letters with their accents apart, and spaces, take more."""
MAX_MARKS_IN_A_ROW = 4
"""Accents on one letter: every living script is below; more of them paint over the neighbours' tiles."""

_FORBIDDEN = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}
"""Unicode categories that show nothing, or turn the text around them (bidirectional controls)."""
_JOINERS = {"\u200c", "\u200d"}
"""Allowed although invisible: names of some scripts, and emoji, are written with them."""
_BLANK_LETTERS = {"\u115f", "\u1160", "\u2800", "\u3164", "\uffa0"}
"""Letters and symbols, says Unicode, of which nothing is seen (Hangul fillers, the empty braille cell)."""


def clean_name(name: str) -> str:
    """The name as it is kept: NFC, inner spaces single, no control or bidirectional character.

    Raises: InvalidName when nothing is left, or it is too long, or it cannot be shown.
    """
    if len(name) > MAX_RAW_CHARACTERS:
        raise InvalidName(f"it is longer than {MAX_NAME_CHARACTERS} characters")
    folded = unicodedata.normalize("NFC", " ".join(name.split()))
    if any(_is_forbidden(character) for character in folded):
        raise InvalidName("it has characters that cannot be shown")
    if _marks_in_a_row(folded) > MAX_MARKS_IN_A_ROW:
        raise InvalidName("it has too many accents on one letter")
    if not any(_shows(character) for character in folded):
        raise InvalidName("it is empty")
    if len(folded) > MAX_NAME_CHARACTERS:
        raise InvalidName(f"it is longer than {MAX_NAME_CHARACTERS} characters")
    return folded


def clean_label(label: str) -> str:
    """As a name, but it may be empty. Raises: InvalidName."""
    return clean_name(label) if label.strip() else ""


def _is_forbidden(character: str) -> bool:
    if character in _BLANK_LETTERS:
        return True
    return unicodedata.category(character) in _FORBIDDEN and character not in _JOINERS


def _shows(character: str) -> bool:
    """A letter, digit, sign or emoji: not a mark or a joiner that stands on nothing."""
    return unicodedata.category(character)[0] in "LNPS"


def _marks_in_a_row(text: str) -> int:
    most = now = 0
    for character in text:
        now = now + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        most = max(most, now)
    return most
