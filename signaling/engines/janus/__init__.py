"""The `janus` engine: rooms on a pool of Janus gateways, by their VideoRoom plugin.

`engine.JanusEngine` implements the contract; a `node.JanusNode` is one gateway, connected by
`connection.JanusConnection`; a `room.Room` lives on one node and has `session.Session`s, each with a
`publish` and a `subscribe` handle. Nothing outside this folder knows Janus.
"""

from signaling.engines.janus.engine import JanusEngine

__all__ = ["JanusEngine"]
