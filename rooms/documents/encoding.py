"""lib0 encoding, bounded: the few primitives that the Yjs wire format is made of.

Source: lib0 `encoding.js` / `decoding.js`. Stricter than those: exact lengths, numbers of at most eight
bytes, no trailing bytes. A number that never ends costs eight steps, not its length.
"""

from typing import Final

from rooms.documents.errors import MalformedMessage

MAX_VAR_UINT_BYTES: Final = 8
"""Eight bytes of seven bits hold every JavaScript integer (53 bits)."""


def var_uint(number: int) -> bytes:
    """lib0 varUint: seven bits a byte, the lowest first, the high bit set on all but the last."""
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number > 0x7F:
        out.append(0x80 | (number & 0x7F))
        number >>= 7
    out.append(number)
    return bytes(out)


def var_bytes(data: bytes) -> bytes:
    """lib0 varUint8Array: length (varUint), then the bytes."""
    return var_uint(len(data)) + data


def var_string(text: str) -> bytes:
    """lib0 varString: length in bytes (varUint), then UTF-8."""
    return var_bytes(text.encode())


class BoundedReader:
    """Reads one message from its start to its end. Every method raises MalformedMessage when the
    bytes are not what it is asked for; call `end` last."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data = data
        self._at = at

    def var_uint(self) -> int:
        data, at, number = self._data, self._at, 0
        if at < len(data) and data[at] < 0x80:  # most are of one byte
            self._at = at + 1
            return data[at]
        for shift in range(0, 7 * MAX_VAR_UINT_BYTES, 7):
            if at >= len(data):
                raise MalformedMessage("truncated number")
            byte = data[at]
            at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                self._at = at
                return number
        raise MalformedMessage("number of more than eight bytes")

    def var_bytes(self) -> bytes:
        """A copy of the bytes."""
        length = self.var_uint()
        start, end = self._at, self._at + length
        if end > len(self._data):
            raise MalformedMessage("length beyond the end")
        self._at = end
        return self._data[start:end]

    def var_string(self) -> str:
        try:
            return self.var_bytes().decode()
        except UnicodeDecodeError as error:
            raise MalformedMessage("text that is not UTF-8") from error

    def end(self) -> None:
        if self._at != len(self._data):
            raise MalformedMessage("bytes after the end")
