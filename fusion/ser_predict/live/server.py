"""Binds the address, prints it with its token, and serves until it is told to stop."""

import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
import uvicorn

from ser_predict.errors import NotServed
from ser_predict.live.app import build
from ser_predict.live.engine import Engine
from ser_predict.live.guard import is_loopback
from ser_predict.live.patience import PatientHttp, PatientSocket

if TYPE_CHECKING:
    from ser_predict.recordings.predictor import Predictor

LARGEST_FRAME = 1 << 18
"""Bytes of one websocket message: 1.4 s at 96 kHz; the page sends about 0.1 s."""


def serve(predictor: "Predictor", hop: float, host: str, port: int, connections: int, save: Path | None) -> None:
    """Serves the page; returns after Ctrl-C.

    Raises:
        NotServed: The address cannot be had, or the heads cannot do with what a microphone gives.
    """
    engine = Engine(predictor, hop)
    bound = _bind(host, port)
    try:
        click.echo("Loading the encoders ...", err=True)
        if (problem := engine.warm()) is not None:
            raise NotServed(f"a microphone is not enough for these heads: {problem}", "Give a recogniser: --asr DIR")
        token, port = secrets.token_urlsafe(24), bound.getsockname()[1]
        app = build(engine, token, host=host, port=port, connections=connections, save=save)
        if not is_loopback(host):
            click.echo(
                f"Others can reach this page at {host}. Without HTTPS browsers give a microphone to this machine's own pages "
                f"only; from elsewhere better use: ssh -L {port}:127.0.0.1:{port} THIS_MACHINE",
                err=True,
            )
        shown = f"[{host}]" if ":" in host else host
        click.echo("Nothing is kept. Ctrl-C ends it." if save is None else f"Sessions are kept in {save}.", err=True)
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
        bound.listen(128)  # before the address is printed: whoever is quick waits instead of being refused
    except OSError as error:
        raise NotServed(
            f"{host} port {port} cannot be had: {error.strerror or error}",
            "Take another one: --port 0 finds a free port",
        ) from error
    return bound
