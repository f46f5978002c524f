"""What keeps the server from strangers, and from readers that do not read."""

import asyncio
import ipaddress
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws://{host}; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
}


class Guard:
    """ASGI middleware: refuses with 403 whatever does not come from the page that ``ser live`` printed.

    Args:
        app: What is guarded.
        token: Must stand in the query as ``token``.
        is_own_host: Whether a ``Host`` is a name of this server.
        most: Requests and microphones at a time; requests without the token do not count.
    """

    def __init__(self, app: ASGIApp, token: str, is_own_host: Callable[[str], bool], most: int) -> None:
        self.app = app
        self._token = token.encode()
        self._is_own_host = is_own_host
        self._most, self._inside = most, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses, or passes on; headers that keep the page to itself are put on every answer."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        problem, host = self._problem(scope)
        if problem is None and self._inside < self._most:
            self._inside += 1
            try:
                await self.app(scope, receive, _with_headers(send, host))
            finally:
                self._inside -= 1
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})  # before accepting: the handshake ends with 403
        elif problem is None:
            busy = PlainTextResponse(f"Busy: {self._most} requests at a time; try again in a moment.\n", 503)
            await busy(scope, receive, _with_headers(send, host))
        else:
            await PlainTextResponse(f"Refused: {problem}.\n", 403)(scope, receive, _with_headers(send, "127.0.0.1"))

    def _problem(self, scope: Scope) -> tuple[str | None, str]:
        hosts, origins = _all(scope, b"host"), _all(scope, b"origin")
        if len(hosts) != 1 or not self._is_own_host(hosts[0]):
            return "the request names another server", ""
        if origins and origins != [f"http://{hosts[0]}"]:
            return "the request comes from another page", ""
        tokens = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])
        if len(tokens) != 1 or not secrets.compare_digest(tokens[0].encode(), self._token):
            return "the token is missing or wrong. Open the address that ser live printed", ""
        return None, hosts[0]


def _all(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1").lower() for key, value in scope["headers"] if key == name]


def _with_headers(send: Send, host: str) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            extra: dict[str, Any] = HEADERS | {"content-security-policy": POLICY.format(host=host)}
            message = {
                **message,
                "headers": [*message["headers"], *((k.encode(), v.encode()) for k, v in extra.items())],
            }
        await send(message)

    return wrapped


def names(bound: str, port: int) -> Callable[[str], bool]:
    """Which values of ``Host`` are this server's: loopback names and the name it is bound to.

    A server that is bound to more than loopback also accepts numeric addresses: nobody can point a name at them.

    Args:
        bound: As given with ``--host``.
        port: As bound.
    """
    own = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]", bound.lower())}
    if port == 80:
        own |= {name.rpartition(":")[0] for name in own}
    wide = not is_loopback(bound)

    def is_own(host: str) -> bool:
        return host in own or (wide and host.endswith(f":{port}") and _is_address(host.rpartition(":")[0]))

    return is_own


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server bound to it."""
    if host == "localhost":
        return True
    return _is_address(host) and ipaddress.ip_address(host.strip("[]")).is_loopback


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


# Time limits of connections that have not sent a request yet: an idle client cannot block the page.
#
# uvicorn waits without an end for the head of a first request, and for a client that does not read. Here a head must come
# within `head` seconds, idle connections give way to new ones, and a client that does not read loses its connection.
if TYPE_CHECKING:
    Connection = H11Protocol  # what the mixin below is mixed into
else:
    Connection = object


class _Reads(Connection):
    """Ends the connection of a client that does not read its answers."""

    unread: ClassVar[float] = 20.0
    """Seconds for which answers may wait in the machine's memory without being read."""
    _stalled: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self.unread, self.transport.abort)

    def resume_writing(self) -> None:
        self._forget_stall()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_stall()
        super().connection_lost(exc)

    def _forget_stall(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


class PatientSocket(_Reads, WebSocketsSansIOProtocol):  # type: ignore[misc]
    """uvicorn's websocket, for clients that read."""


class PatientHttp(_Reads, H11Protocol):
    """uvicorn's HTTP/1.1, for clients that say soon what they want."""

    head: ClassVar[float] = 10.0
    """Seconds for the head of a request, from the first byte or from the end of the last answer."""
    most_waiting: ClassVar[int] = 256
    """Connections without a request; a further one ends the oldest. Below the usual limit of 1,024 open files."""
    waiting: ClassVar[dict["PatientHttp", asyncio.TimerHandle]] = {}
    """Connections without a request, oldest first."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def handle_events(self) -> None:
        before = self.scope
        super().handle_events()
        if self.scope is not before:  # a head has come
            self._waited()

    def on_response_complete(self) -> None:
        self._wait()  # before the request that may wait behind the last one is looked at
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._waited()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._waited()
        if len(self.waiting) >= self.most_waiting:
            oldest = next(iter(self.waiting))
            oldest._waited()  # now: `connection_lost` comes later, after others that were accepted at the same moment
            oldest.transport.abort()
        self.waiting[self] = self.loop.call_later(self.head, self.transport.abort)

    def _waited(self) -> None:
        timer = self.waiting.pop(self, None)
        if timer is not None:
            timer.cancel()
