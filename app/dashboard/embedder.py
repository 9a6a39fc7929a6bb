"""Words and uploads made into vectors, in a process of its own.

A CLIP encoder brings torch, which takes 700 MB and never gives them back. The process is started by the first search,
serves all sessions, opens strangers' images away from the server, and ends when nobody has searched for a while.

A request is a line of JSON: {"encoder", "text"} or {"encoder", "image": base64}. The answer is one, too:
{"vector", "sha256"} or {"error": {"what", "where", "mend"}, "kind"}.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from auditkit.errors import AuditkitError, EncoderError, ImageError

IDLE = 300.0
"""Seconds without a search after which the process ends."""


class Embedder:
    """The process, from the server's side. Any number of threads may ask; they are answered one by one."""

    def __init__(self, idle: float = IDLE):
        self._idle = idle
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._end: threading.Timer | None = None

    def text(self, encoder: str, fingerprint: str, text: str) -> NDArray[np.float32]:
        """The unit vector of a sentence, float32 [dim].

        Raises:
            EncoderError: the encoder cannot be loaded here, or has other weights than `fingerprint`, their sha256.
        """
        return self._ask(fingerprint, encoder=encoder, text=text)

    def image(self, encoder: str, fingerprint: str, data: bytes) -> NDArray[np.float32]:
        """The unit vector of an image's file, float32 [dim].

        Raises:
            ImageError: it is no image, damaged, or too large to open safely. EncoderError: as `text`.
        """
        return self._ask(fingerprint, encoder=encoder, image=base64.b64encode(data).decode())

    def close(self) -> None:
        """End the process; the next question starts another."""
        with self._lock:
            self._stop()

    def _ask(self, fingerprint: str, **request: str) -> NDArray[np.float32]:
        with self._lock:
            if self._end is not None:
                self._end.cancel()
            answer = self._answer(json.dumps(request))
            self._end = threading.Timer(self._idle, self.close)
            self._end.daemon = True
            self._end.start()
        if "error" in answer:
            raise (ImageError if answer["kind"] == ImageError.__name__ else EncoderError)(**answer["error"])
        if answer["sha256"] != fingerprint:
            raise EncoderError(
                f"The images were embedded with other weights than {request['encoder']} has now.",
                where=request["encoder"], mend="score the run again with the encoder that is here",
            )  # fmt: skip
        return np.asarray(answer["vector"], np.float32)

    def _answer(self, line: str) -> dict[str, Any]:
        if self._process is None or self._process.poll() is not None:
            root = str(Path(__file__).parents[2])
            path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app.dashboard.embedder"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True, env=os.environ | {"PYTHONPATH": path},
            )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            answered = self._process.stdout.readline()
            found: dict[str, Any] = json.loads(answered)
        except (OSError, ValueError):
            self._stop()
            raise EncoderError(
                "The process that reads words and images ended before it answered.", where="search",
                mend="search again; if it ends again there may be too little memory for the encoder",
            ) from None  # fmt: skip
        return found

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def serve(requests: IO[str], answers: IO[str]) -> None:
    """Answer until the requests end, which they do with the server."""
    from auditkit.clip.encoders import load_encoder
    from auditkit.images import open_image

    loaded: dict[str, Any] = {}
    for line in requests:
        request = json.loads(line)
        name = request["encoder"]
        try:
            # Opened first: what is no image is told at once.
            image = open_image(base64.b64decode(request["image"])) if "image" in request else None
            if name not in loaded:
                loaded.clear()  # one at a time stays in memory
                loaded[name] = load_encoder(name, device="cpu")
            eyes = loaded[name]
            vector = eyes.embed_texts([request["text"]]) if image is None else eyes.embed_images([image])
            answer: dict[str, Any] = {"vector": [float(each) for each in vector[0]], "sha256": eyes.sha256}
        except AuditkitError as error:
            told = {"what": error.what, "where": str(error.where or ""), "mend": error.mend}
            answer = {"error": told, "kind": type(error).__name__}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    serve(sys.stdin, own)
