"""Join tokens, the key that signs them, the API key, and who may make a room."""

import base64
import json
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rooms.models import Role
from server.auth import (
    CLOCK_TOLERANCE_S,
    KEY_SPREAD_S,
    MAX_TOKEN_CHARACTERS,
    RESUME_WINDOW_S,
    TOKEN_LIFETIME_S,
    TOKEN_RENEWAL_S,
    KeyUnusable,
    RequestOrigin,
    TokenIssuer,
    TokenKeys,
    TokenRefused,
    bearer_of,
    is_api_key,
    load_token_keys,
    may_create_rooms,
    offered_key,
    shared_keys,
    should_renew,
)
from server.config import Settings

NOW = 1_800_000_000.0
KEYS = TokenKeys(bytes(range(32)))
ISSUER = TokenIssuer(KEYS)
KEY_ID = jwt.get_unverified_header(ISSUER.issue("r1", "p1", Role.HOST, NOW))["kid"]


def forge(header: dict[str, Any] | None = None, key: bytes = KEYS.current, **claims: Any) -> str:
    """A token signed with the real key, its claims and header changed; `None` removes a claim."""
    payload: dict[str, Any] = {
        "iss": "passerelle",
        "aud": "passerelle",
        "sub": "p1",
        "room": "r1",
        "role": "host",
        "iat": int(NOW),
        "nbf": int(NOW),
        "exp": int(NOW) + 60,
        "jti": "t1",
        **claims,
    }
    payload = {name: value for name, value in payload.items() if value is not None}
    return jwt.PyJWS().encode(json.dumps(payload).encode(), key, "HS256", headers={"kid": KEY_ID, **(header or {})})


def refusal(verify: Callable[[], object]) -> str:
    with pytest.raises(TokenRefused) as refused:
        verify()
    return refused.value.code


# --- tokens ----------------------------------------------------------------------------------------


def test_a_token_says_what_it_was_issued_for() -> None:
    claims = ISSUER.verify(ISSUER.issue("r1", "p1", Role.PUPIL, NOW), NOW + 1)
    assert (claims.room_id, claims.participant_id, claims.role) == ("r1", "p1", Role.PUPIL)
    assert (claims.issued_at, claims.expires_at) == (NOW, NOW + TOKEN_LIFETIME_S)


def test_no_two_tokens_are_the_same() -> None:
    assert ISSUER.issue("r1", "p1", Role.PUPIL, NOW) != ISSUER.issue("r1", "p1", Role.PUPIL, NOW)


def test_another_jwt_library_reads_it() -> None:
    """RFC 7519: the claims a peer would check are the registered ones."""
    token = ISSUER.issue("r1", "p1", Role.HOST, NOW)
    options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    claims = jwt.decode(token, KEYS.current, ["HS256"], options, audience="passerelle", issuer="passerelle")
    assert set(claims) == {"iss", "aud", "sub", "room", "role", "iat", "nbf", "exp", "jti"}


def test_the_forged_token_of_these_tests_is_good_when_nothing_is_changed() -> None:
    assert ISSUER.verify(forge(), NOW).participant_id == "p1"


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "autre"},
        {"aud": ["passerelle"]},
        {"aud": None},
        {"iss": "autre"},
        {"iss": None},
        {"iss": True},
        {"sub": None},
        {"sub": ""},
        {"sub": 1},
        {"sub": "p1\n"},
        {"sub": ["p1"]},
        {"sub": "p" * 65},
        {"room": None},
        {"room": {"id": "r1"}},
        {"room": "r/1"},
        {"role": "admin"},
        {"role": True},
        {"role": ["host"]},
        {"role": None},
        {"exp": None},
        {"exp": str(int(NOW) + 60)},
        {"exp": True},
        {"exp": [int(NOW) + 60]},
        {"exp": NOW + 60.5},
        {"exp": 1e300},
        {"exp": int(NOW) - 1, "iat": int(NOW)},
        {"nbf": None},
        {"nbf": "0"},
        {"nbf": False},
        {"iat": None},
        {"iat": "0"},
        {"jti": None},
        {"jti": 7},
    ],
)
def test_claims_of_the_wrong_shape_are_refused(claims: dict[str, Any]) -> None:
    token = forge(**claims)
    assert refusal(lambda: ISSUER.verify(token, NOW)) == "token-invalid"
    assert refusal(lambda: ISSUER.verify_for_resume(token, NOW)) == "token-invalid"


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_a_token_of_the_future_is_refused(claim: str) -> None:
    later = int(NOW + CLOCK_TOLERANCE_S) + 10
    token = forge(**{claim: later, "exp": later + 60})
    assert refusal(lambda: ISSUER.verify(token, NOW)) == "token-invalid"
    assert ISSUER.verify(token, NOW + 11).participant_id == "p1"


def test_an_expired_token_is_refused_and_says_so() -> None:
    token = ISSUER.issue("r1", "p1", Role.HOST, NOW)
    assert ISSUER.verify(token, NOW + TOKEN_LIFETIME_S)
    assert refusal(lambda: ISSUER.verify(token, NOW + TOKEN_LIFETIME_S + CLOCK_TOLERANCE_S + 1)) == "token-expired"


def test_an_expired_token_still_proves_who_comes_back_for_a_while() -> None:
    token = ISSUER.issue("r1", "p1", Role.HOST, NOW)
    last = NOW + TOKEN_LIFETIME_S + RESUME_WINDOW_S
    assert ISSUER.verify_for_resume(token, last).participant_id == "p1"
    assert refusal(lambda: ISSUER.verify_for_resume(token, last + 1)) == "token-expired"


def test_a_token_of_another_room_is_refused() -> None:
    """Replayed where it does not belong."""
    token = ISSUER.issue("r1", "p1", Role.HOST, NOW)
    assert ISSUER.verify_for_room(token, "r1", NOW).room_id == "r1"
    assert refusal(lambda: ISSUER.verify_for_room(token, "r2", NOW)) == "token-invalid"


def _unsigned(algorithm: str) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    claims = json.loads(base64.urlsafe_b64decode(forge().split(".")[1] + "=="))
    return f"{part({'alg': algorithm, 'kid': KEY_ID})}.{part(claims)}."


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS256", "RS256", ""])
def test_a_token_without_signature_is_refused(algorithm: str) -> None:
    token = _unsigned(algorithm)
    assert refusal(lambda: ISSUER.verify(token, NOW)) == "token-invalid"
    assert refusal(lambda: ISSUER.verify(token + "AAAA", NOW)) == "token-invalid"
    assert refusal(lambda: ISSUER.verify_for_resume(token, NOW)) == "token-invalid"


@pytest.mark.filterwarnings("ignore:The HMAC key is")
@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_another_algorithm_is_refused_even_with_our_key(algorithm: str) -> None:
    token = jwt.PyJWS().encode(b"{}", KEYS.current, algorithm, headers={"kid": KEY_ID})
    assert refusal(lambda: ISSUER.verify(token, NOW)) == "token-invalid"


@pytest.mark.parametrize(
    "header",
    [{"kid": "autre"}, {"kid": None}, {"kid": ["x"]}, {"kid": {}}, {"kid": 1}, {"crit": ["x"], "x": 1}, {"b64": False}],
)
def test_a_strange_header_is_refused(header: dict[str, Any]) -> None:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    good = forge().split(".")
    token = f"{part({'alg': 'HS256', 'kid': KEY_ID, **header})}.{good[1]}.{good[2]}"
    assert refusal(lambda: ISSUER.verify(token, NOW)) == "token-invalid"


def test_a_token_signed_with_another_key_is_refused() -> None:
    token = forge(key=b"another key of thirty-two bytes!")
    assert refusal(lambda: ISSUER.verify(token, NOW)) == "token-invalid"


def test_a_truncated_token_is_refused() -> None:
    token = ISSUER.issue("r1", "p1", Role.HOST, NOW)
    for length in range(len(token)):
        assert refusal(lambda cut=token[:length]: ISSUER.verify(cut, NOW)) == "token-invalid"  # type: ignore[misc]


def test_a_changed_token_is_refused() -> None:
    token = ISSUER.issue("r1", "p1", Role.HOST, NOW)
    for position, character in enumerate(token[:-1]):
        changed = token[:position] + ("A" if character != "A" else "B") + token[position + 1 :]
        assert refusal(lambda changed=changed: ISSUER.verify(changed, NOW)) == "token-invalid"  # type: ignore[misc]


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c.d",
        "é.é.é",
        "a.b.c\n",
        " a.b.c",
        "x" * 10_000_000,
        "eyJ." * 3_000,
        None,
        5,
        b"a.b.c",
    ],
)
def test_what_is_no_token_is_refused(token: Any) -> None:
    assert refusal(lambda: ISSUER.verify(token, NOW)) == "token-invalid"


def test_a_huge_token_is_refused_even_when_it_is_signed() -> None:
    assert refusal(lambda: ISSUER.verify(forge(extra="x" * MAX_TOKEN_CHARACTERS), NOW)) == "token-invalid"


def test_claims_of_a_later_version_are_ignored() -> None:
    assert ISSUER.verify(forge(grants={"publish": False}), NOW).participant_id == "p1"


@settings(max_examples=300)
@given(st.text(alphabet=st.characters(codec="ascii"), max_size=300) | st.text(max_size=50))
def test_no_text_makes_it_fail_otherwise(token: str) -> None:
    assert refusal(lambda: ISSUER.verify(token, NOW)) == "token-invalid"


@settings(max_examples=200)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_no_signed_payload_makes_it_fail_otherwise(payload: Any) -> None:
    token = jwt.PyJWS().encode(json.dumps(payload).encode(), KEYS.current, "HS256", headers={"kid": KEY_ID})
    assert refusal(lambda: ISSUER.verify(token, NOW)) == "token-invalid"


def test_a_refusal_holds_nothing_of_the_token() -> None:
    token = ISSUER.issue("r1", "p1", Role.HOST, NOW)
    with pytest.raises(TokenRefused) as refused:
        ISSUER.verify(token + "x", NOW)
    assert token[:20] not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_token_is_renewed_with_most_of_its_life_left() -> None:
    claims = ISSUER.verify(ISSUER.issue("r1", "p1", Role.HOST, NOW), NOW)
    assert not should_renew(claims, NOW + TOKEN_RENEWAL_S - 1)
    assert should_renew(claims, NOW + TOKEN_RENEWAL_S)


# --- keys ------------------------------------------------------------------------------------------


def test_the_first_start_makes_a_key_and_the_next_finds_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    keys = load_token_keys(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "token.key").stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["token.key"]
    assert load_token_keys(folder) == keys
    assert len(keys.current) == 32
    assert load_token_keys(tmp_path / "other") != keys


def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    found: list[TokenKeys] = []
    together = threading.Barrier(8)

    def start() -> None:
        together.wait()
        found.append(load_token_keys(tmp_path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({keys.current for keys in found}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["token.key"]


def test_an_old_key_still_verifies_until_it_is_deleted(tmp_path: Path) -> None:
    before = TokenIssuer(load_token_keys(tmp_path)).issue("r1", "p1", Role.HOST, NOW)
    (tmp_path / "token.key").rename(tmp_path / "token.key.old")
    rotated = TokenIssuer(load_token_keys(tmp_path))
    after = rotated.issue("r1", "p1", Role.HOST, NOW)
    assert rotated.verify(before, NOW)
    assert rotated.verify(after, NOW)
    (tmp_path / "token.key.old").unlink()
    last = TokenIssuer(load_token_keys(tmp_path))
    assert last.verify(after, NOW)
    assert refusal(lambda: last.verify(before, NOW)) == "token-invalid"


@pytest.mark.parametrize("content", ["", "abc", "zz" * 32, "00" * 31, "é" * 32])
def test_a_damaged_key_is_never_replaced_in_silence(tmp_path: Path, content: str) -> None:
    (tmp_path / "token.key").write_text(content)
    with pytest.raises(KeyUnusable):
        load_token_keys(tmp_path)
    assert (tmp_path / "token.key").read_text() == content


def test_keys_are_not_shown() -> None:
    assert KEYS.current.hex() not in repr(KEYS)
    assert repr(KEYS.current) not in repr(TokenKeys(KEYS.current, (KEYS.current,)))


# --- API key and room creation -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "bearer"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Basic abc", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("", None),
        (None, None),
        ("Bearer " + "x" * 5_000, None),
    ],
)
def test_a_bearer_is_taken_from_its_header(header: str | None, bearer: str | None) -> None:
    assert bearer_of(header) == bearer


def test_only_the_api_key_is_the_api_key() -> None:
    with_key = Settings(api_key="une-cle-assez-longue")
    assert is_api_key(with_key, "une-cle-assez-longue")
    for wrong in ("", "une-cle-assez-longue ", "une-cle-assez-longu", "é\ud800", None):
        assert not is_api_key(with_key, wrong)
    assert not is_api_key(Settings(), "")
    assert not is_api_key(Settings(), None)


HERE = RequestOrigin(peer="127.0.0.1", host="localhost:8080", origin="http://localhost:8080")


def test_without_a_key_this_machine_may_make_rooms() -> None:
    assert may_create_rooms(Settings(), HERE, None)
    assert may_create_rooms(Settings(), RequestOrigin("::1", "[::1]:8080"), None)
    assert may_create_rooms(Settings(), RequestOrigin("127.0.0.1", "127.0.0.1:8080"), "a join token")


@pytest.mark.parametrize(
    "request_",
    [
        RequestOrigin(peer="10.0.0.7", host="localhost:8080"),
        RequestOrigin(peer="127.0.0.1", host="localhost:8080", forwarded=True),
        RequestOrigin(peer="127.0.0.1", host="evil.example.org:8080"),
        RequestOrigin(peer="127.0.0.1", host="localhost.evil.example.org"),
        RequestOrigin(peer="127.0.0.1", host=""),
        RequestOrigin(peer="127.0.0.1", host="[::1"),
        RequestOrigin(peer="127.0.0.1", host="localhost:8080", origin="https://evil.example.org"),
        RequestOrigin(peer="127.0.0.1", host="localhost:8080", origin="null"),
        RequestOrigin(peer="", host="localhost:8080"),
    ],
)
def test_without_a_key_nobody_else_may(request_: RequestOrigin) -> None:
    answer = may_create_rooms(Settings(), request_, None)
    assert not answer
    assert answer.code == "not-from-this-machine"


def test_without_a_key_a_server_that_listens_beyond_its_machine_makes_no_rooms() -> None:
    answer = may_create_rooms(Settings(host="0.0.0.0"), HERE, None)
    assert answer.code == "api-key-required"
    assert "PASSERELLE_API_KEY" in answer.message


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_with_a_key_it_is_always_asked_for(host: str) -> None:
    with_key = Settings(host=host, api_key="une-cle-assez-longue")
    assert may_create_rooms(with_key, RequestOrigin("203.0.113.9", "passerelle.example.org"), "une-cle-assez-longue")
    assert may_create_rooms(with_key, HERE, None).code == "api-key-required"
    assert may_create_rooms(with_key, HERE, "autre").code == "api-key-invalid"


# --- keys of several instances ------------------------------------------------------------------------


def test_a_new_key_verifies_at_once_and_signs_when_every_instance_has_read_it() -> None:
    old, new = b"o" * 32, b"n" * 32
    before = shared_keys([(old, 500.0)])
    early = shared_keys([(new, KEY_SPREAD_S - 1), (old, 500.0)])
    late = shared_keys([(new, KEY_SPREAD_S), (old, 500.0)])
    assert (early.current, early.old) == (old, (new,))
    assert (late.current, late.old) == (new, (old,))
    issuer = TokenIssuer(before)
    token = issuer.issue("r1", "p1", Role.PUPIL, NOW)
    for keys in (early, late):
        issuer.use(keys)
        assert issuer.verify(token, NOW).participant_id == "p1"
    assert TokenIssuer(early).verify(issuer.issue("r1", "p2", Role.PUPIL, NOW), NOW).participant_id == "p2"
    issuer.use(shared_keys([(new, 900.0)]))
    with pytest.raises(TokenRefused):
        issuer.verify(token, NOW)


def test_a_first_key_signs_at_once() -> None:
    assert shared_keys([(b"f" * 32, 0.0)]).current == b"f" * 32


def test_a_database_is_offered_the_key_of_the_folder_there_was(tmp_path: Path) -> None:
    assert offered_key(tmp_path) != offered_key(tmp_path)
    assert list(tmp_path.iterdir()) == []
    mine = load_token_keys(tmp_path).current
    assert offered_key(tmp_path) == mine
