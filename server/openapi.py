"""/api/openapi.json: OpenAPI 3.1, from the same types as the code."""

from typing import Any

import msgspec

from server.wire import http
from server.wire.common import ErrorAnswer
from server.wire.room import RoomView


def _reference(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}}}


_ERROR = {"description": "Refused: see the code.", "content": _reference(ErrorAnswer)}
_TOKEN: list[dict[str, list[str]]] = [{"joinToken": []}]
_SDP = {"application/sdp": {"schema": {"type": "string"}}}


def _operation(
    summary: str,
    *,
    body: type[msgspec.Struct] | None = None,
    answer: type[msgspec.Struct] | None = None,
    status: int = 200,
    security: list[dict[str, list[str]]] | None = None,
    parameters: tuple[str, ...] = (),
) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "Done."}
    if answer is not None:
        success["content"] = _reference(answer)
    operation: dict[str, Any] = {"summary": summary, "responses": {str(status): success, "default": _ERROR}}
    if body is not None:
        operation["requestBody"] = {"required": True, "content": _reference(body)}
    if security is not None:
        operation["security"] = security
    if parameters:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in parameters
        ]
    return operation


def _media(summary: str) -> dict[str, Any]:
    operation = _operation(summary, status=201, security=_TOKEN, parameters=("room",))
    operation["requestBody"] = {"required": True, "content": _SDP}
    operation["responses"]["201"] = {
        "description": "The answer.",
        "content": _SDP,
        "headers": {"Location": {"schema": {"type": "string"}, "description": "DELETE it to end."}},
    }
    return operation


def describe_api(version: str) -> dict[str, Any]:
    """The whole document."""
    roots = (
        http.CreateRoom, http.RoomCreated, http.CreateInvitation, http.Invitation, http.InvitationList,
        http.Join, http.Joined, RoomView, ErrorAnswer,
    )  # fmt: skip
    _references, schemas = msgspec.json.schema_components(roots, ref_template="#/components/schemas/{name}")
    room = ("room",)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Passerelle", "version": version, "license": {"name": "Apache-2.0"}},
        "paths": {
            "/api/rooms": {
                "post": _operation(
                    "Make a room and be its host.",
                    body=http.CreateRoom,
                    answer=http.RoomCreated,
                    status=201,
                    security=[{"apiKey": []}, {}],
                )
            },
            "/api/rooms/{room}": {
                "get": _operation(
                    "The room as its bearer may see it.", answer=RoomView, security=_TOKEN, parameters=room
                )
            },
            "/api/rooms/{room}/invitations": {
                "get": _operation("Every invitation.", answer=http.InvitationList, security=_TOKEN, parameters=room),
                "post": _operation(
                    "Make an invitation: a link and a join code.",
                    body=http.CreateInvitation,
                    answer=http.Invitation,
                    status=201,
                    security=_TOKEN,
                    parameters=room,
                ),
            },
            "/api/rooms/{room}/invitations/{invitation}": {
                "delete": _operation(
                    "Revoke it; who came with it is out at once.",
                    status=204,
                    security=_TOKEN,
                    parameters=("room", "invitation"),
                )
            },
            "/api/join": {
                "post": _operation("Turn an invitation into a participant.", body=http.Join, answer=http.Joined)
            },
            "/whip/{room}": {"post": _media("Publish by HTTP (RFC 9725).")},
            "/whep/{room}": {"post": _media("Watch by HTTP (draft-ietf-wish-whep).")},
            "/healthz": {"get": _operation("The process lives.")},
            "/readyz": {"get": _operation("The process can serve; 503 says what is missing.")},
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "joinToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "apiKey": {"type": "http", "scheme": "bearer"},
            },
        },
    }
