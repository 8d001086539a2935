"""What a REDIS_URL says, and which are refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.bus.redis_address import (
    MAX_SERVERS,
    Credentials,
    RedisAddress,
    RedisKind,
    Server,
    TlsFiles,
    parse_redis_url,
)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://localhost", RedisAddress(RedisKind.SINGLE, (Server("localhost", 6379),))),
        ("REDIS://localhost/", RedisAddress(RedisKind.SINGLE, (Server("localhost", 6379),))),
        ("redis://10.0.0.5:7000/3", RedisAddress(RedisKind.SINGLE, (Server("10.0.0.5", 7000),), database=3)),
        ("redis://[fd00::5]:7000", RedisAddress(RedisKind.SINGLE, (Server("fd00::5", 7000),))),
        ("redis://[fd00::5]", RedisAddress(RedisKind.SINGLE, (Server("fd00::5", 6379),))),
        (
            "redis://:p%40%C3%A0%2F@localhost",
            RedisAddress(RedisKind.SINGLE, (Server("localhost", 6379),), Credentials(None, "p@à/")),
        ),
        (
            "rediss://pass:s@localhost",
            RedisAddress(RedisKind.SINGLE, (Server("localhost", 6379),), Credentials("pass", "s"), tls=TlsFiles()),
        ),
        (
            "redis+sentinel://:s@a,b:5/ecole/2?sentinel_user=u&sentinel_password=p%26",
            RedisAddress(
                RedisKind.SENTINEL,
                (Server("a", 26379), Server("b", 5)),
                Credentials(None, "s"),
                database=2,
                service="ecole",
                sentinel_credentials=Credentials("u", "p&"),
            ),
        ),
        (
            "rediss+cluster://a:1,b,[::1]:3",
            RedisAddress(RedisKind.CLUSTER, (Server("a", 1), Server("b", 6379), Server("::1", 3)), tls=TlsFiles()),
        ),
    ],
)
def test_what_an_address_says(url: str, address: RedisAddress) -> None:
    assert parse_redis_url(url) == address


def test_files_of_tls_are_named_behind_it(tmp_path: Path) -> None:
    ca, cert, key = (tmp_path / name for name in ("ca.pem", "c.pem", "k.pem"))
    for path in (ca, cert, key):
        path.touch()
    assert parse_redis_url(f"rediss://h?ca={ca}&cert={cert}&key={key}").tls == TlsFiles(str(ca), str(cert), str(key))
    assert parse_redis_url(f"rediss://h?ca={ca}").tls == TlsFiles(str(ca))
    for wrong in (f"rediss://h?ca={tmp_path / 'gone.pem'}", f"rediss://h?key={key}", f"redis://h?ca={ca}"):
        with pytest.raises(ValueError):
            parse_redis_url(wrong)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://localhost",
        "redis+other://localhost",
        "redis+sentinel+cluster://localhost/x",
        "redis://",
        "redis://canari@localhost",
        "redis://:canari @localhost",
        "redis://:canari#@localhost",
        "redis://canari:@localhost",
        "redis://a,b",
        "redis://a,",
        "redis+cluster://a,,b",
        "redis+cluster://a/1",
        "redis+cluster://" + ",".join(["a"] * (MAX_SERVERS + 1)),
        "redis+sentinel://a",
        "redis+sentinel://a/",
        "redis+sentinel://a//1",
        "redis://localhost/canari",
        "redis://localhost/12345",
        "redis://localhost/-1",
        "redis://localhost/1/2",
        "redis://localhost:0",
        "redis://localhost:65536",
        "redis://localhost:99999999999999999999",
        "redis://localhost:port",
        "redis://[::1",
        "redis://[::1]canari",
        "redis://localhost?canari=1",
        "redis+sentinel://a/b?sentinel_user=",
        "redis+sentinel://a/b?sentinel_user=u&sentinel_user=canari",
    ],
)
def test_what_is_refused_is_explained_in_both_languages_and_not_quoted(url: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_redis_url(url)
    french, _, english = str(refused.value).partition(" / ")
    assert french
    assert english
    assert "canari" not in str(refused.value)


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_is_refused(rest: str) -> None:
    for scheme in ("redis", "rediss", "redis+sentinel", "rediss+cluster"):
        try:
            address = parse_redis_url(f"{scheme}://{rest}")
        except ValueError:
            continue
        assert 1 <= len(address.servers) <= MAX_SERVERS
        assert all(server.host and 0 < server.port <= 65_535 for server in address.servers)


def test_a_password_is_not_shown() -> None:
    assert "canari" not in repr(parse_redis_url("redis+sentinel://:canari@a/b?sentinel_password=canari"))
