"""STUN binding requests and responses, as an ICE-lite agent needs them (RFC 8489, RFC 8445).

Pure: bytes in, bytes out. Only what browsers send to a server that never asks: binding requests
with USERNAME, MESSAGE-INTEGRITY and perhaps USE-CANDIDATE. Everything else is refused by
`parse_binding_request`, cheaply, for anyone can send to the port.
"""

import hmac
import ipaddress
import struct
import zlib
from dataclasses import dataclass

_COOKIE = 0x2112A442
_COOKIE_BYTES = struct.pack(">I", _COOKIE)
_FINGERPRINT_XOR = 0x5354554E
_BINDING_REQUEST = 0x0001
_BINDING_SUCCESS = 0x0101

_USERNAME = 0x0006
_MESSAGE_INTEGRITY = 0x0008
_XOR_MAPPED_ADDRESS = 0x0020
_USE_CANDIDATE = 0x0025
_FINGERPRINT = 0x8028

_HEADER = struct.Struct(">HHI12s")
_ATTRIBUTE = struct.Struct(">HH")
_MAX_REQUEST_BYTES = 1_000
"""A browser's request has about 120 bytes; RFC 8489 section 6.1 keeps messages below the MTU."""


@dataclass(frozen=True, slots=True)
class BindingRequest:
    transaction_id: bytes
    local_ufrag: str
    """The part of USERNAME before the colon: whom it is for."""
    remote_ufrag: str
    nominates: bool
    """USE-CANDIDATE is there."""
    signed: bytes
    """What MESSAGE-INTEGRITY covers, the length field already set for it."""
    integrity: bytes

    def is_signed_with(self, password: bytes) -> bool:
        return hmac.compare_digest(self.integrity, hmac.digest(password, self.signed, "sha1"))


def is_stun(data: bytes | bytearray | memoryview, size: int) -> bool:
    """By the first byte (RFC 7983) and the magic cookie."""
    return size >= 20 and data[0] < 4 and data[4:8] == _COOKIE_BYTES


def parse_binding_request(data: bytes) -> BindingRequest:
    """Raises: ValueError for anything but a well-formed, signed binding request."""
    if not 20 <= len(data) <= _MAX_REQUEST_BYTES:
        raise ValueError("not a STUN message of usual size")
    kind, length, cookie, transaction_id = _HEADER.unpack_from(data)
    if kind != _BINDING_REQUEST or cookie != _COOKIE or length != len(data) - 20 or length % 4:
        raise ValueError("not a binding request")
    username = b""
    nominates = False
    position = 20
    while position + 4 <= len(data):
        attribute, size = _ATTRIBUTE.unpack_from(data, position)
        value = data[position + 4 : position + 4 + size]
        if len(value) != size:
            raise ValueError("attribute beyond the message")
        if attribute == _USERNAME:
            username = value
        elif attribute == _USE_CANDIDATE:
            nominates = True
        elif attribute == _MESSAGE_INTEGRITY:
            if size != 20:
                raise ValueError("integrity of the wrong size")
            # Attributes after MESSAGE-INTEGRITY are not covered, so they are not read (section 14.5).
            signed = data[:2] + struct.pack(">H", position + 4) + data[4:position]
            local, _, remote = username.decode("ascii").partition(":")
            return BindingRequest(transaction_id, local, remote, nominates, signed, value)
        position += 4 + size + (-size % 4)
    raise ValueError("not signed")


def _append(message: bytes, attribute: int, value: bytes) -> bytes:
    return message + _ATTRIBUTE.pack(attribute, len(value)) + value + bytes(-len(value) % 4)


def _with_length(message: bytes, extra: int) -> bytes:
    return message[:2] + struct.pack(">H", len(message) - 20 + extra) + message[4:]


def _xor_mapped_address(host: str, port: int, transaction_id: bytes) -> bytes:
    address = ipaddress.ip_address(host.partition("%")[0])
    pad = _COOKIE_BYTES + transaction_id
    packed = bytes(a ^ b for a, b in zip(address.packed, pad, strict=False))
    return struct.pack(">BBH", 0, 1 if address.version == 4 else 2, port ^ (_COOKIE >> 16)) + packed


def binding_response(request: BindingRequest, host: str, port: int, password: bytes) -> bytes:
    """The success response that tells the sender its own address as we see it."""
    message = _HEADER.pack(_BINDING_SUCCESS, 0, _COOKIE, request.transaction_id)
    message = _append(message, _XOR_MAPPED_ADDRESS, _xor_mapped_address(host, port, request.transaction_id))
    signature = hmac.digest(password, _with_length(message, 24), "sha1")
    message = _append(message, _MESSAGE_INTEGRITY, signature)
    message = _with_length(message, 8)
    return _append(message, _FINGERPRINT, struct.pack(">I", zlib.crc32(message) ^ _FINGERPRINT_XOR))


def binding_request(transaction_id: bytes, username: str, password: bytes, *, nominates: bool, priority: int) -> bytes:
    """A request as a browser would send it: for the load generator and the tests."""
    message = _HEADER.pack(_BINDING_REQUEST, 0, _COOKIE, transaction_id)
    message = _append(message, _USERNAME, username.encode("ascii"))
    message = _append(message, 0x0024, struct.pack(">I", priority))
    message = _append(message, 0x802A, transaction_id[:8])
    if nominates:
        message = _append(message, _USE_CANDIDATE, b"")
    signature = hmac.digest(password, _with_length(message, 24), "sha1")
    message = _append(message, _MESSAGE_INTEGRITY, signature)
    message = _with_length(message, 8)
    return _append(message, _FINGERPRINT, struct.pack(">I", zlib.crc32(message) ^ _FINGERPRINT_XOR))
