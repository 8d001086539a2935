"""The bus at each kind of address: with a password, over TLS, behind sentinels, in a cluster."""

import secrets
from pathlib import Path
from urllib.parse import quote

import pytest

from rooms.ports import BusUnavailable
from server.bus.redis_address import parse_redis_url
from server.bus.redis_link import Connector
from tests.server.bus.test_redis_bus import Told, joined, until, until_joined
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.redis_group import cluster_url, redis_cluster, watched_redis
from tests.support.redis_server import running_redis


async def assert_joined(url: str) -> None:
    async with joined(url, url) as (one, two):
        told = Told()
        await two.subscribe("a", told.message, told.gap)
        await until_joined(one, two)
        await one.publish("a", b"bonjour")
        await told.until(lambda all_: all_ == [b"bonjour"])


async def assert_refused(url: str, reason: str) -> None:
    with pytest.raises(BusUnavailable, match=reason):
        await Connector(parse_redis_url(url), "test").open()


async def test_a_password_opens_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    password = "à b@c/d:" + secrets.token_hex(4)
    async with running_redis(tmp_path, ["--requirepass", password]) as redis:
        await assert_joined(f"redis://:{quote(password, safe='')}@127.0.0.1:{redis.port}")
        await assert_refused(f"redis://:wrong@127.0.0.1:{redis.port}", "AuthenticationError")
        await assert_refused(redis.url, "AuthenticationError")


async def test_a_user_with_its_own_rights_is_enough(tmp_path: Path) -> None:
    rights = "user pass on >secret resetchannels &passerelle:* +ping +hello +client +publish +subscribe +unsubscribe"
    users = tmp_path / "users.acl"
    users.write_text(f"{rights}\nuser default off\n")
    async with running_redis(tmp_path, ["--aclfile", str(users)]) as redis:
        url = f"redis://pass:secret@127.0.0.1:{redis.port}"
        async with joined(url, url, prefix="passerelle") as (one, two):
            told = Told()
            await two.subscribe("a", told.message, told.gap)
            await until_joined(one, two)
            await one.publish("a", b"bonjour")
            await told.until(lambda all_: all_ == [b"bonjour"])


async def test_tls_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    """A server whose certificate another authority signed, or that is another's, is not believed; nor is a client
    that shows none."""
    ours, other = Authority(tmp_path / "ours"), Authority(tmp_path / "other")
    server, client = ours.sign("redis", address="127.0.0.1"), ours.sign("passerelle")
    port = free_port()
    options = ["--tls-port", str(port), "--tls-cert-file", str(server.certificate), "--tls-key-file", str(server.key)]
    async with running_redis(tmp_path / "redis", [*options, "--tls-ca-cert-file", str(ours.path)]):
        shown = f"cert={client.certificate}&key={client.key}"
        await assert_joined(f"rediss://127.0.0.1:{port}?ca={ours.path}&{shown}")
        await assert_refused(f"rediss://127.0.0.1:{port}?ca={other.path}&{shown}", "ConnectionError")
        await assert_refused(f"rediss://localhost:{port}?ca={ours.path}&{shown}", "ConnectionError")
        await assert_refused(f"rediss://127.0.0.1:{port}?ca={ours.path}", "ConnectionError")
        await assert_refused(f"redis://127.0.0.1:{port}", "ConnectionError")


async def test_when_the_master_dies_the_one_that_the_sentinels_name_is_taken(tmp_path: Path) -> None:
    async with watched_redis(tmp_path) as group:
        async with joined(group.url, group.url) as (one, two):
            told = Told()
            await two.subscribe("a", told.message, told.gap)
            await until_joined(one, two)
            await one.publish("a", b"before")
            await told.until(lambda all_: all_ == [b"before"])
            await group.master.stop()
            await until(lambda: not one.health().is_joined and not two.health().is_joined)
            await until_joined(one, two, within_s=20)
            assert await group.master_port() == group.replica.port
            await one.publish("a", b"after")
            await told.until(lambda all_: all_[-1:] == [b"after"] and None in all_)


@pytest.mark.long
async def test_a_master_that_the_sentinels_replaced_is_left_though_it_lives(tmp_path: Path) -> None:
    async with watched_redis(tmp_path) as group:
        async with joined(group.url, group.url) as (one, two):
            told = Told()
            await two.subscribe("a", told.message, told.gap)
            await group.fail_over()
            await until(lambda: bool(told.all), within_s=20)
            await until_joined(one, two, within_s=20)
            assert await group.master_port() == group.replica.port
            await until_joined(one, two)
            await one.publish("a", b"after")
            await told.until(lambda all_: all_[-1:] == [b"after"])
            assert len(await group.replica.ask("PUBSUB", "CHANNELS")) >= 3


async def test_a_dead_sentinel_is_passed_over_and_an_unknown_service_is_none(tmp_path: Path) -> None:
    async with watched_redis(tmp_path) as group:
        with_dead = group.url.replace("://", f"://127.0.0.1:{free_port()},127.0.0.1:{free_port()},")
        await assert_joined(with_dead)
        await assert_refused(group.url.replace("/passerelle", "/autre"), "no sentinel")


async def test_instances_at_different_nodes_of_a_cluster_hear_each_other(tmp_path: Path) -> None:
    async with redis_cluster(tmp_path) as nodes:
        one_each = [cluster_url([node]) for node in nodes]
        async with joined(*one_each) as buses:
            heard = [Told() for _ in buses]
            for bus, told in zip(buses, heard, strict=True):
                await bus.subscribe("a", told.message, told.gap)
            for number, bus in enumerate(buses):
                await until_joined(*buses)
                await bus.publish("a", b"%d" % number)
            for told in heard:
                await told.until(lambda all_: sorted(map(str, all_)) == ["b'0'", "b'1'", "b'2'"])


async def test_when_a_node_of_a_cluster_dies_what_is_left_is_not_taken_for_a_whole(tmp_path: Path) -> None:
    """A cluster that lacks slots says so, and this instance says that it is not joined; it is again with the node."""
    async with redis_cluster(tmp_path) as nodes:
        async with joined(cluster_url(nodes), cluster_url(nodes)) as (one, two):
            told = Told()
            await two.subscribe("a", told.message, told.gap)
            await nodes[0].stop()
            await until(lambda: not one.health().is_joined and not two.health().is_joined, within_s=20)
            await nodes[0].start()
            await until_joined(one, two, within_s=20)
            await until_joined(one, two)
            await one.publish("a", b"after")
            await told.until(lambda all_: all_[-1:] == [b"after"])
