"""Which track a session may publish, whatever the engine."""

from typing import Literal

from signaling.engines import MediaGrants
from signaling.messages import TrackSource

KIND_OF_SOURCE: dict[TrackSource, Literal["audio", "video"]] = {
    "camera": "video",
    "microphone": "audio",
    "screen": "video",
    "screen_audio": "audio",
}


def is_granted(source: TrackSource, grants: MediaGrants) -> bool:
    match source:
        case "camera":
            return grants.publish_video
        case "microphone":
            return grants.publish_audio and grants.sound
        case "screen_audio":
            return grants.publish_screen and grants.sound
        case _:
            return grants.publish_screen
