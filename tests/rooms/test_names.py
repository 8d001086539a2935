"""Names fit to be shown."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooms.errors import InvalidName
from rooms.names import MAX_NAME_CHARACTERS, clean_label, clean_name

RIGHT_TO_LEFT_OVERRIDE = "\u202e"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("Zoé", "Zoé"),
        ("  Marie   Tremblay ", "Marie Tremblay"),
        ("Marie\n\tTremblay", "Marie Tremblay"),
        ("Marie\u00a0Tremblay", "Marie Tremblay"),
        ("Zoe\u0301", "Zoé"),
        ("Классе 5", "Классе 5"),
        ("נועה", "נועה"),
        ("ᐃᓄᒃᑎᑐᑦ", "ᐃᓄᒃᑎᑐᑦ"),
        ("👩‍🏫 5e année", "👩‍🏫 5e année"),
        ("می‌خواهم", "می‌خواهم"),
        ("ทั้งหมด", "ทั้งหมด"),
        ("Nguyễn Thị Hồng", "Nguyễn Thị Hồng"),
        ("O'Neil-Ng (3)", "O'Neil-Ng (3)"),
    ],
)
def test_a_name_is_trimmed_and_kept_as_it_is_written(typed: str, kept: str) -> None:
    assert clean_name(typed) == kept


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "   ",
        "\u200d",
        "\u200d\u200c",
        "\u0301",
        "\u3164",
        "\u2800\u2800",
        "Marie\x00",
        "Mar\x1bie",
        f"Marie{RIGHT_TO_LEFT_OVERRIDE}gnp",
        "\u2066Marie\u2069",
        "Marie\u200b",
        "\ufeffMarie",
        "Marie\ud800",
        "Marie\U000f0000",
        "e" + "\u0316" * 5,
        "x" * (MAX_NAME_CHARACTERS + 1),
        " " * 10_000 + "x",
    ],
)
def test_a_name_that_cannot_be_shown_is_refused(typed: str) -> None:
    with pytest.raises(InvalidName) as refused:
        clean_name(typed)
    assert refused.value.code == "name-invalid"
    if typed.strip():
        assert typed.strip() not in str(refused.value), "the sentence may end up in a log"


def test_the_longest_name_still_fits_after_accents_are_joined() -> None:
    assert clean_name("e\u0301" * MAX_NAME_CHARACTERS) == "é" * MAX_NAME_CHARACTERS


def test_a_label_may_be_empty() -> None:
    assert clean_label("  ") == ""
    assert clean_label(" Musée ") == "Musée"
    with pytest.raises(InvalidName):
        clean_label(RIGHT_TO_LEFT_OVERRIDE)


@given(st.text(max_size=300))
def test_whatever_is_typed_becomes_a_short_visible_line_or_is_refused(typed: str) -> None:
    try:
        kept = clean_name(typed)
    except InvalidName:
        return
    assert 0 < len(kept) <= MAX_NAME_CHARACTERS
    assert clean_name(kept) == kept
    assert kept == unicodedata.normalize("NFC", kept)
    assert not {unicodedata.category(character) for character in kept} & {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(character) for character in kept} & {"RLO", "LRO", "RLE", "LRE", "PDF", "RLI"}
