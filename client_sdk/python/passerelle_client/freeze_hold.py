"""Between peers no server can keep anyone silent: while the room is frozen each of us sends nothing, and takes nothing
of who is not in charge. With a server's engine the server does it. (docs/protocol.md, no adult, no room)"""

from passerelle_client.protocol import RoomView
from passerelle_client.room_view import is_frozen


def is_held(view: RoomView | None, engine: str | None, participant_id: str) -> bool:
    """Whether nothing that this participant sends may be heard or seen now."""
    if view is None or engine != "p2p" or not is_frozen(view):
        return False
    return not any(person.id == participant_id and person.role == "host" for person in view.participants)
