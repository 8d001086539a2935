"""How one value of a setting is read: each parser raises ValueError with the end of a sentence that
begins with the variable's name, French first, and never quotes the value (it may be a secret)."""

import ipaddress
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from server.bus.redis_address import parse_redis_url
from signaling.turn import relay_address

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_PORT = 65_535
MAX_LIST_ENTRIES = 64
"""Longest list in a variable: addresses, origins, servers of one installation."""
MIN_API_KEY_CHARACTERS = 16
"""A shorter key could be guessed over the network."""


EXAMPLE_SECRET = "change-me"  # noqa: S105 - it is the one that is refused
"""What stands in the files of deploy/ where a secret belongs."""


def shared_secret(value: str) -> str:
    """Shared with a relay or a gateway, whose own file says what it may be; not the one that everybody can read."""
    if value == EXAMPLE_SECRET:
        raise ValueError(
            "celui des fichiers d'exemple, que tout le monde connaît"
            " / the one of the example files, which everybody knows"
        )
    return value


def api_key(value: str) -> str:
    if len(value) < MIN_API_KEY_CHARACTERS:
        raise ValueError(f"au moins {MIN_API_KEY_CHARACTERS} caractères / at least {MIN_API_KEY_CHARACTERS} characters")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("lettres, chiffres et signes ASCII sans espace / ASCII letters, digits and signs, no space")
    return value


def host(value: str) -> str:
    if value.lower() == "localhost":
        return value.lower()
    try:
        return str(ipaddress.ip_address(value.removeprefix("[").removesuffix("]")))
    except ValueError:
        raise ValueError("une adresse IP ou localhost / an IP address or localhost") from None


def integer(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not value.isascii() or not value.isdigit() or len(value) > 9 or not low <= int(value) <= high:
            raise ValueError(f"un entier de {low} à {high} / an integer from {low} to {high}")
        return int(value)

    return parse


def seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not low <= number <= high:
            raise ValueError(f"des secondes, de {low:g} à {high:g} / seconds, from {low:g} to {high:g}")
        return number

    return parse


def choice(*allowed: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value.lower() not in allowed:
            raise ValueError(f"une valeur parmi {', '.join(allowed)} / one of {', '.join(allowed)}")
        return value.lower()

    return parse


def list_of(parse_entry: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    def parse(value: str) -> tuple[Any, ...]:
        entries = [entry.strip() for entry in value.split(",") if entry.strip()]
        if len(entries) > MAX_LIST_ENTRIES:
            raise ValueError(f"au plus {MAX_LIST_ENTRIES} valeurs / at most {MAX_LIST_ENTRIES} values")
        return tuple(parse_entry(entry) for entry in entries)

    return parse


def address(value: str) -> str:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        raise ValueError("des adresses IP séparées par des virgules / IP addresses separated by commas") from None
    if address.is_unspecified or address.is_multicast:
        raise ValueError(f"{address}: personne ne peut y envoyer / nobody can send to it")
    return str(address)


def network(value: str) -> Network:
    try:
        return ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError("des réseaux comme 10.0.0.0/8 / networks such as 10.0.0.0/8") from None


def url(schemes: tuple[str, ...], example: str, *, origin_only: bool = False) -> Callable[[str], str]:
    def parse(value: str) -> str:
        wrong = ValueError(f"une adresse comme {example} / an address such as {example}")
        try:
            parts = urlsplit(value)
            parts.port  # noqa: B018 - raises ValueError when it is not a number
        except ValueError:
            raise wrong from None
        if parts.scheme not in schemes or not parts.hostname or parts.query or parts.fragment or parts.username:
            raise wrong
        if origin_only and parts.path not in ("", "/"):
            raise wrong
        return value.rstrip("/")

    return parse


def turn_url(value: str) -> str:
    """RFC 7065: `turn:host:port?transport=udp`."""
    scheme, _, rest = value.partition(":")
    example = "turn:turn.example.org:3478?transport=udp"
    wrong = ValueError(f"des adresses comme {example} / addresses such as {example}")
    if scheme not in ("stun", "stuns", "turn", "turns") or not rest or any(c.isspace() for c in value):
        raise wrong
    try:
        relay_address(value)
    except ValueError:
        raise wrong from None
    return value


def redis_url(value: str) -> str:
    """As `server.bus.redis_address` explains."""
    parse_redis_url(value)
    return value


def database_url(value: str) -> str:
    """`postgresql://user:password@host:5432/database?sslmode=verify-full`, as libpq knows it."""
    example = "postgresql://passerelle:…@bd.example.org/passerelle"
    wrong = ValueError(f"une adresse comme {example} / an address such as {example}")
    try:
        parts = urlsplit(value)
        # Several hosts, as for a database with standbys, have a port each.
        is_several = "," in parts.netloc
        if not is_several:
            parts.port  # noqa: B018 - raises ValueError when it is not a number
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("postgresql", "postgres") or parts.fragment or len(parts.path) < 2:
        raise wrong
    if not parts.netloc.rpartition("@")[2] and "host=" not in parts.query:
        raise wrong
    return value
