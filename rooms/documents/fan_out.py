"""Send one message to many readers: each transport adapter encodes it once."""

from collections.abc import Iterable

from rooms.documents.reader import FanOut, Reader


def broadcast(readers: Iterable[Reader], message: bytes) -> int:
    """To each reader, once; how many they were."""
    count = 0
    groups: dict[FanOut, list[Reader]] = {}
    for reader in readers:
        count += 1
        fan_out: FanOut | None = getattr(reader, "fan_out", None)
        if fan_out is None:
            reader.send(message)
        else:
            groups.setdefault(fan_out, []).append(reader)
    for fan_out, group in groups.items():
        fan_out.broadcast(group, message)
    return count
