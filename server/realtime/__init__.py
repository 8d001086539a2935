"""Socket.IO: the room, its documents and its signaling over one connection."""
