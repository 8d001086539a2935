"""The HTTP API: rooms, invitations, joining."""

import secrets
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import msgspec

from passerelle_client.errors import Disconnected, Refused
from passerelle_client.protocol import (
    ErrorAnswer,
    Invitation,
    InvitationList,
    InvitationRevoked,
    Joined,
    NetworkCheck,
    RoomCreated,
    RoomView,
)

T = TypeVar("T")
REQUEST_TIMEOUT_S = 15.0


class PasserelleApi:
    """One server's HTTP API; an async context manager, or `close()` it."""

    def __init__(self, url: str, *, session: aiohttp.ClientSession | None = None) -> None:
        self.url = url.rstrip("/")
        self._session = session
        self._owns_session = session is None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._owns_session and self._session is not None:
            await self._session.close()
            self._session = None

    async def create_room(
        self,
        name: str,
        *,
        kind: str = "interclass",
        host_name: str | None = None,
        api_key: str | None = None,
        request_id: str | None = None,
    ) -> RoomCreated:
        """Make a room and be its host. `request_id`: as for `join`. Raises: Refused, Disconnected."""
        body = _given(name=name, kind=kind, host_name=host_name)
        return await self._make_once("/api/rooms", RoomCreated, body, request_id, api_key)

    async def join(
        self,
        name: str,
        *,
        invitation: str | None = None,
        code: str | None = None,
        resume: str | None = None,
        request_id: str | None = None,
    ) -> Joined:
        """Turn an invitation or a join code into a participant. A `request_id` of your own (`secrets.token_hex(16)`,
        shown to nobody) lets you ask again after Disconnected, for ten minutes, and be one participant.
        Raises: Refused, Disconnected."""
        body = _given(name=name, invitation=invitation, code=code, resume=resume)
        return await self._make_once("/api/join", Joined, body, request_id)

    async def create_invitation(
        self,
        room_id: str,
        token: str,
        role: str,
        *,
        label: str = "",
        expires_in_s: int | None = None,
        uses: int | None = None,
        lobby: bool | None = None,
    ) -> Invitation:
        """Raises: Refused, Disconnected."""
        body = _given(role=role, label=label, expires_in_s=expires_in_s, uses=uses, lobby=lobby)
        return await self._request("POST", f"/api/rooms/{room_id}/invitations", Invitation, body=body, bearer=token)

    async def list_invitations(self, room_id: str, token: str) -> list[Invitation]:
        """Raises: Refused, Disconnected."""
        answer = await self._request("GET", f"/api/rooms/{room_id}/invitations", InvitationList, bearer=token)
        return answer.invitations

    async def revoke_invitation(self, room_id: str, token: str, invitation_id: str) -> bool:
        """Whoever came with it is out. False: a connection of theirs may still be open somewhere, on a server that
        does not answer now. Raises: Refused, Disconnected."""
        path = f"/api/rooms/{room_id}/invitations/{invitation_id}"
        answer = await self._request("DELETE", path, InvitationRevoked, bearer=token)
        return answer is None or answer.confirmed

    async def start_network_check(self) -> NetworkCheck:
        """What a school's network must let through, and where that can be tried. Raises: Refused, Disconnected."""
        return await self._request("POST", "/api/network-check", NetworkCheck, body={})

    async def get_room(self, room_id: str, token: str) -> RoomView:
        """Raises: Refused, Disconnected."""
        return await self._request("GET", f"/api/rooms/{room_id}", RoomView, bearer=token)

    async def _make_once(
        self, path: str, answer: type[T], body: dict[str, Any], request_id: str | None, bearer: str | None = None
    ) -> T:
        """Whatever carries the request may carry it twice."""
        known = body | {"request_id": request_id if request_id is not None else secrets.token_hex(16)}
        try:
            return await self._request("POST", path, answer, body=known, bearer=bearer)
        except Refused as refused:
            # An instance that was not upgraded yet refuses a field that it does not know, and cannot name it.
            if refused.code != "invalid" or refused.field is not None:
                raise
            return await self._request("POST", path, answer, body=body, bearer=bearer)

    async def _request(
        self, method: str, path: str, answer: type[T], *, body: Any = None, bearer: str | None = None
    ) -> T:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S))
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        try:
            async with self._session.request(method, self.url + path, json=body, headers=headers) as response:
                content = await response.read()
                if response.status >= 400:
                    raise _refusal(response.status, content)
                if not content:  # 204
                    return None  # type: ignore[return-value]
                return msgspec.json.decode(content, type=answer)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Disconnected(type(error).__name__) from error


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _refusal(status: int, content: bytes) -> Refused:
    try:
        error = msgspec.json.decode(content, type=ErrorAnswer).error
    except msgspec.MsgspecError:
        # Not ours: a proxy in between answered.
        return Refused("http-error", f"the server answered with status {status}")
    return Refused(error.code, error.message, error.field)
