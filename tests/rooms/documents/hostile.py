"""Updates made to harm: `MALFORMED` the scan refuses, `BREAKING` only the engine notices."""

from rooms.documents.encoding import var_bytes, var_string, var_uint

NO_DELETES = b"\x00"


def struct_update(structs: bytes, *, count: int = 1, client: int = 1, clock: int = 0) -> bytes:
    return b"\x01" + var_uint(count) + var_uint(client) + var_uint(clock) + structs + NO_DELETES


def in_root(content: int, body: bytes) -> bytes:
    """An item at the head of the root type "text"."""
    return bytes([content]) + b"\x01" + var_string("text") + body


MALFORMED = {
    "nothing": b"",
    "2^31 clients": var_uint(2**31) + b"\x00",
    "2^31 structs": b"\x01" + var_uint(2**31) + b"\x01\x00",
    "no structs": b"\x01\x00\x01\x00\x00",
    "2^31 deletes": b"\x00" + b"\x01\x01" + var_uint(2**31),
    "200 million in four bytes": var_uint(200_000_000),
    "Any array of 2^40": struct_update(in_root(8, var_uint(2**40))),
    "Any nested deep": struct_update(in_root(8, b"\x01" + b"\x75\x01" * 50_000 + b"\x7e")),
    "Any object nested deep": struct_update(in_root(8, b"\x01" + b"\x76\x01\x01a" * 50_000 + b"\x7e")),
    "JSON nested deep": struct_update(in_root(5, var_string("[" * 200_000 + "]" * 200_000))),
    "JSON that browsers refuse": struct_update(in_root(5, var_string("NaN"))),
    "JSON that is none": struct_update(in_root(2, b"\x01" + var_string("{"))),
    "format without JSON": struct_update(in_root(6, var_string("bold") + var_string("yes"))),
    "subdocument": struct_update(in_root(9, var_string("guid") + b"\x76\x00")),
    "a move of the engine": struct_update(in_root(11, b"\x00\x00")),
    "weak link": struct_update(in_root(7, b"\x07")),
    "overlong type": struct_update(in_root(7, b"\x80\x00")),
    "empty text": struct_update(in_root(4, b"\x00")),
    "empty deletion": struct_update(b"\x00\x00"),
    "text that is not UTF-8": struct_update(in_root(4, var_bytes(b"\xff\xfe"))),
    "client id above 2^53": struct_update(in_root(4, var_string("x")), client=2**53),
    "clock above 2^31": struct_update(in_root(4, var_string("x")), clock=2**31),
    "deleted beyond 2^31": b"\x00\x01\x01\x01" + var_uint(2**31 - 1) + b"\x05",
    "refers to itself": struct_update(b"\x84\x01\x00" + var_string("x")),
    "refers to its future": struct_update(b"\x84\x01\x09" + var_string("x")),
    "a client id twice": b"\x02" + 2 * (b"\x01\x01\x00" + in_root(4, var_string("x"))) + NO_DELETES,
    "endless number": b"\xff" * 100_000,
    "bytes after the end": b"\x00\x00\x00",
    "unknown parent": struct_update(b"\x04\x02" + var_string("x")),
    "flagged hole": struct_update(b"\x8a\x01"),
    "flagged deletion": struct_update(b"\x80\x01"),
}


def parent_is_a_letter() -> bytes:
    """An item whose parent is no shared type: decodable, and the engine refuses it half-way."""
    letter = b"\x04\x01" + var_string("text") + var_string("a")
    child = b"\x04\x00" + var_uint(1) + var_uint(0) + var_string("b")
    return b"\x01\x02\x01\x00" + letter + child + b"\x00"


BREAKING = {
    "parent that is a letter": parent_is_a_letter(),
    "circle": b"\x02"
    + (b"\x01\x01\x00\x84\x02\x00" + var_string("x"))
    + (b"\x01\x02\x00\x84\x01\x00" + var_string("y"))
    + b"\x00",
}


def lurking(client: int, of: int, clock: int) -> bytes:
    """Sound, and waits for that letter of another client, to break the engine when it comes: a child of a letter."""
    child = b"\x04\x00" + var_uint(of) + var_uint(clock) + var_string("b")
    return struct_update(child, client=client)


def lurking_circle(client: int, of: int, clock: int) -> bytes:
    """Two items that refer to each other, and one of them to that letter: they wait for ever."""
    one = b"\xc4" + var_uint(client + 1) + b"\x00" + var_uint(of) + var_uint(clock) + var_string("x")
    other = b"\x84" + var_uint(client) + b"\x00" + var_string("y")
    blocks = [b"\x01" + var_uint(client) + b"\x00" + one, b"\x01" + var_uint(client + 1) + b"\x00" + other]
    return b"\x02" + b"".join(blocks) + NO_DELETES
