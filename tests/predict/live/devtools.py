"""A headless Chromium, driven through its DevTools protocol over a websocket."""

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-port=0", "--mute-audio",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip


class Tab:
    """One page of the browser."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """A command's result; events that come meanwhile are kept in ``events``."""
        told = self._ask(method, params)
        assert "error" not in told, told
        result: dict[str, Any] = told["result"]
        return result

    def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            told: dict[str, Any] = json.loads(self._socket.recv(timeout=60))
            if told.get("id") == self._number:
                return told
            self.events.append(told)

    def run(self, code: str) -> Any:
        """The value of an expression in the page; promises are awaited."""
        wanted = {"expression": code, "returnByValue": True, "awaitPromise": True, "userGesture": True}
        stop = time.monotonic() + 30
        while "error" in (told := self._ask("Runtime.evaluate", wanted)):  # the page is only just being loaded
            assert "context" in told["error"]["message"], told
            if time.monotonic() > stop:
                raise TimeoutError(f"the page was not loaded: {told}")
            time.sleep(0.05)
        assert "exceptionDetails" not in told["result"], told["result"]["exceptionDetails"]
        return told["result"]["result"].get("value")

    def until(self, code: str, seconds: float = 60) -> Any:
        """Waits for an expression to become true."""
        stop = time.monotonic() + seconds
        while not (value := self.run(code)):
            told = self.run("document.body?.dataset.state + ': ' + document.getElementById('status')?.textContent")
            if time.monotonic() > stop:
                raise TimeoutError(f"{code} did not become true within {seconds} s; the page says {told}")
            time.sleep(0.05)
        return value

    def size(self, width: int, height: int, *, phone: bool = False, dark: bool = False) -> None:
        """Window and theme."""
        scale = 2 if phone else 1
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[theme])

    def press(self, key: str, code: int, text: str = "") -> None:
        """A key, down and up."""
        for kind in ("keyDown", "keyUp"):
            told = {"text": text} if text and kind == "keyDown" else {}
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **told)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """A PNG of the window, or of the whole page."""
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser(folder: Path, wav: Path, address: str = "about:blank") -> Iterator[Tab]:
    """A browser whose microphone is a WAV file, played once, and whose only page is ``address``."""
    from websockets.sync.client import connect

    profile = folder / "profile"
    fake = f"--use-file-for-fake-audio-capture={wav}%noloop"
    process = subprocess.Popen(
        [str(CHROMIUM), *FLAGS, fake, f"--user-data-dir={profile}", address],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port = _port(profile / "DevToolsActivePort", process)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
            page = next(one for one in json.load(answer) if one["type"] == "page")
        with connect(page["webSocketDebuggerUrl"], max_size=None, ping_interval=None, proxy=None) as socket:
            tab = Tab(socket)
            tab.send("Runtime.enable")
            tab.send("Log.enable")
            tab.send("Page.enable")
            yield tab
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port(file: Path, process: "subprocess.Popen[bytes]") -> int:
    stop = time.monotonic() + 60
    while time.monotonic() < stop and process.poll() is None:
        if file.is_file() and (lines := file.read_text().split()):
            return int(lines[0])
        time.sleep(0.1)
    raise TimeoutError("Chromium did not start")
