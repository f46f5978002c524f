"""The page's server: its routes, the address it prints with its token, and serving until Ctrl-C."""

import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from ser_predict.errors import NotServed
from ser_predict.live.engine import Engine
from ser_predict.live.guard import Guard, PatientHttp, PatientSocket, is_loopback, names
from ser_predict.live.session import Store, session
from ser_predict.live.uploads import Uploads
from ser_predict.models.card import corpus_title, notice

if TYPE_CHECKING:
    from ser_predict.recordings.predictor import Predictor


# The web application: the page, its files, the websocket, uploads. Everything behind ``Guard``.
BESIDE = 32
"""Requests at a time beside the microphones: pages, their files, uploads."""
PAGE = Path(__file__).parent / "page"
FILES = {
    "live.css": "text/css",
    "live.js": "text/javascript",
    "drawing.js": "text/javascript",
    "microphone.js": "text/javascript",
}
"""What the page loads, by name; nothing else of the folder is served."""


def build(engine: Engine, token: str, *, host: str, port: int, connections: int, save: Path | None = None) -> ASGIApp:
    """The application.

    Args:
        engine: Whose heads answer.
        token: What every request must carry.
        host: What the server is bound to.
        port: The same.
        connections: Microphones at a time.
        save: Folder for sessions; None keeps nothing.
    """
    store = Store(save)
    html = _page(engine, save)
    talking = 0

    async def page(request: Request) -> Response:
        return HTMLResponse(html.replace("{token}", request.query_params["token"]))

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in FILES:
            return Response(status_code=404)
        return Response((PAGE / name).read_bytes(), media_type=FILES[name])

    async def live(websocket: WebSocket) -> None:
        nonlocal talking
        await websocket.accept()
        if talking >= connections:
            await websocket.send_json(
                {"type": "error", "error": f"{connections} microphones are connected already, which is the maximum"}
            )
            await websocket.close(1013)
            return
        talking += 1
        try:
            await session(websocket, engine, store)
        finally:
            talking -= 1

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        engine.close()

    routes = [
        Route("/", page),
        Route("/page/{name}", file),
        Route("/upload", Uploads(engine, store), methods=["POST"]),
        WebSocketRoute("/live", live),
    ]
    return Guard(Starlette(routes=routes, lifespan=lifespan), token, names(host, port), connections + BESIDE)


def _page(engine: Engine, save: Path | None) -> str:
    """The page with everything but the token."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from ser_predict.recordings.output import COLOURS

    predictor = engine.predictor
    facts, main = predictor.source.facts, predictor.main
    worded = predictor.hears or "text" not in main.streams
    content: dict[str, Any] = {
        "title": corpus_title(facts),
        "synthetic": bool(facts["corpus"].get("synthetic")),
        "row": main.name if worded else engine.wordless,
        "streams": main.streams if worded else ("audio",),
        "hears": predictor.hears,
        "notice": notice(predictor.chosen),
        "save": None if save is None else str(save.resolve()),
        "settings": {
            "classes": predictor.classes,
            "colours": [COLOURS[number % len(COLOURS)] for number in range(len(predictor.classes))],
            "rate": predictor.rate,
            "window": predictor.windowing.window,
            "hop": engine.hop,
            "threshold": predictor.threshold,
        },
    }
    pages = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return pages.get_template("live.html.j2").render(content)


LARGEST_FRAME = 1 << 18
"""Bytes of one websocket message: 1.4 s at 96 kHz; the page sends about 0.1 s."""


def serve(predictor: "Predictor", hop: float, host: str, port: int, connections: int, save: Path | None) -> None:
    """Serves the page; returns after Ctrl-C.

    Raises:
        NotServed: The address cannot be used, or the heads need more than a microphone.
    """
    engine = Engine(predictor, hop)
    bound = _bind(host, port)
    try:
        click.echo("Loading the encoders ...", err=True)
        if (problem := engine.warm()) is not None:
            raise NotServed(
                f"these heads need more than a microphone: {problem}", "Give a speech recogniser: --asr DIR"
            )
        token, port = secrets.token_urlsafe(24), bound.getsockname()[1]
        app = build(engine, token, host=host, port=port, connections=connections, save=save)
        if not is_loopback(host):
            click.echo(
                f"Other machines can reach this page at {host}. Without HTTPS, browsers allow a microphone only to pages of "
                f"their own machine. Use a tunnel there: ssh -L {port}:127.0.0.1:{port} THIS_MACHINE",
                err=True,
            )
        shown = f"[{host}]" if ":" in host else host
        click.echo(
            "Nothing is kept. Ctrl-C stops the server." if save is None else f"Sessions are kept in {save}.", err=True
        )
        click.echo(f"http://{shown}:{port}/?token={token}")
        config = uvicorn.Config(
            app,
            http=PatientHttp,
            ws=PatientSocket,
            ws_max_size=LARGEST_FRAME,
            ws_max_queue=4,
            ws_per_message_deflate=False,
            h11_max_incomplete_event_size=1 << 14,
            timeout_graceful_shutdown=1,
            log_level="warning",
            access_log=False,  # it would print the token
            server_header=False,
        )
        uvicorn.Server(config).run(sockets=[bound])
    finally:
        engine.close()
        bound.close()


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(128)  # before the address is printed, so that a quick client waits and is not refused
    except OSError as error:
        raise NotServed(
            f"{host} port {port} cannot be used: {error.strerror or error}",
            "Use --port 0 for a free port",
        ) from error
    return bound
