"""What an API was asked and what it answered, kept in the run at once: nothing is paid for twice, and all is counted.

responses/<key>.json   what was sent and what came with the image, or the refusal
responses/<key>.png    the image as it came, byte for byte: with the provider's own metadata in it
responses/ledger.jsonl a line before each request and one after it; one without the other may have been paid for
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import threading
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from auditkit.errors import BudgetError, ImageError, RunError
from auditkit.files import write_atomic, write_json
from auditkit.images import open_image
from auditkit.provenance.containers import media_type
from auditkit.runs import Refused
from generators.api.client import Answer
from generators.api.options import ApiOptions
from generators.api.pacing import Stopped

RESPONSES = "responses"
LEDGER = "ledger.jsonl"
_SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


def request_key(sent: dict[str, Any], seed: int) -> str:
    """The name of a request: what is sent, and which image of the run it is for; 32 hex digits."""
    content = json.dumps([{k: v for k, v in sent.items() if k != "response_format"}, seed], sort_keys=True)
    return hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()[:32]


class Store:
    """Answers in a folder; without one nothing is kept."""

    def __init__(self, folder: Path | None = None):
        self.folder = folder

    def find(self, key: str) -> Image.Image | Refused | None:
        """What was answered to a request; None where nothing was, or it is damaged."""
        record = self.record(key)
        if record is None or self.folder is None:
            return None
        refused = record.get("refused")
        if isinstance(refused, dict):
            return Refused(str(refused.get("code")), str(refused.get("message")))
        name = record.get("file")
        if name not in {f"{key}.{suffix}" for suffix in (*_SUFFIXES.values(), "bin")}:
            return None
        try:
            data = (self.folder / name).read_bytes()
            return open_image(data) if hashlib.sha256(data).hexdigest() == record.get("sha256") else None
        except (OSError, ImageError):
            return None

    def record(self, key: str) -> dict[str, Any] | None:
        """What is written of a request."""
        if self.folder is None:
            return None
        try:
            record = json.loads((self.folder / f"{key}.json").read_bytes())
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) else None

    def keep(self, key: str, answer: Answer | Refused, asked: dict[str, Any]) -> None:
        """Keep an answer: the image first, then its record, whose rename makes it count.

        Raises:
            RunError: the disk is full or cannot be written.
        """
        if self.folder is None:
            return
        record = asked | {"received": datetime.now(UTC).isoformat(timespec="seconds")}
        if isinstance(answer, Refused):
            record["refused"] = {"code": answer.code, "message": answer.message}
        else:
            kind = media_type(answer.data) or "application/octet-stream"
            name = f"{key}.{_SUFFIXES.get(kind, 'bin')}"
            write_atomic(self.folder / name, answer.data)
            record |= answer.told | {
                "file": name,
                "media_type": kind,
                "sha256": hashlib.sha256(answer.data).hexdigest(),
            }
        write_json(self.folder / f"{key}.json", record)


class Ledger:
    """Requests that were paid for or may have been, over all attempts at the run and all processes that work on it."""

    def __init__(self, options: ApiOptions, file: Path | None = None):
        self._options, self._file = options, file
        self._lock = threading.Condition()
        self._flying: set[str] = set()
        """Our own requests that are on their way."""
        self._open: dict[str, bool] = {}
        """Of each request whether it counts as paid."""
        self._read = 0
        if file is not None:
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise RunError(f"the folder cannot be written: {error.strerror}", where=file.parent) from error
            with self._lock:
                self._write(None)

    @property
    def paid(self) -> int:
        """Answers that were paid for or may have been."""
        with self._lock:
            return sum(self._open.values())

    @property
    def requests(self) -> int:
        """Requests that were made."""
        with self._lock:
            return len(self._open)

    def begin(self, key: str, stop: threading.Event) -> str:
        """Note that a request is about to be made; its name in the ledger. `landed` must follow, whatever happens.

        Where the ceiling would be reached if all that are on their way were paid for, it waits for how they end.

        Raises:
            BudgetError: the ceiling is reached. Nothing is noted then.
            Stopped: nothing more is to be asked.
        """
        name = f"{key[:12]}-{uuid.uuid4().hex[:12]}"
        with self._lock:
            while self._flying and not self._options.allows(sum(self._open.values())) and not stop.is_set():
                self._lock.wait()
            if stop.is_set():
                raise Stopped
            self._flying.add(name)
            try:
                self._write({"request": name, "key": key, "asked": datetime.now(UTC).isoformat(timespec="seconds")})
            except BaseException:
                self._flying.discard(name)
                raise
        return name

    def end(self, name: str, *, billed: bool, status: str) -> None:
        """Note how it ended. A request of which that is never noted counts as paid."""
        with self._lock:
            self._write({"request": name, "billed": billed, "status": status})

    def landed(self, name: str) -> None:
        """A request is on its way no more, however it ended."""
        with self._lock:
            self._flying.discard(name)
            self._lock.notify_all()

    def _write(self, line: dict[str, Any] | None) -> None:
        """Read what others noted, then add a line, under a lock that holds among processes."""
        if self._file is None:
            self._check(line)
            self._take(line)
            return
        try:
            with self._file.open("a+b") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX)
                stream.seek(self._read)
                whole, newline, torn = stream.read().rpartition(b"\n")
                for each in whole.split(b"\n") if newline else ():
                    self._take(_line(each))
                self._read += len(whole) + len(newline)
                self._check(line)
                if line is not None:
                    said = (b"\n" if torn else b"") + json.dumps(line).encode() + b"\n"
                    stream.write(said)
                    stream.flush()
        except OSError as error:
            raise RunError(
                f"the ledger of requests cannot be written: {error.strerror}",
                where=self._file,
                mend="free some space or make the folder writable, then start the same command again",
            ) from error
        if line is not None:
            self._take(line)  # and once more from the file, which changes nothing

    def _take(self, line: dict[str, Any] | None) -> None:
        if line is not None and isinstance(line.get("request"), str):
            # A line that an end was never noted for counts as paid.
            self._open[line["request"]] = bool(line.get("billed", self._open.get(line["request"], True)))

    def _check(self, line: dict[str, Any] | None) -> None:
        if line is None or "asked" not in line:
            return
        paid = sum(self._open.values())
        if not self._options.allows(paid):
            raise BudgetError(
                f"the budget of {self._options.ceiling} is spent: {self._so_far(paid)}",
                where="--max-images" if self._options.max_images is not None else "--max-cost",
                mend="start the same command again with a higher budget: it goes on, and pays for nothing twice",
            )

    def _so_far(self, paid: int) -> str:
        price = self._options.price
        cost = f" ({paid * price:.2f} at {price:g} each)" if price is not None else ""
        return f"{paid:,} so far{cost}"


def _line(data: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(data)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None
