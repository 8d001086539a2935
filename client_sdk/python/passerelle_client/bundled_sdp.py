"""Descriptions as short as browsers write them. Pure.

aiortc repeats in every m-line the candidates of the one transport that all of them share, and the certificate's
fingerprint by three hashes: an answer to a room of thirty classes would be longer than the server takes.
"""

_OF_THE_TRANSPORT = ("a=candidate:", "a=end-of-candidates")
_OTHER_FINGERPRINTS = ("a=fingerprint:sha-384 ", "a=fingerprint:sha-512 ")
"""RFC 8122 section 5 asks for one; sha-256 is what everybody takes."""


def without_repetition(sdp: str) -> str:
    """Of m-lines that are bundled, the first alone (the tagged one) keeps the candidates (RFC 9143 section 7.1.3)."""
    bundled: list[str] = []
    kept: list[str] = []
    for section in _sections(sdp):
        mid = next((line.removeprefix("a=mid:") for line in section if line.startswith("a=mid:")), None)
        if mid is None:
            bundled = next((line.split()[1:] for line in section if line.startswith("a=group:BUNDLE ")), [])
        shares = mid in bundled[1:]
        left_out = (*_OF_THE_TRANSPORT, *_OTHER_FINGERPRINTS) if shares else _OTHER_FINGERPRINTS
        kept += [line for line in section if not line.startswith(left_out)]
    return "\r\n".join(kept) + "\r\n"


def _sections(sdp: str) -> list[list[str]]:
    """The head, then each m-line with what belongs to it."""
    sections: list[list[str]] = [[]]
    for line in sdp.splitlines():
        if line.startswith("m="):
            sections.append([])
        sections[-1].append(line)
    return sections
