"""The `sfu` engine: RTP forwarded, never decoded, in worker processes apart from the web process.

`engine` is the web process's half, `worker` the other; between them `control`. In the worker, `hub`
holds `room`s, a room `session`s, a session a `publish` and a `subscribe` connection on a
`transport`, all on one port (`udp`). Packets go from `publish` through `published` tracks and their
layers to lines (`forwarder`) of `subscribe`, which asks `layers` and `bandwidth` what to send. Pure, and
tested without a loop: `rtp`, `rtcp`, `vp8`, `h264`, `rewrite`, `loss`, `packet_cache`, `keyframes`,
`speakers`, `codecs`, `sdp`, `stun`, `ice`, `pacing`, `placement`, `published`, `forwarder`, `layers`,
`bandwidth`. aiortc's private parts are used in `aiortc_seams` only.
"""

from signaling.engines.sfu.engine import SfuEngine

__all__ = ["SfuEngine"]
