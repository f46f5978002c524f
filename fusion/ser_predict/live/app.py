"""The web application: the page, its files, the websocket, uploads. Everything behind ``Guard``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from ser_predict.live.engine import Engine
from ser_predict.live.guard import Guard, names
from ser_predict.live.session import session
from ser_predict.live.store import Store
from ser_predict.live.uploads import Uploads
from ser_predict.models.facts import corpus_title, notice

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
            await websocket.send_json({"type": "error", "error": f"{connections} microphones are connected already"})
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

    from ser_predict.recordings.timeline import COLOURS

    predictor = engine.predictor
    facts, main = predictor.source.facts, predictor.main
    worded = predictor.hears or "text" not in main.streams
    content: dict[str, Any] = {
        "title": corpus_title(facts),
        "synthetic": bool(facts["corpus"].get("synthetic")),
        "row": main.name if worded else engine.wordless,
        "streams": main.streams if worded else ("audio",),
        "hears": predictor.hears,
        "notice": notice(predictor),
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
