"""The encoding of y-protocols messages and Yjs updates (lib0): numbers and lengths."""


class MalformedMessage(ValueError):
    """Bytes that this protocol does not know."""


def write_var_uint(number: int) -> bytes:
    """varUint: seven bits a byte, the lowest first."""
    out = bytearray()
    while number > 0x7F:
        out.append(0x80 | (number & 0x7F))
        number >>= 7
    out.append(number)
    return bytes(out)


def read_var_uint(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, and where it ends. Raises: MalformedMessage."""
    number = 0
    for shift in range(0, 56, 7):
        if at >= len(data):
            raise MalformedMessage("truncated number")
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise MalformedMessage("number too long")


def read_var_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    """Length-prefixed bytes at `at`, and where they end. Raises: MalformedMessage."""
    length, at = read_var_uint(data, at)
    if at + length > len(data):
        raise MalformedMessage("truncated bytes")
    return data[at : at + length], at + length


def var_bytes(data: bytes) -> bytes:
    """varUint8Array: a length and so many bytes."""
    return write_var_uint(len(data)) + data


class Reader:
    """Walks over encoded values. Every method raises MalformedMessage at the end of the data."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def number(self) -> int:
        number, self.at = read_var_uint(self.data, self.at)
        return number

    def byte(self) -> int:
        self.skip(1)
        return self.data[self.at - 1]

    def skip(self, count: int) -> None:
        if self.at + count > len(self.data):
            raise MalformedMessage("truncated")
        self.at += count

    def bytes_(self) -> bytes:
        """varUint8Array, and varString before it is decoded."""
        value, self.at = read_var_bytes(self.data, self.at)
        return value
