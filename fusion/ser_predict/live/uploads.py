"""Uploaded recordings: bounded while they come, decoded in a child process, deleted before the first answer."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from ser_base.errors import SerError
from ser_data.media.audio import AudioError
from ser_predict.live.engine import Engine, Uploaded
from ser_predict.live.session import Kept, Store

LARGEST = 64 << 20
"""Bytes of an upload."""

SLOWEST = 120.0
"""Seconds that an upload may take to come."""

AT_ONCE = 2
"""Uploads at a time; others must try again."""

NAME = "recording"


class Refused(SerError):
    """An upload that is not taken: HTTP status and a sentence."""

    status: int
    why: str
    got = "{why}."


class Uploads:
    """ASGI endpoint: the body is the file; the answer is JSON lines: ``file``, one ``window`` each, ``done``."""

    def __init__(self, engine: Engine, store: Store) -> None:
        self._engine, self._store = engine, store
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one upload."""
        request = Request(scope, receive)
        if self._turns.locked():
            await _refusal(429, "the server is busy with other uploads; try again in a moment")(scope, receive, send)
            return
        async with self._turns:
            with self._store.session() as kept:
                try:
                    upload = await self._receive(request, kept)
                except Refused as refused:
                    await _refusal(refused.status, refused.why)(scope, receive, send)
                except ClientDisconnect:
                    return
                else:
                    lines = self._lines(upload, kept)
                    await StreamingResponse(lines, media_type="application/x-ndjson")(scope, receive, send)

    async def _receive(self, request: Request, kept: Kept) -> Uploaded:
        claimed = request.headers.get("content-length", "0")
        if not claimed.isdecimal() or int(claimed) > LARGEST:
            raise Refused(413, f"a recording may have at most {LARGEST >> 20} MiB")
        with tempfile.TemporaryDirectory(prefix="ser-live-") as folder:
            path = Path(folder) / NAME
            try:
                async with asyncio.timeout(SLOWEST):
                    await _write(request, path)
            except TimeoutError:
                raise Refused(408, f"the recording did not come within {SLOWEST:g} s") from None
            kept.file(path)
            try:
                return await self._engine.decode(path)
            except AudioError as error:
                raise Refused(422, str(error).removeprefix(f"{error.path}: ")) from error

    async def _lines(self, upload: Uploaded, kept: Kept) -> AsyncIterator[str]:
        yield _line({"type": "file", "seconds": round(upload.seconds, 3), "outline": upload.outline})
        async for answer in self._engine.answers(NAME, upload):
            kept.line(answer)
            yield _line(answer)
        yield _line({"type": "done", "seconds": round(upload.seconds, 3)})


async def _write(request: Request, path: Path) -> None:
    size = 0
    with path.open("wb") as out:
        async for part in request.stream():
            size += len(part)
            if size > LARGEST:
                raise Refused(413, f"a recording may have at most {LARGEST >> 20} MiB")
            out.write(part)


def _line(answer: dict[str, Any]) -> str:
    return json.dumps(answer, ensure_ascii=False) + "\n"


def _refusal(status: int, why: str) -> JSONResponse:
    return JSONResponse({"type": "error", "error": why}, status)
