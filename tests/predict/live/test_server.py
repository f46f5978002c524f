"""The server from outside: streams do not mix, nothing grows, and whoever must not ask is refused."""

import json
import shutil
import socket
import threading
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

websockets = pytest.importorskip("websockets", reason="needs the extra live")
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

RATE = 16_000


def voice(number: int, seconds: float = 2.6) -> "np.ndarray[Any, Any]":
    """Noise that swells at a rate of its own; int16."""
    draw = np.random.default_rng(number)
    time = np.arange(int(seconds * RATE)) / RATE
    swell = 0.2 + np.maximum(0, np.sin(2 * np.pi * (0.4 + 0.5 * number) * time))
    return (6_000 * draw.standard_normal(len(time)) * swell).clip(-32_000, 32_000).astype("<i2")


def talk(address: str, samples: "np.ndarray[Any, Any]", rate: int = RATE) -> list[dict[str, Any]]:
    """All answers to a recording that is spoken at once."""
    told = []
    with connect(address, proxy=None) as stream:
        stream.send(json.dumps({"type": "start", "rate": rate}))
        assert json.loads(stream.recv(timeout=60))["type"] == "ready"
        for start in range(0, len(samples), rate // 10):
            stream.send(samples[start : start + rate // 10].tobytes())
        stream.send(json.dumps({"type": "stop"}))
        while not told or told[-1]["type"] not in ("done", "error"):
            told.append(json.loads(stream.recv(timeout=60)))
    return told


def ask(server: Any, path: str = "/", data: bytes | None = None, **headers: str) -> tuple[int, str, Any]:
    """Status, body, headers."""
    token = headers.pop("token", server.token)
    address = f"http://{server.host}{path}" + (f"?token={token}" if token else "")
    request = urllib.request.Request(address, data, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


def test_a_window_is_answered_as_ser_predict_answers_it(server: Any, small: Any, predictor: Any, tmp_path: Path):
    samples = voice(3)
    *windows, done = talk(server.socket, samples)
    assert done == {"type": "done", "seconds": 2.6} and windows[-1]["end"] == 2.6 and windows[-1]["start"] == 0.6
    soundfile.write(tmp_path / "same.wav", samples[-2 * RATE :], RATE, subtype="PCM_16")
    own = predictor(row="audio", threshold=0.0)
    (same,) = own.predict([tmp_path / "same.wav"])
    assert windows[-1]["posteriors"] == pytest.approx(same.posteriors, abs=1e-6)
    assert windows[-1]["label"] == same.label and windows[-1]["row"] == "audio-stats"
    assert 0 < windows[-1]["computing"] <= windows[-1]["waited"]


def test_ten_at_once_do_not_mix(server: Any):
    alone = [talk(server.socket, voice(number))[-2] for number in range(10)]
    together: dict[int, dict[str, Any]] = {}

    def speak(number: int) -> None:
        together[number] = talk(server.socket, voice(number))[-2]

    threads = [threading.Thread(target=speak, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(together) == list(range(10))
    given = np.array([[one["posteriors"][name] for name in ("happy", "sad", "neutral")] for one in alone])
    same = np.array([[together[n]["posteriors"][name] for name in ("happy", "sad", "neutral")] for n in range(10)])
    assert np.abs(given - same).max() < 1e-6
    apart = np.abs(given[:, None] - given[None]).max(2)[~np.eye(10, dtype=bool)].min()
    assert apart > 1e-4, "the voices must differ for this test to be one"


def test_fifty_connections_leave_nothing_behind(server: Any):
    samples = voice(1)
    for _ in range(10):
        talk(server.socket, samples)
    before = server.memory()
    for number in range(50):
        if number % 3:
            assert talk(server.socket, samples)[-1]["type"] == "done"
        else:  # gone without a word, in the middle of it
            with connect(server.socket, proxy=None) as stream:
                stream.send(json.dumps({"type": "start", "rate": RATE}))
                stream.send(samples[:RATE].tobytes())
                stream.socket.shutdown(socket.SHUT_RDWR)
    assert server.memory() - before < 12 << 20
    assert talk(server.socket, samples)[-1]["type"] == "done"


def test_a_flood_does_not_grow(server: Any):
    """Ten minutes of audio in a few seconds: old samples are forgotten, windows are skipped and counted."""
    minute = voice(2, 60.0)
    talk(server.socket, voice(2))
    before = server.memory()
    with connect(server.socket, proxy=None) as stream:
        stream.send(json.dumps({"type": "start", "rate": RATE}))
        for _ in range(10):
            for start in range(0, len(minute), RATE):
                stream.send(minute[start : start + RATE].tobytes())
        stream.send(json.dumps({"type": "stop"}))
        told = [json.loads(message) for message in stream]
    assert told[-1] == {"type": "done", "seconds": 600.0}
    assert told[-2]["skipped"] > 100 and told[-2]["end"] == 600.0
    assert server.memory() - before < 12 << 20


def test_another_rate_is_resampled(server: Any):
    time = np.arange(int(2.2 * 48_000)) / 48_000
    samples = (8_000 * np.sin(2 * np.pi * 300 * time)).astype("<i2")
    *windows, done = talk(server.socket, samples, 48_000)
    assert done["type"] == "done" and windows[-1]["label"] and windows[-1]["end"] == 2.2


def test_quiet_is_no_emotion(server: Any):
    *windows, done = talk(server.socket, np.zeros(3 * RATE, "<i2"))
    assert done["type"] == "done" and windows and all(one["quiet"] and "label" not in one for one in windows)


def test_without_the_token_nothing_is_served(server: Any):
    for path in ("/", "/page/live.js", "/page/live.css", "/nothing"):
        for token in ("", "wrong", server.token[:-1], "é"):
            status, body, _ = ask(server, path, token=urllib.request.quote(token))
            assert status == 403 and "token" in body, (path, token)
    for query in ("", "?token=wrong", f"?token=x&token={server.token}"):
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws://{server.host}/live{query}", proxy=None)
        assert refused.value.response.status_code == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost"])
def test_another_origin_is_refused(server: Any, origin: str):
    assert ask(server, Origin=origin)[0] == 403
    assert ask(server, "/upload", b"RIFF", Origin=origin)[0] == 403
    with pytest.raises(InvalidStatus) as refused:
        connect(server.socket, origin=origin, proxy=None)
    assert refused.value.response.status_code == 403


def test_the_own_origin_is_served(server: Any):
    assert ask(server, Origin=f"http://{server.host}")[0] == 200
    with connect(server.socket, origin=f"http://{server.host}", proxy=None):
        pass


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", ""])
def test_a_name_pointed_at_this_machine_is_refused(server: Any, host: str):
    assert ask(server, Host=host)[0] in (400, 403)


def test_headers_keep_the_page_to_itself(server: Any):
    status, body, headers = ask(server)
    policy = headers["content-security-policy"]
    assert status == 200 and "no-store" in headers["cache-control"] and headers["referrer-policy"] == "no-referrer"
    assert policy.startswith("default-src 'none'; script-src 'self';") and "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy and "server" not in headers
    assert "onclick" not in body and "<style" not in body and body.count("<script") == body.count(".js?token=") == 1
    assert "Regulation 2024/1689" in body and "Nothing is kept" in body
    assert ask(server, "/page/live.html.j2")[0] == 404 and ask(server, "/page/..%2fcli.py")[0] == 404


FRAMES = [
    ["{}"],
    ["not json"],
    ["[1]"],
    [b"\x00\x00"],
    [json.dumps({"type": "start", "rate": "16000"})],
    [json.dumps({"type": "start", "rate": 10**9})],
    [json.dumps({"type": "start", "rate": RATE}), "nonsense"],
    [json.dumps({"type": "start", "rate": RATE}), json.dumps({"type": "start", "rate": RATE})],
]


@pytest.mark.parametrize("frames", FRAMES, ids=range(len(FRAMES)))
def test_broken_frames_end_the_connection_with_a_reason(server: Any, frames: list[str | bytes]):
    with connect(server.socket, proxy=None) as stream:
        for frame in frames:
            stream.send(frame)
        told = []
        with pytest.raises(ConnectionClosed):
            while True:
                told.append(json.loads(stream.recv(timeout=60)))
        assert told[-1]["type"] == "error" and told[-1]["error"]
        assert stream.close_code == 1008


def test_a_frame_that_is_too_large_is_not_read(server: Any):
    with connect(server.socket, proxy=None) as stream:
        stream.send(json.dumps({"type": "start", "rate": RATE}))
        with pytest.raises(ConnectionClosed):
            stream.send(bytes(1 << 22))
            list(stream)
            stream.recv()
        assert stream.close_code in (1006, 1009)
    assert talk(server.socket, voice(1))[-1]["type"] == "done"


def test_more_microphones_than_allowed_are_told_so(server: Any):
    with ExitStack() as stack:
        for _ in range(12):
            stack.enter_context(connect(server.socket, proxy=None))
        with connect(server.socket, proxy=None) as stream:
            assert "12 microphones" in json.loads(stream.recv(timeout=20))["error"]


def test_an_upload_is_answered_window_by_window(server: Any, tmp_path: Path, predictor: Any):
    soundfile.write(tmp_path / "long.flac", voice(4, 5.0), RATE)
    status, body, _ = ask(server, "/upload", (tmp_path / "long.flac").read_bytes())
    first, *windows, done = [json.loads(line) for line in body.splitlines()]
    assert status == 200 and first["seconds"] == done["seconds"] == 5.0 and len(first["outline"]) == 400
    own = predictor(row="audio", window=2.0, threshold=0.0)
    same = list(own.predict([tmp_path / "long.flac"]))
    assert [(one["start"], one["end"]) for one in windows] == [(one.start, one.end) for one in same]
    for mine, theirs in zip(windows, same, strict=True):
        assert mine["posteriors"] == pytest.approx(theirs.posteriors, abs=1e-6)


def _sparse_wav(seconds: int) -> bytes:
    size = seconds * 16_000
    head = b"RIFF" + (36 + size).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    return head + bytes.fromhex("01000100401f0000803e000002001000") + b"data" + size.to_bytes(4, "little") + bytes(size)


HOSTILE = {
    "empty": (b"", "no audio"),
    "text": (b"this is not sound\n" * 50, "decoded"),
    "html": (b"<script>alert(1)</script>", "decoded"),
    "pickle": (b"\x80\x04\x95" + bytes(range(200)), "decoded"),
    "cut": (b"fLaC" + bytes(range(60)), ""),
    "riff": (b"RIFF\x10\x00\x00\x00WAVE", ""),
    "silent": (_sparse_wav(1), "zero"),
    "too long": (_sparse_wav(700), "too long"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_uploads_are_refused_with_a_reason(server: Any, name: str):
    data, word = HOSTILE[name]
    status, body, _ = ask(server, "/upload", data)
    told = json.loads(body)
    assert status == 422 and word in told["error"] and "/tmp" not in told["error"], told


def test_an_upload_that_is_too_large_is_not_taken(server: Any):
    status, body, _ = ask(server, "/upload", b"RIFF", Content_Length=str(1 << 40))
    assert status == 413 and "64 MiB" in body
    host, port = server.host.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=60) as line:  # without a length: cut while it comes
        head = (
            f"POST /upload?token={server.token} HTTP/1.1\r\nHost: {server.host}\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        line.sendall(head.encode())
        answer = b""
        try:
            for _ in range(80):
                line.sendall(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
        except OSError:
            pass
        answer = line.recv(200)
    assert b" 413 " in answer


def test_only_post_uploads(server: Any):
    assert ask(server, "/upload")[0] == 405
    assert server.process.poll() is None


def test_saving_is_asked_for(start_server: Any, tmp_path: Path):
    kept = tmp_path / "kept"
    server = start_server("--row", "audio", "--window", 2, "--save", kept)
    assert str(kept) in ask(server)[1]
    samples = voice(5)
    told = talk(server.socket, samples)
    (session,) = kept.iterdir()
    again, rate = soundfile.read(session / "audio.wav", dtype="int16")
    assert rate == RATE and (again == samples).all() and session.stat().st_mode & 0o077 == 0
    lines = [json.loads(line) for line in (session / "windows.jsonl").read_text().splitlines()]
    assert lines == [one for one in told if one["type"] == "window"]


def test_heads_that_need_words_need_a_recogniser(start_server: Any, small: Any, tmp_path: Path):
    copy = tmp_path / "run"
    shutil.copytree(small.run, copy)
    run = json.loads((copy / "run.json").read_text())
    run["rows"] = [row for row in run["rows"] if row["slug"] == "text-stats"]
    (copy / "run.json").write_text(json.dumps(run))
    with pytest.raises(AssertionError, match="--asr"):
        start_server(run=copy)


def test_a_taken_port_is_told(server: Any, start_server: Any):
    with pytest.raises(AssertionError, match="cannot be used"):
        start_server("--row", "audio", "--port", server.host.rsplit(":", 1)[1])


def wait_for_end(stream: socket.socket, seconds: float) -> bool:
    """Whether the server ends a connection within so many seconds."""
    stream.settimeout(seconds)
    try:
        while stream.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def test_connections_that_say_nothing_or_little_hold_nobody_and_are_ended(server: Any):
    """Two hundred that hang, half of them in the middle of a head: the page, a file and a microphone are served at once."""
    host, port = server.host.split(":")
    with ExitStack() as open_ones:
        idle = [open_ones.enter_context(socket.create_connection((host, int(port)))) for _ in range(200)]
        for stream in idle[::2]:
            stream.sendall(b"GET / HTTP/1.1\r\nhost: ")
        assert ask(server)[0] == 200
        assert ask(server, "/page/live.js")[0] == 200
        assert talk(server.socket, voice(1))[-1]["type"] == "done"
        assert all(wait_for_end(stream, 30) for stream in idle)


def test_more_idle_connections_than_there_is_room_for_end_the_oldest(server: Any):
    host, port = server.host.split(":")
    with ExitStack() as open_ones:
        idle = [open_ones.enter_context(socket.create_connection((host, int(port)))) for _ in range(300)]
        assert ask(server)[0] == 200
        assert all(wait_for_end(stream, 60) for stream in idle[:30])
        assert ask(server)[0] == 200


def test_a_body_that_drips_behind_a_refusal_is_ended(server: Any):
    host, port = server.host.split(":")
    with socket.create_connection((host, int(port))) as stream:
        stream.sendall(f"POST /upload HTTP/1.1\r\nhost: {server.host}\r\ncontent-length: 9999\r\n\r\nx".encode())
        assert b" 403 " in stream.recv(1 << 16)
        assert wait_for_end(stream, 30)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"type": "start", "rate": ' + "9" * 5_000 + "}", "{" * 10, "", '"x"', '{"a":' * 40_000, "NaN"],
    ids=["deep", "digits", "cut", "empty", "text", "objects", "nan"],
)
def test_a_frame_that_is_not_of_the_protocol_gets_a_close_code(server: Any, text: str):
    with connect(server.socket, proxy=None) as stream:
        stream.send(text)
        assert json.loads(stream.recv(timeout=60))["type"] == "error"
        with pytest.raises(ConnectionClosed) as caught:
            stream.recv(timeout=60)
        assert caught.value.rcvd is not None and caught.value.rcvd.code == 1008


@pytest.mark.parametrize("length", ["9" * 5_000, "-1", "1e9", str(1 << 70)])
def test_a_length_that_is_none_is_refused(server: Any, length: str):
    host, port = server.host.split(":")
    with socket.create_connection((host, int(port))) as stream:
        head = f"POST /upload?token={server.token} HTTP/1.1\r\nhost: {server.host}\r\ncontent-length: {length}\r\n\r\n"
        stream.sendall(head.encode())
        stream.settimeout(60)
        assert stream.recv(1 << 12).split()[1] in (b"400", b"413")
    assert ask(server)[0] == 200
