"""The domain: room, participants, permissions, lobby, documents.

Everything here is pure (no loop, socket, clock or database; time is an argument), except the shells:
`manager` with `loaded_rooms` and `invitation_book`, and `documents.hub`, which await the contracts in
`ports`.
"""
