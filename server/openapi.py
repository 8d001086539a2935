"""/api/openapi.json: OpenAPI 3.1, from the same types as the code."""

from typing import Any

import msgspec

from server.error_answers import STATUS
from server.wire import http
from server.wire.common import ErrorAnswer
from server.wire.room import RoomView

Security = list[dict[str, list[str]]]

_BODIES = (
    http.CreateRoom, http.RoomCreated, http.CreateInvitation, http.Invitation, http.InvitationList,
    http.InvitationRevoked, http.Join, http.Joined, http.MediaGatewayList,
    http.StartNetworkCheck, http.NetworkCheck, RoomView, ErrorAnswer,
)  # fmt: skip
_TOKEN: Security = [{"joinToken": []}]
_API_KEY_OR_THIS_MACHINE: Security = [{"apiKey": []}, {}]
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_SDP = {"application/sdp": {"schema": {"type": "string"}}}


def _reference(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}}}


_ERROR = {"description": "Refused: `error.code` says why.", "content": _reference(ErrorAnswer)}


def _operation(
    summary: str,
    *,
    body: type[msgspec.Struct] | None = None,
    answer: type[msgspec.Struct] | None = None,
    status: int = 200,
    security: Security | None = None,
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


def _rooms() -> dict[str, Any]:
    room = ("room",)
    return {
        "/api/rooms": {
            "post": _operation(
                "Make a room and be its host.",
                body=http.CreateRoom, answer=http.RoomCreated, status=201, security=_API_KEY_OR_THIS_MACHINE,
            )
        },
        "/api/rooms/{room}": {
            "get": _operation("The room as its bearer may see it.", answer=RoomView, security=_TOKEN, parameters=room)
        },
        "/api/rooms/{room}/invitations": {
            "get": _operation("Every invitation.", answer=http.InvitationList, security=_TOKEN, parameters=room),
            "post": _operation(
                "Make an invitation: a link and a join code.",
                body=http.CreateInvitation, answer=http.Invitation, status=201, security=_TOKEN, parameters=room,
            ),
        },
        "/api/rooms/{room}/invitations/{invitation}": {
            "delete": _operation(
                "Revoke it; who came with it is out at once.",
                status=204, security=_TOKEN, parameters=("room", "invitation"),
            )
        },
        "/api/join": {
            "post": _operation("Turn an invitation into a participant.", body=http.Join, answer=http.Joined)
        },
    }  # fmt: skip


def _media(kind: str, summary: str) -> dict[str, Any]:
    begin = _operation(summary, status=201, security=_TOKEN, parameters=("room",))
    begin["requestBody"] = {"required": True, "content": _SDP}
    begin["responses"]["201"] = {
        "description": "The answer, with every candidate.",
        "content": _SDP,
        "headers": {"Location": {"schema": {"type": "string"}, "description": "DELETE it to end."}},
    }
    session = ("room", "session")
    return {
        f"/{kind}/{{room}}": {
            "post": begin,
            "options": _operation("What an offer must be (Accept-Post).", status=204, parameters=("room",)),
        },
        f"/{kind}/{{room}}/{{session}}": {
            "delete": _operation("End the session.", security=_TOKEN, parameters=session),
            "patch": _operation("Refused (405): nothing trickles.", status=405, security=_TOKEN, parameters=session),
        },
    }


def _sockets() -> dict[str, Any]:
    yjs = _operation("A WebSocket of y-websocket's protocol.", status=101, parameters=("room", "document"))
    yjs["parameters"] += [
        {"name": "token", "in": "query", "required": True, "schema": {"type": "string"}},
        {"name": "ack", "in": "query", "schema": {"enum": ["1"]}, "description": "Send `saved` and `unsaved`."},
    ]
    return {"/yjs/{room}/{document}": {"get": yjs}}


def _network_check() -> dict[str, Any]:
    download = _operation("Bytes to measure a line with.")
    download["responses"]["200"] = {"description": "Bytes that mean nothing.", "content": _BYTES}
    upload = _operation("Bytes to measure a line with; they go nowhere.", status=204)
    upload["requestBody"] = {"required": True, "content": _BYTES}
    return {
        "/api/network-check": {
            "post": _operation(
                "What to try before a visit.", body=http.StartNetworkCheck, answer=http.NetworkCheck
            )
        },
        "/api/network-check/bytes": {"get": download, "post": upload},
    }  # fmt: skip


def _gateways() -> dict[str, Any]:
    gateway = ("gateway",)
    return {
        "/api/media/gateways": {
            "get": _operation(
                "The Janus gateways.", answer=http.MediaGatewayList, security=_API_KEY_OR_THIS_MACHINE
            )
        },
        "/api/media/gateways/{gateway}/drain": {
            "put": _operation(
                "No new room goes there.", status=204, security=_API_KEY_OR_THIS_MACHINE, parameters=gateway
            ),
            "delete": _operation(
                "Rooms may go there again.", status=204, security=_API_KEY_OR_THIS_MACHINE, parameters=gateway
            ),
        },
    }  # fmt: skip


def _operations() -> dict[str, Any]:
    return {
        "/healthz": {"get": _operation("The process lives.")},
        "/readyz": {"get": _operation("The process can serve; 503 says what is missing.")},
        "/metrics": {"get": _operation("Figures, in Prometheus' text format.")},
        "/api/openapi.json": {"get": _operation("This description.")},
    }


def describe_api(version: str) -> dict[str, Any]:
    """The whole document."""
    _references, schemas = msgspec.json.schema_components(_BODIES, ref_template="#/components/schemas/{name}")
    # Not an enum of the type itself: a client must bear the codes of a newer server.
    schemas["ErrorBody"]["properties"]["code"]["examples"] = sorted(STATUS)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Passerelle", "version": version, "license": {"name": "Apache-2.0"}},
        "paths": {
            **_rooms(),
            **_sockets(),
            **_media("whip", "Publish by HTTP (RFC 9725)."),
            **_media("whep", "Watch by HTTP (draft-ietf-wish-whep)."),
            **_network_check(),
            **_gateways(),
            **_operations(),
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "joinToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "apiKey": {"type": "http", "scheme": "bearer"},
            },
        },
    }
