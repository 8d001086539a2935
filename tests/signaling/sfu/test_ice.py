"""The ICE-lite agent and its STUN messages, against aioice's own."""

import pytest
from aioice import stun as aioice_stun
from hypothesis import given
from hypothesis import strategies as st

from signaling.engines.sfu.ice import CONNECT_S, MAX_ADDRESSES, SILENCE_S, IceLite
from signaling.engines.sfu.stun import binding_request, is_stun, parse_binding_request

TRANSACTION = b"0123456789ab"


def _check(agent: IceLite, source: str, now: float, *, nominates: bool = False, password: str | None = None) -> object:
    key = (password or agent.password).encode()
    data = binding_request(TRANSACTION, f"{agent.ufrag}:peer", key, nominates=nominates, priority=1)
    return agent.receive_check(parse_binding_request(data), source, "192.0.2.1", 4_000, now)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::7"])
def test_requests_and_responses_agree_with_aioice(host: str) -> None:
    agent = IceLite(0.0)
    request = aioice_stun.Message(aioice_stun.Method.BINDING, aioice_stun.Class.REQUEST)
    request.attributes["USERNAME"] = f"{agent.ufrag}:peer"
    request.attributes["PRIORITY"] = 5
    request.attributes["USE-CANDIDATE"] = None
    request.add_message_integrity(agent.password.encode())
    data = bytes(request)
    assert is_stun(data, len(data))
    answer = agent.receive_check(parse_binding_request(data), "source", host, 4_000, 0.0)
    assert answer is not None
    response = aioice_stun.parse_message(answer.response)
    assert response.transaction_id == request.transaction_id
    assert response.attributes["XOR-MAPPED-ADDRESS"] == (host, 4_000)
    assert response.check_message_integrity(agent.password.encode())


def test_our_own_request_agrees_with_aioice() -> None:
    message = aioice_stun.parse_message(binding_request(TRANSACTION, "a:b", b"secret", nominates=True, priority=7))
    assert message.check_message_integrity(b"secret")
    assert "USE-CANDIDATE" in message.attributes


def test_a_check_with_a_wrong_password_is_not_answered() -> None:
    agent = IceLite(0.0)
    assert _check(agent, "a", 0.0, password="x" * 22) is None
    assert agent.selected is None
    assert _check(agent, "a", 0.0) is not None


def test_a_check_of_another_peer_is_not_answered() -> None:
    agent = IceLite(0.0)
    agent.set_remote_ufrag("other")
    assert _check(agent, "a", 0.0) is None
    agent.set_remote_ufrag("peer")
    assert _check(agent, "a", 0.0) is not None


def test_the_nominated_address_is_followed() -> None:
    agent = IceLite(0.0)
    _check(agent, "wifi", 0.0)
    assert agent.selected == "wifi"
    _check(agent, "cable", 0.1)
    assert agent.selected == "wifi"
    _check(agent, "cable", 0.2, nominates=True)
    assert agent.selected == "cable"


def test_a_silent_peer_is_lost_and_a_living_one_is_not() -> None:
    agent = IceLite(0.0)
    assert not agent.is_lost(CONNECT_S)
    assert agent.is_lost(CONNECT_S + 0.1)
    _check(agent, "a", 100.0)
    assert not agent.is_lost(100.0 + SILENCE_S)
    assert agent.is_lost(100.0 + SILENCE_S + 0.1)
    agent.heard(110.0)
    assert not agent.is_lost(110.0 + SILENCE_S)


def test_addresses_are_bounded_and_the_selected_one_is_kept() -> None:
    agent = IceLite(0.0)
    _check(agent, "home", 0.0, nominates=True)
    for number in range(50):
        _check(agent, f"elsewhere-{number}", 0.0)
    assert len(agent.addresses) == MAX_ADDRESSES
    assert "home" in agent.addresses
    assert agent.selected == "home"


def test_changed_requests_are_not_signed() -> None:
    agent = IceLite(0.0)
    data = binding_request(TRANSACTION, f"{agent.ufrag}:peer", agent.password.encode(), nominates=True, priority=1)
    for place in range(8, len(data) - 40):
        mangled = data[:place] + bytes((data[place] ^ 1,)) + data[place + 1 :]
        try:
            request = parse_binding_request(mangled)
        except ValueError:
            continue
        assert agent.receive_check(request, "a", "192.0.2.1", 1, 0.0) is None


@given(st.binary(max_size=150))
def test_nothing_but_value_error_comes_of_any_bytes(data: bytes) -> None:
    whole = b"\x00\x01" + (len(data) - len(data) % 4).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12) + data
    for candidate in (data, whole[: 20 + len(data) - len(data) % 4]):
        try:
            parse_binding_request(candidate)
        except ValueError:
            pass
