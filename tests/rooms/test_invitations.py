"""Invitations and join codes."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooms.code_words import WORDS
from rooms.errors import InvalidName, InvalidTerms, InvitationRefused, RoleNotHere
from rooms.invitations import (
    DEFAULT_LIFETIME_S,
    MAX_LIFETIME_S,
    MAX_TYPED_CHARACTERS,
    MAX_USES,
    check_usable,
    fold_code,
    follow_lobby_roles,
    make_code,
    make_invitation,
    makes_wait,
    revoke,
)
from rooms.models import Invitation, Role, RoomKind
from tests.support.room_stage import STARTED_AT, empty_room


def invite(role: Role = Role.GUEST, kind: RoomKind = RoomKind.INTERCLASS, **terms: object) -> Invitation:
    values = {"invitation_id": "i", "code_number": 0, "label": "Musée", "now": STARTED_AT, **terms}
    return make_invitation(empty_room(kind), role=role, **values)  # type: ignore[arg-type]


# --- codes ---------------------------------------------------------------------------------------


def test_there_are_enough_words_and_each_is_short_plain_and_there_once() -> None:
    assert len(WORDS) >= 256
    assert len(set(WORDS)) == len(WORDS)
    for word in WORDS:
        assert 3 <= len(word) <= 8
        assert word.isascii()
        assert word.isalpha()
        assert word == word.lower() == fold_code(word)


def test_no_two_codes_are_typed_alike() -> None:
    """Without a separator `ab` + `cd` must not read as `abc` + `d`."""
    typed = Counter(fold_code(f"{first}-{second}") for first, second in itertools.product(WORDS, WORDS))
    assert len(typed) == len(WORDS) ** 2


def test_codes_are_ten_million_and_each_number_below_has_its_own() -> None:
    codes = len(WORDS) ** 2 * 100
    assert codes > 10_000_000
    some = range(0, codes, 997)
    assert len({make_code(number) for number in some}) == len(some)
    assert make_code(codes) == make_code(0)


@pytest.mark.parametrize(
    "typed",
    [
        "lune-renard-07",
        "Lune Renard 07",
        "LUNE RENARD 07",
        " lune  renard 07 ",
        "lunerenard07",
        "luné-rênard-07",
        "lune\u2019renard\u201307",
        "lune_renard.07",
        "lune\u00a0renard\u00a007",
        "lune-renard-０７",
    ],
)
def test_a_code_is_found_however_it_is_typed(typed: str) -> None:
    assert fold_code(typed) == fold_code("lune-renard-07") == "lunerenard07"


@pytest.mark.parametrize("typed", ["lune-renard-08", "renard-lune-07", "lune-renard", "lune-renard-7", "", "🦊"])
def test_another_code_is_another_code(typed: str) -> None:
    assert fold_code(typed) != "lunerenard07"


@given(st.text(max_size=200))
def test_anything_may_be_typed(typed: str) -> None:
    folded = fold_code(typed)
    assert folded.isascii()
    assert fold_code(folded) == folded
    assert folded == "" or folded.isalnum()
    assert len(folded) <= MAX_TYPED_CHARACTERS


def test_only_the_start_of_a_long_text_is_looked_at() -> None:
    assert fold_code("a" * 1_000_000) == "a" * MAX_TYPED_CHARACTERS


@given(st.integers(min_value=0, max_value=2**64 - 1))
def test_a_made_code_is_two_words_and_two_digits(number: int) -> None:
    first, second, digits = make_code(number).split("-")
    assert {first, second} <= set(WORDS)
    assert len(digits) == 2
    assert digits.isdigit()


# --- terms ---------------------------------------------------------------------------------------


def test_without_terms_an_invitation_lasts_thirty_days_for_anyone_and_guests_wait() -> None:
    guest, klass = invite(Role.GUEST), invite(Role.CLASS)
    assert guest.expires_at == STARTED_AT + DEFAULT_LIFETIME_S
    assert guest.uses_left is None
    assert (guest.lobby, klass.lobby) == (True, False)


@pytest.mark.parametrize("lobby", [True, False])
@pytest.mark.parametrize("role", [Role.GUEST, Role.CLASS])
def test_an_invitation_says_otherwise_than_the_room(role: Role, lobby: bool) -> None:
    assert invite(role, lobby=lobby).lobby == lobby


@pytest.mark.parametrize("terms", [{"expires_in_s": MAX_LIFETIME_S}, {"uses": 1}, {"uses": MAX_USES}])
def test_terms_within_bounds_are_taken(terms: dict[str, float]) -> None:
    assert invite(**terms)


@pytest.mark.parametrize(
    "terms",
    [
        {"expires_in_s": 0},
        {"expires_in_s": -1},
        {"expires_in_s": MAX_LIFETIME_S + 1},
        {"expires_in_s": float("nan")},
        {"uses": 0},
        {"uses": MAX_USES + 1},
    ],
)
def test_terms_out_of_bounds_are_refused(terms: dict[str, float]) -> None:
    with pytest.raises(InvalidTerms) as refused:
        invite(**terms)
    assert refused.value.field in terms


def test_a_label_is_cleaned_like_a_name() -> None:
    assert invite(label="  5e  année ").label == "5e année"
    with pytest.raises(InvalidName):
        invite(label="\u202e")


def test_a_consultation_invites_no_observer() -> None:
    with pytest.raises(RoleNotHere):
        invite(Role.OBSERVER, RoomKind.CONSULTATION)
    assert invite(Role.PUPIL, RoomKind.CONSULTATION).lobby


# --- use -----------------------------------------------------------------------------------------


def why_refused(invitation: Invitation | None, now: float, *, needs_use: bool = True) -> str | None:
    try:
        check_usable(invitation, now, needs_use=needs_use)
    except InvitationRefused as refused:
        return refused.code
    return None


def test_an_invitation_is_refused_for_one_reason_at_a_time() -> None:
    invitation = invite(expires_in_s=60, uses=1)
    used_up = Invitation(**{**_fields(invitation), "uses_left": 0})
    assert why_refused(invitation, STARTED_AT + 59) is None
    assert why_refused(invitation, STARTED_AT + 60) == "invitation-expired"
    assert why_refused(used_up, STARTED_AT) == "invitation-used-up"
    assert why_refused(used_up, STARTED_AT, needs_use=False) is None
    assert why_refused(None, STARTED_AT) == "invitation-unknown"


def test_a_stranger_cannot_tell_a_revoked_invitation_from_one_that_never_was() -> None:
    invitation = revoke(invite(expires_in_s=60, uses=1))
    for now in (STARTED_AT, STARTED_AT + 3_600):
        assert why_refused(invitation, now) == why_refused(None, now) == "invitation-unknown"


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("lobby", [True, False])
def test_a_guessed_code_runs_no_room_and_watches_none(role: Role, lobby: bool) -> None:
    invitation = invite(role, lobby=lobby)
    assert makes_wait(invitation, by_code=False) == lobby
    assert makes_wait(invitation, by_code=True) == (lobby or role in {Role.HOST, Role.OBSERVER})


def test_links_already_handed_out_follow_the_hosts_latest_word() -> None:
    now = STARTED_AT + 1
    klass, guest = invite(Role.CLASS), invite(Role.GUEST)
    trusted = invite(Role.GUEST, lobby=False)
    dead = [revoke(klass), invite(Role.CLASS, expires_in_s=1)]
    changed = follow_lobby_roles(
        [klass, guest, trusted, *dead], frozenset({Role.GUEST}), frozenset({Role.CLASS, Role.GUEST}), now
    )
    assert [(each.role, each.lobby) for each in changed] == [(Role.CLASS, True)], "guests' roles did not turn"
    opened = follow_lobby_roles([guest, trusted], frozenset({Role.GUEST}), frozenset(), now)
    assert [(each.role, each.lobby) for each in opened] == [(Role.GUEST, False)]


def _fields(invitation: Invitation) -> dict[str, object]:
    return {name: getattr(invitation, name) for name in Invitation.__dataclass_fields__}
