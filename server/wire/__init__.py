"""The wire protocol, written once.

Every message that crosses the network is a msgspec type in this package or in
`signaling.messages`; `docs/protocol.md` explains each one. JSON Schema, the TypeScript types and
the Python client's types are generated from here (`make generate`), and a test fails when the
generated files are not up to date.
"""
