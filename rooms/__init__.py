"""The domain: room, participants, permissions, lobby, documents.

Everything here is pure (no loop, socket, clock or database; time is an argument), except
`manager` and `documents.hub`, which await the contracts in `ports`.
"""
