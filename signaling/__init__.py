"""WebRTC: negotiation, ICE and TURN credentials, media engines."""
