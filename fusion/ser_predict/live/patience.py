"""How long a connection may take for what, before anything about it is known: nobody holds the page by doing nothing.

uvicorn waits without an end for the head of a first request, and for a client that does not read. Here a head must come
within `HEAD` seconds, idle connections give way to new ones, and a client that does not read loses its connection.
"""

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

if TYPE_CHECKING:
    Connection = H11Protocol  # what the mixin below is mixed into
else:
    Connection = object

HEAD = 10.0
"""Seconds for the head of a request, from the first byte or from the end of the last answer."""
UNREAD = 20.0
"""Seconds for which answers may wait in the machine's memory without being read."""
MOST_WAITING = 256
"""Connections without a request; a further one ends the oldest. Below the usual limit of 1,024 open files."""


class _Reads(Connection):
    """Ends the connection of a client that does not read its answers."""

    _stalled: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(UNREAD, self.transport.abort)

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
        if len(self.waiting) >= MOST_WAITING:
            oldest = next(iter(self.waiting))
            oldest._waited()  # now: `connection_lost` comes later, after others that were accepted at the same moment
            oldest.transport.abort()
        self.waiting[self] = self.loop.call_later(HEAD, self.transport.abort)

    def _waited(self) -> None:
        timer = self.waiting.pop(self, None)
        if timer is not None:
            timer.cancel()
