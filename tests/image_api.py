"""A real HTTP server on this machine that speaks the images API, and misbehaves on request."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

KEY = "sk-test-0123456789abcdefSECRET"


class ImageApi:
    """The server's state: what it was asked, and how it is to answer.

    `script` holds behaviours that are used up one by one, then `mode` holds for the rest.
    """

    def __init__(self, url: str):
        self.url = url
        self.mode = "ok"
        self.script: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.fetched: list[dict[str, str]] = []
        self.refuse: tuple[str, ...] = ()
        """Prompts with one of these words are refused."""
        self.lock = threading.Lock()
        self.hold = threading.Event()
        """What the mode `slow` waits for."""
        self.waiting = threading.Event()

    @property
    def answered(self) -> list[str]:
        return [body["prompt"] for body in self.bodies]


def image_bytes(prompt: str, number: int, size: str = "64x64", kind: str = "PNG") -> bytes:
    """A picture that is another one at each request, as an API without seeds gives."""
    width, height = (int(side) for side in size.split("x"))
    color = tuple(hashlib.sha256(f"{prompt}{number}".encode()).digest()[:3])
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), color).save(buffer, kind)
    return buffer.getvalue()


@contextmanager
def image_api() -> Iterator[ImageApi]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    api = ImageApi(f"http://127.0.0.1:{server.server_address[1]}/v1")
    server.api = api  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        api.hold.set()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    @property
    def api(self) -> ImageApi:
        return self.server.api  # type: ignore[attr-defined]

    def do_GET(self) -> None:
        self.api.fetched.append(dict(self.headers))
        self._send(200, image_bytes(self.path, 0), "image/png")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        api = self.api
        with api.lock:
            mode = api.script.pop(0) if api.script else api.mode
            api.bodies.append(body)
            api.headers.append(dict(self.headers))
            number = len(api.bodies)
        if any(word in body["prompt"] for word in api.refuse):
            mode = "refuse"
        getattr(self, "_" + mode.partition(" ")[0])(body, number, mode.partition(" ")[2])

    def _ok(self, body: dict[str, Any], number: int, kind: str = "") -> None:
        coded = base64.b64encode(image_bytes(body["prompt"], number, body["size"], kind or "PNG")).decode()
        item = {"b64_json": coded, "revised_prompt": f"revised: {body['prompt']}"}
        self._json(200, {"created": 1713833628, "data": [item], "usage": {"total_tokens": 100}})

    def _echo(self, body: dict[str, Any], number: int, _: str) -> None:
        coded = base64.b64encode(image_bytes(body["prompt"], number, body["size"])).decode()
        sent = self.headers.get("Authorization", "")
        item = {"b64_json": coded, "revised_prompt": f"for {sent}"}
        self._json(200, {"data": [item], "usage": {"by": sent.partition(" ")[2]}})

    def _late(self, *_: Any) -> None:
        key = self.headers.get("Authorization", "").partition(" ")[2]
        self._send(200, b"x" * 32 + key.encode(), "text/plain")

    def _noformat(self, body: dict[str, Any], number: int, _: str) -> None:
        if "response_format" in body:
            error = {"message": "Unknown parameter: 'response_format'.", "type": "invalid_request_error",
                     "param": "response_format", "code": "unknown_parameter"}  # fmt: skip
            self._json(400, {"error": error})
        else:
            self._ok(body, number)

    def _status(self, body: dict[str, Any], number: int, said: str) -> None:
        code, _, after = said.partition(" ")
        error = {"message": f"no, says the server to {self.headers.get('Authorization')}", "code": "nope"}
        self._json(int(code), {"error": error}, {"Retry-After": after} if after else {})

    def _quota(self, body: dict[str, Any], number: int, _: str) -> None:
        self._json(429, {"error": {"message": "You exceeded your quota.", "code": "insufficient_quota"}})

    def _refuse(self, body: dict[str, Any], number: int, code: str) -> None:
        error = {"message": "Your request was rejected by our safety system.", "type": "image_generation_user_error",
                 "code": code or "moderation_blocked"}  # fmt: skip
        self._json(400, {"error": error})

    def _html(self, *_: Any) -> None:
        self._send(200, b"<html>Bad gateway</html>", "text/html")

    def _empty(self, *_: Any) -> None:
        self._json(200, {"created": 1, "data": []})

    def _list(self, *_: Any) -> None:
        self._json(200, ["no", "object"])

    def _base64(self, *_: Any) -> None:
        self._json(200, {"data": [{"b64_json": "!!! not base64 !!!"}]})

    def _half(self, body: dict[str, Any], number: int, _: str) -> None:
        noise = Image.effect_noise((64, 64), 90).convert("RGB")
        buffer = io.BytesIO()
        noise.save(buffer, "PNG")
        self._json(200, {"data": [{"b64_json": base64.b64encode(buffer.getvalue()[:2000]).decode()}]})

    def _words(self, *_: Any) -> None:
        self._json(200, {"data": [{"b64_json": base64.b64encode(b"I am no image").decode()}]})

    def _size(self, body: dict[str, Any], number: int, _: str) -> None:
        self._ok(body | {"size": "32x32"}, number)

    def _huge(self, *_: Any) -> None:
        self._send(200, b" " * 50_000_000, "application/json")

    def _url(self, body: dict[str, Any], number: int, url: str) -> None:
        self._json(200, {"data": [{"url": url or f"http://{self.headers['Host']}/image/{number}.png"}]})

    def _broken(self, *_: Any) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'{"data": [')
        self.wfile.flush()
        self.connection.close()
        self.close_connection = True

    def _slow(self, body: dict[str, Any], number: int, _: str) -> None:
        self.api.waiting.set()
        self.api.hold.wait(20)
        self._ok(body, number)

    def _redirect(self, *_: Any) -> None:
        self._json(307, {}, {"Location": "https://elsewhere.example/v1/images/generations"})

    def _json(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(content).encode(), "application/json", headers)

    def _send(self, status: int, data: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        try:
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), "x-request-id": "req_1",
                                **(headers or {})}.items():  # fmt: skip
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            self.close_connection = True  # the client has gone
