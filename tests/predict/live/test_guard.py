"""Names that a server answers to; and clients that do not read: their connections are ended."""

import asyncio
import socket
from typing import Any

import pytest

uvicorn = pytest.importorskip("uvicorn", reason="needs the extra live")
pytest.importorskip("websockets", reason="needs the extra live")

from ser_predict.live.guard import Guard, PatientHttp, PatientSocket, is_loopback, names


@pytest.mark.parametrize(
    ("bound", "host", "known"),
    [
        ("127.0.0.1", "127.0.0.1:8765", True),
        ("127.0.0.1", "localhost:8765", True),
        ("127.0.0.1", "[::1]:8765", True),
        ("127.0.0.1", "localhost:8766", False),
        ("127.0.0.1", "localhost", False),
        ("127.0.0.1", "evil.example:8765", False),
        ("127.0.0.1", "192.168.1.5:8765", False),
        ("127.0.0.1", "127.0.0.1.evil.example:8765", False),
        ("0.0.0.0", "192.168.1.5:8765", True),
        ("0.0.0.0", "[fe80::1]:8765", True),
        ("0.0.0.0", "evil.example:8765", False),
        ("lab.example", "lab.example:8765", True),
        ("lab.example", "evil.example:8765", False),
    ],
)
def test_names(bound: str, host: str, known: bool):
    assert names(bound, 8765)(host) is known


def test_loopback():
    assert all(is_loopback(one) for one in ("127.0.0.1", "127.8.8.8", "::1", "localhost"))
    assert not any(is_loopback(one) for one in ("0.0.0.0", "::", "192.168.1.5", "lab.example"))


async def served(app: Any, client: Any, http: Any = PatientHttp, ws: Any = PatientSocket) -> Any:
    """What ``client(port)`` gives, run in a thread against an application on a free port."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=http, ws=ws, lifespan="off", log_level="error", access_log=False)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[bound]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        return await asyncio.to_thread(client, bound.getsockname()[1])
    finally:
        server.should_exit = True
        await task


class Endless:
    """Answers without an end; `freed` is set when the client is gone."""

    def __init__(self) -> None:
        self.freed = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.accept"})
                while True:
                    await send({"type": "websocket.send", "bytes": bytes(1 << 16)})
            await send({"type": "http.response.start", "status": 200, "headers": []})
            gone = asyncio.create_task(self._gone(receive))
            while not gone.done():
                await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
                await asyncio.sleep(0)
        finally:
            self.freed.set()

    async def _gone(self, receive: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass


UPGRADE = "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"


@pytest.mark.parametrize("more", ["", UPGRADE], ids=["http", "websocket"])
def test_a_client_that_does_not_read_gives_its_place_back(more: str):
    class Http(PatientHttp):
        unread = 0.3

    class Socket(PatientSocket):
        unread = 0.3

    async def main() -> None:
        app = Endless()
        loop = asyncio.get_running_loop()

        def client(port: int) -> None:
            with socket.create_connection(("127.0.0.1", port)) as stream:
                stream.sendall(f"GET / HTTP/1.1\r\nhost: x\r\n{more}\r\n".encode())
                asyncio.run_coroutine_threadsafe(asyncio.wait_for(app.freed.wait(), 60), loop).result()

        await served(app, client, Http, Socket)
        assert app.freed.is_set()

    asyncio.run(main())


def test_who_has_no_token_is_not_counted():
    """One place, and it is taken: who has the token is told 503, who has not 403; when it is free, it is given again."""
    told: list[int] = []

    async def main() -> None:
        inside, leave = asyncio.Event(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            inside.set()
            await leave.wait()

        guard = Guard(app, "right", lambda host: True, 1)

        async def ask(token: str) -> None:
            scope = {
                "type": "http",
                "method": "GET",
                "query_string": f"token={token}".encode(),
                "headers": [(b"host", b"x")],
            }

            async def send(message: Any) -> None:
                if message["type"] == "http.response.start":
                    told.append(message["status"])

            await guard(scope, asyncio.Event().wait, send)  # type: ignore[arg-type]

        refused = [asyncio.create_task(ask("wrong")) for _ in range(50)]
        first = asyncio.create_task(ask("right"))
        await inside.wait()
        await asyncio.gather(*refused)
        await ask("right")
        leave.set()
        await first
        await ask("right")

    asyncio.run(main())
    assert told == [403] * 50 + [503]
