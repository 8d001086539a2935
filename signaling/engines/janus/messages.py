"""What a gateway says: the Janus API's messages and the VideoRoom's, as far as we read them.

Source: Janus 1.1, "WebSockets Janus interface" and "VideoRoom plugin documentation". Unknown fields
are ignored; a field of another type is a gateway we cannot talk to.
"""

from typing import Any

import msgspec

VIDEOROOM = "janus.plugin.videoroom"
SUBPROTOCOL = "janus-protocol"

NO_SUCH_ROOM = 426
NO_SUCH_FEED = 428
INVALID_SDP_CODES = frozenset({431, 437, 464, 465, 469})
"""What says that the description is at fault, not the gateway: the core's (464, 465, 469) and the
VideoRoom's (431 unknown type, 437 invalid SDP)."""


class Identifier(msgspec.Struct):
    id: int


class Failure(msgspec.Struct):
    code: int
    reason: str = ""


class Jsep(msgspec.Struct):
    type: str
    sdp: str


class PluginData(msgspec.Struct):
    data: dict[str, Any] = {}


class FromJanus(msgspec.Struct):
    """One message of the gateway."""

    janus: str
    transaction: str | None = None
    sender: int | None = None
    """The handle that it is about."""
    data: Identifier | None = None
    plugindata: PluginData | None = None
    jsep: Jsep | None = None
    error: Failure | None = None
    reason: str | None = None

    @property
    def plugin(self) -> dict[str, Any]:
        """The VideoRoom's part; empty when there is none."""
        return self.plugindata.data if self.plugindata is not None else {}


class Simulcast(msgspec.Struct, rename="kebab"):
    """Of a subscribed stream whose publisher sends layers."""

    substream_target: int
    """The layer that is sent when it comes, 0 the smallest."""


class SubscribedStream(msgspec.Struct):
    """An m-line of a subscription, as the VideoRoom lists them in `attached` and `updated`."""

    mid: str
    active: bool = False
    feed_id: int | None = None
    feed_mid: str | None = None
    send: bool = True
    """Whether its packets go to the subscriber now."""
    simulcast: Simulcast | None = None


class Streams(msgspec.Struct):
    streams: list[SubscribedStream] | None = None


def subscribed_streams(plugin: dict[str, Any]) -> list[SubscribedStream] | None:
    """None: the message lists none. Raises: msgspec.ValidationError."""
    return msgspec.convert(plugin, Streams).streams
