"""Who may do what before a room is asked: join tokens, the API key, who may make a room.

A join token is a JWT (RFC 7519) signed with HS256 and the key of this installation, made at first
start. It names a room and a participant; what its holder may do is looked up in the room at every
use, so that a removal takes effect at once whatever the token says. Times come in as arguments
(seconds since the Unix epoch); only `load_token_keys` touches the disk.
"""

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, Protocol, runtime_checkable
from urllib.parse import urlsplit

import msgspec
from jwt.api_jws import PyJWS
from jwt.exceptions import PyJWTError

from rooms.models import Role
from server.config import Settings, is_loopback

TOKEN_LIFETIME_S = 12 * 3_600
"""A class day with its evening meeting. Over a live connection tokens are renewed well before
(`TOKEN_RENEWAL_S`); a removal does not wait for it."""
TOKEN_RENEWAL_S = TOKEN_LIFETIME_S / 4
"""Age at which a connected participant gets a new token: three quarters of its life are left."""
RESUME_WINDOW_S = 90 * 86_400
"""How long after its expiry a token still proves who comes back: a term of weekly meetings, with
the holidays in it. Within it a pupil finds their own name and texts again."""
CLOCK_TOLERANCE_S = 5.0
"""Clocks of one installation differ by less (RFC 7519 section 4.1.5 allows a small leeway)."""
MAX_TOKEN_CHARACTERS = 4_096
"""As on the wire; checked before anything is decoded."""

KEY_SPREAD_S = 120.0
"""Before a new key of several instances signs: a few times the rest between two looks (`life.HOUSEKEEPING_S`)."""

_AUDIENCE: Final = "passerelle"
_ISSUER: Final = "passerelle"
_ALGORITHM = "HS256"
_KEY_BYTES = 32
_KEY_FILE = "token.key"
_OLD_KEY_FILE = "token.key.old"
_COMPACT_JWS = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)


class TokenRefused(Exception):
    """A join token proves nothing (here, now). `code` is what the caller is told; why exactly is
    nobody's business but the operator's, in `detail`, which holds nothing of the token."""

    def __init__(self, code: Literal["token-expired", "token-invalid"], detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class KeyUnusable(Exception):
    """The key file is there and cannot be used. A new one is never made over it: it would turn
    everyone out."""


# --- keys ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TokenKeys:
    """The key that signs, and those of before that may still verify."""

    current: bytes
    old: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return f"TokenKeys(current={_key_id(self.current)}, old={len(self.old)})"


def _key_id(key: bytes) -> str:
    """RFC 7515 section 4.1.4 `kid`: says which key signed, and nothing about it."""
    return hashlib.sha256(b"passerelle key id" + key).hexdigest()[:16]


def load_token_keys(data: Path) -> TokenKeys:
    """The keys in the data folder; the first start makes one (file 0600). Blocks on the disk.

    To rotate: rename `token.key` to `token.key.old` and restart. Tokens signed before stay valid
    until the old file is deleted.

    Raises: KeyUnusable; OSError when the folder cannot be written.
    """
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    current = _read_key(data / _KEY_FILE) or _make_key(data)
    old = _read_key(data / _OLD_KEY_FILE)
    return TokenKeys(current, (old,) if old else ())


@runtime_checkable
class KeyShare(Protocol):
    """A store that instances share, with their keys in it."""

    async def share_token_key(self, offered: bytes) -> Sequence[tuple[bytes, float]]:
        """The keys of all instances, the newest first, and how many seconds each has been there; where there are
        none yet, the offered one is the first. Raises: StoreUnavailable."""


def make_key() -> bytes:
    """A key that nobody has."""
    return secrets.token_bytes(_KEY_BYTES)


def offered_key(data: Path) -> bytes:
    """What a database without keys is offered: the key of this data folder, if it has one, so that tokens of before
    stay valid; else a new one. Blocks on the disk. Raises: KeyUnusable."""
    return _read_key(data / _KEY_FILE) or make_key()


def shared_keys(keys: Sequence[tuple[bytes, float]]) -> TokenKeys:
    """`keys`: those of all instances, the newest first, with the seconds each has been there. A new one signs only when
    every instance has had the time to read it; until then it verifies."""
    current = next((key for key, age_s in keys if age_s >= KEY_SPREAD_S), keys[-1][0])
    return TokenKeys(current, tuple(key for key, _age_s in keys if key != current))


def keys_in(data: Path) -> list[bytes]:
    """Those of the data folder, the one that signs last; none is made. Blocks on the disk. Raises: KeyUnusable."""
    return [key for key in (_read_key(data / name) for name in (_OLD_KEY_FILE, _KEY_FILE)) if key]


def put_keys(data: Path, keys: Sequence[bytes]) -> None:
    """As `keys_in` gave them: the last one signs, the one before verifies. Blocks on the disk.
    Raises: KeyUnusable when the folder has others; OSError."""
    if there := [key for key in keys_in(data) if key not in keys]:
        raise KeyUnusable(
            f"{data} a déjà une autre clé des jetons ({len(there)}) ; retirez token.key\n"
            f"{data} has another key of the tokens already; remove token.key"
        )
    for name, key in zip((_KEY_FILE, _OLD_KEY_FILE), reversed(keys), strict=False):
        path = data / name
        if not path.exists():
            _write_key(data, path, key)


def _read_key(path: Path) -> bytes | None:
    try:
        text = path.read_text("ascii").strip()
        key = bytes.fromhex(text)
    except FileNotFoundError:
        return None
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise KeyUnusable(f"{path} n'est pas une clé de Passerelle / is not a key of Passerelle")
    return key


def _make_key(data: Path) -> bytes:
    return _write_key(data, data / _KEY_FILE, make_key())


def _write_key(data: Path, path: Path, key: bytes) -> bytes:
    """All or nothing, and one only: the whole file is written under another name, then linked,
    which fails when a second process was quicker; then its key is taken."""
    draft = data / f".{path.name}.{secrets.token_hex(8)}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(key.hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        return _read_key(path) or key
    finally:
        draft.unlink()
    folder = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return key


# --- tokens ----------------------------------------------------------------------------------------

_Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]  # "$" would let a last newline pass


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a verified token says. `role` is as it was when it was issued: ask the room."""

    room_id: str
    participant_id: str
    role: Role
    issued_at: float
    expires_at: float
    token_id: str


class _Payload(msgspec.Struct, kw_only=True):
    """RFC 7519 claims. Strict: `true` is no number, "1" is no number, a list is no audience.
    Claims of a later version are ignored."""

    iss: Literal["passerelle"]
    aud: Literal["passerelle"]
    sub: _Id
    room: _Id
    role: Role
    iat: int
    nbf: int
    exp: int
    jti: _Id


_decoder = msgspec.json.Decoder(_Payload, strict=True)
_encoder = msgspec.json.Encoder()


class TokenIssuer:
    """Issues and verifies join tokens. Pure but for the random token id."""

    def __init__(self, keys: TokenKeys) -> None:
        self.use(keys)
        self._jws = PyJWS(algorithms=[_ALGORITHM])

    def use(self, keys: TokenKeys) -> None:
        """From now on these."""
        self._signing_key = keys.current
        self._key_id = _key_id(keys.current)
        self._keys = {_key_id(key): key for key in (keys.current, *keys.old)}

    def issue(self, room_id: str, participant_id: str, role: Role, now: float) -> str:
        """A token for this participant, valid from `now` for TOKEN_LIFETIME_S."""
        issued_at = int(now)
        payload = _Payload(
            iss=_ISSUER,
            aud=_AUDIENCE,
            sub=participant_id,
            room=room_id,
            role=role,
            iat=issued_at,
            nbf=issued_at,
            exp=issued_at + TOKEN_LIFETIME_S,
            jti=secrets.token_urlsafe(12),
        )
        return self._jws.encode(
            _encoder.encode(payload), self._signing_key, algorithm=_ALGORITHM, headers={"kid": self._key_id}
        )

    def verify(self, token: str, now: float) -> TokenClaims:
        """Raises: TokenRefused ("token-expired", "token-invalid")."""
        payload = self._authentic(token, now)
        if now > payload.exp + CLOCK_TOLERANCE_S:
            raise TokenRefused("token-expired", "expired")
        return _claims(payload)

    def verify_for_resume(self, token: str, now: float) -> TokenClaims:
        """As `verify`, but up to RESUME_WINDOW_S after the expiry: it proves who comes back with an
        invitation, and opens nothing by itself. Raises: TokenRefused."""
        payload = self._authentic(token, now)
        if now > payload.exp + RESUME_WINDOW_S:
            raise TokenRefused("token-expired", "expired for longer than the resume window")
        return _claims(payload)

    def verify_for_room(self, token: str, room_id: str, now: float) -> TokenClaims:
        """As `verify`, for a request that names a room: a token of another room is invalid there.
        Raises: TokenRefused."""
        claims = self.verify(token, now)
        if claims.room_id != room_id:
            raise TokenRefused("token-invalid", "of another room")
        return claims

    def _authentic(self, token: str, now: float) -> _Payload:
        """Signature, types, audience, issuer and nbf; not the expiry."""
        content = self._signed_content(token)
        try:
            payload = _decoder.decode(content)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise TokenRefused("token-invalid", "claims of the wrong shape") from None
        if payload.nbf > now + CLOCK_TOLERANCE_S or payload.iat > now + CLOCK_TOLERANCE_S:
            raise TokenRefused("token-invalid", "not yet valid")
        if payload.exp <= payload.iat:
            raise TokenRefused("token-invalid", "expires before it was issued")
        return payload

    def _signed_content(self, token: str) -> bytes:
        if not isinstance(token, str) or len(token) > MAX_TOKEN_CHARACTERS or not _COMPACT_JWS.fullmatch(token):
            raise TokenRefused("token-invalid", "not a token")
        try:
            header = self._jws.get_unverified_header(token)
            key = self._keys[header["kid"]]
            # The algorithm is ours, never the header's (RFC 8725 section 3.1).
            complete = self._jws.decode_complete(token, key, algorithms=[_ALGORITHM])
        except (PyJWTError, KeyError, TypeError, ValueError, RecursionError):
            # One answer for all: which check failed helps only who forges.
            raise TokenRefused("token-invalid", "no signature of ours") from None
        content: bytes = complete["payload"]
        return content


def _claims(payload: _Payload) -> TokenClaims:
    return TokenClaims(
        room_id=payload.room,
        participant_id=payload.sub,
        role=payload.role,
        issued_at=float(payload.iat),
        expires_at=float(payload.exp),
        token_id=payload.jti,
    )


def should_renew(claims: TokenClaims, now: float) -> bool:
    """Whether a connected participant's token is old enough to be replaced."""
    return now - claims.issued_at >= TOKEN_RENEWAL_S


def bearer_of(authorization: str | None) -> str | None:
    """The token or key of an `Authorization: Bearer …` header (RFC 6750 section 2.1), else None."""
    scheme, _, value = (authorization or "").partition(" ")
    value = value.strip()
    return value if scheme.lower() == "bearer" and value and len(value) <= MAX_TOKEN_CHARACTERS else None


def is_api_key(settings: Settings, bearer: str | None) -> bool:
    """Whether `bearer` is the installation's API key; in constant time, whatever its length."""
    if settings.api_key is None or bearer is None:
        return False
    ours, theirs = (
        hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in (settings.api_key, bearer)
    )
    return hmac.compare_digest(ours, theirs)


# --- who may make a room ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RequestOrigin:
    """What a request says of where it comes from; all but `peer` may be forged."""

    peer: str
    """Address of the other end of the connection."""
    host: str
    """The Host header, with or without port."""
    forwarded: bool = False
    """Whether it carries Forwarded, Via or X-Forwarded-…: a proxy stands in between."""
    origin: str | None = None
    """The Origin header: the site of the page that asks."""


@dataclass(frozen=True, slots=True)
class RoomCreation:
    """The answer of `may_create_rooms`; true when allowed."""

    code: Literal["api-key-required", "api-key-invalid", "not-from-this-machine"] | None = None
    message: str = ""

    def __bool__(self) -> bool:
        return self.code is None


_KEY_REQUIRED = RoomCreation("api-key-required", "Making a room needs the API key (Authorization: Bearer …).")
_KEY_INVALID = RoomCreation("api-key-invalid", "This is not the API key of this server.")
_NO_KEY_SET = RoomCreation(
    "api-key-required",
    "This server listens beyond its own machine and has no API key: set PASSERELLE_API_KEY to make rooms.",
)
_NOT_LOCAL = RoomCreation(
    "not-from-this-machine",
    "Without PASSERELLE_API_KEY rooms are made on the server's own machine only, by its own page.",
)


def may_create_rooms(settings: Settings, request: RequestOrigin, bearer: str | None) -> RoomCreation:
    """Open without a key only when none is set, the server listens on loopback alone, and the
    request comes straight from this machine: neither through a proxy (which would lend its own
    loopback address to the whole Internet), nor by a name that a foreign page had resolved to
    127.0.0.1 (DNS rebinding), nor from a foreign page."""
    if settings.api_key is not None:
        if bearer is None:
            return _KEY_REQUIRED
        return RoomCreation() if is_api_key(settings, bearer) else _KEY_INVALID
    if not settings.listens_on_loopback:
        return _NO_KEY_SET
    local = is_loopback(request.peer) and not request.forwarded and _names_loopback(f"//{request.host}")
    if request.origin is not None:
        local = local and _names_loopback(request.origin)
    return RoomCreation() if local else _NOT_LOCAL


def _names_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return False
    return host is not None and is_loopback(host)
