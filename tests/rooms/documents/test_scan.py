"""The scan reads all that Yjs writes, refuses the rest, and costs little either way."""

import base64
import gzip
import json
import random

import pycrdt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rooms.documents.encoding import var_string, var_uint
from rooms.documents.errors import MalformedMessage
from rooms.documents.json_value import check_json
from rooms.documents.limits import MAX_VALUE_DEPTH
from rooms.documents.scan import scan_update
from rooms.documents.sync import read_state_vector
from tests.rooms.documents.hostile import MALFORMED, in_root, struct_update
from tests.support.deadlines import least_cpu_s
from tests.support.documents import generated_updates
from tests.support.traces import trace_folder


def rich_updates() -> list[bytes]:
    """Every content kind that editors use, from pycrdt."""
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc(client_id=7)
    updates: list[bytes] = []
    subscription = doc.observe(lambda event: updates.append(event.update))
    text = doc.get("text", type=pycrdt.Text)
    text += "é📊 plain"
    text.insert(0, "bold", attrs={"bold": True, "link": {"href": "x"}})
    text.insert_embed(2, {"image": [1, None, -5, 1.5]})
    text.format(0, 2, {"bold": None})
    mapping = doc.get("map", type=pycrdt.Map)
    mapping["n"] = 2**60
    mapping["b"] = b"bytes"
    mapping["deep"] = {"a": [True, False, None, -1, 1.5, {"b": "c"}]}
    mapping["nested"] = pycrdt.Map({"x": pycrdt.Array([1, 2, "drei"])})
    del mapping["n"]
    fragment = doc.get("xml", type=pycrdt.XmlFragment)
    element = fragment.children.append(pycrdt.XmlElement("paragraph"))
    element.attributes["level"] = "1"
    element.children.append(pycrdt.XmlText("words"))
    del text[0:5]  # bytes: "bo", the embed, "ld"
    doc.unobserve(subscription)
    return [*updates, doc.get_update()]


def recorded_mixtures() -> list[bytes]:
    folder = trace_folder()
    if folder is None:
        print("the recorded mixtures are not here; updates made by pycrdt are used")
        return []
    paths = sorted(folder.glob("mixed-*.json.gz"))
    return [base64.b64decode(u) for path in paths for u in json.loads(gzip.decompress(path.read_bytes()))["updates"]]


REAL = rich_updates()


def test_reach_of_real_updates_agrees_with_the_engine() -> None:
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    clocks: dict[int, int] = {}
    for update in REAL:
        scan = scan_update(update)
        assert scan.is_covered_by(clocks)
        doc.apply_update(update)
        for client, _start, end in scan.writes:
            clocks[client] = max(end, clocks.get(client, 0))
        assert clocks == read_state_vector(doc.get_state())


def test_recorded_mixtures_of_yjs_and_pycrdt_are_read() -> None:
    for update in recorded_mixtures() or REAL:
        scan_update(update)


def test_characters_outside_the_basic_plane_count_twice() -> None:
    assert scan_update(struct_update(in_root(4, var_string("é📊"))))  # é is one, 📊 is two
    assert scan_update(struct_update(in_root(4, var_string("é📊")))).writes == [(1, 0, 3)]


def test_needs_and_deletes_are_told() -> None:
    origin = b"\xc4" + var_uint(2) + var_uint(9) + var_uint(3) + var_uint(4) + var_string("x")
    update = b"\x01\x01" + var_uint(1) + var_uint(5) + origin + b"\x01" + var_uint(8) + b"\x01" + var_uint(2) + b"\x03"
    scan = scan_update(update)
    assert (scan.writes, scan.needs, scan.deletes) == ([(1, 5, 6)], {2: 10, 3: 5}, [(8, 2, 5)])
    assert scan.is_covered_by({1: 5, 2: 10, 3: 5, 8: 5})
    for lacking in ({1: 4}, {2: 9}, {3: 4}, {8: 4}):
        assert not scan.is_covered_by({1: 5, 2: 10, 3: 5, 8: 5} | lacking)
    assert scan.writes_beyond({1: 5}) == [1]
    assert scan.writes_beyond({1: 6}) == []


def test_a_hole_begins_a_new_range() -> None:
    one = in_root(4, var_string("ab"))
    update = struct_update(one + b"\x0a\x03" + one, count=3)
    scan = scan_update(update)
    assert scan.writes == [(1, 0, 2), (1, 5, 7)]
    assert not scan.is_covered_by({1: 2})
    assert scan.is_covered_by({1: 5})


@pytest.mark.parametrize("name", MALFORMED)
def test_hostile_updates_are_refused_at_no_cost(name: str) -> None:
    def refuse() -> None:
        with pytest.raises(MalformedMessage):
            scan_update(MALFORMED[name])

    assert least_cpu_s(refuse) < 0.5


def test_values_as_deep_as_the_limit_pass() -> None:
    value = b"\x75\x01" * MAX_VALUE_DEPTH + b"\x7e"
    assert scan_update(struct_update(in_root(8, b"\x01" + value)))
    check_json("[" * MAX_VALUE_DEPTH + "]" * MAX_VALUE_DEPTH, MAX_VALUE_DEPTH)
    check_json(json.dumps(["[{" * 500, '"[{' * 500, "\\"]), MAX_VALUE_DEPTH)
    with pytest.raises(MalformedMessage):
        check_json("[" * (MAX_VALUE_DEPTH + 1) + "]" * (MAX_VALUE_DEPTH + 1), MAX_VALUE_DEPTH)


@pytest.mark.parametrize("around", ["", " ", "\r\n\t "])
def test_white_space_around_json_is_nothing_and_anything_else_is_refused(around: str) -> None:
    for text in ('{"a": [1, null]}', "[1]", '"x"', "true"):
        check_json(around + text + around, MAX_VALUE_DEPTH)
        for wrong in (f"{around}{text}{around}x", f"{text}{around}{text}", f"{text}{around}\u00a0", text[:-1] + "\0"):
            with pytest.raises(MalformedMessage):
                check_json(wrong, MAX_VALUE_DEPTH)


@pytest.mark.parametrize("text", ['"\\' * 200_000, '"' * 400_001, "[" * 400_000, '{"' * 200_000])
def test_json_that_is_none_is_refused_in_linear_time(text: str) -> None:
    def refuse() -> None:
        with pytest.raises(MalformedMessage):
            check_json(text, MAX_VALUE_DEPTH)

    assert least_cpu_s(refuse) < 0.5


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_else(data: bytes) -> None:
    try:
        scan_update(data)
    except MalformedMessage:
        pass


@settings(max_examples=400)
@given(st.integers(0, 2**32), st.sampled_from(range(len(REAL))))
def test_mutated_updates_raise_nothing_else(seed: int, index: int) -> None:
    chance = random.Random(seed)
    data = bytearray(REAL[index])
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                del data[at:]
            case 2:
                data[at:at] = chance.choice(REAL)[: chance.randrange(40)]
            case 3:
                data[at : at + 1] = var_uint(chance.choice((2**20, 2**40, 2**55)))
        if not data:
            break
    try:
        scan_update(bytes(data))
    except MalformedMessage:
        pass


def test_one_typed_character_is_scanned_in_microseconds() -> None:
    updates = generated_updates(seed=3, count=2_000)
    assert least_cpu_s(lambda: [scan_update(update) for update in updates]) / len(updates) < 50e-6
