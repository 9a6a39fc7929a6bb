"""Encoding and writing on a thread of its own, while the next images are made."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from PIL import Image

from auditkit.runs.refusals import Refused
from auditkit.runs.writer import RunWriter, Shard

AHEAD = 64
"""Images that may wait to be written: two batches of a CPU, and no more memory than that."""


class Background:
    """Writes shards in the order in which they are given, behind the back of what makes the images.

        with Background(writer) as background:
            for position, image in ...:
                background.add(shard, position, image)
            background.end(shard, ms, settings)

    PNG encoding lets go of the interpreter, so a batch is written while the next one is denoised. Who adds images
    faster than they can be written waits. Leaving the block waits for what was given; leaving it by an exception
    drops what was not begun. An error of the thread is raised once, by the next call or on leaving.
    """

    def __init__(self, writer: RunWriter, *, ahead: int = AHEAD):
        self.writer = writer
        self._room = threading.BoundedSemaphore(ahead)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._stored: dict[int, dict[int, dict[str, Any] | Refused]] = {}
        self._error: BaseException | None = None
        self._dropped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._dropped = error is not None
        self._pool.shutdown(wait=True, cancel_futures=self._dropped)
        if error is None:
            self._raise()

    def add(self, shard: Shard, position: int, image: Image.Image | Refused) -> None:
        """Give the image of the shard's task number `position`.

        Raises:
            RunError: an earlier one could not be written.
        """
        self._room.acquire()
        self._raise()
        self._pool.submit(self._store, shard, position, image)

    def end(self, shard: Shard, ms: Sequence[float], settings: Sequence[dict[str, Any]]) -> None:
        """All images of a shard were given; see `RunWriter.write_shard`.

        Raises:
            RunError: one of them could not be written.
        """
        self._raise()
        self._pool.submit(self._keep, shard, ms, settings)

    def _store(self, shard: Shard, position: int, image: Image.Image | Refused) -> None:
        try:
            if self._error is None and not self._dropped:
                self._stored.setdefault(shard.index, {})[position] = self.writer.store(shard, image)
        except BaseException as error:
            self._error = error
        finally:
            self._room.release()

    def _keep(self, shard: Shard, ms: Sequence[float], settings: Sequence[dict[str, Any]]) -> None:
        try:
            if self._error is None and not self._dropped:
                stored = self._stored.pop(shard.index, {})
                self.writer.keep(shard, [stored[position] for position in sorted(stored)], ms, settings)
        except BaseException as error:
            self._error = error

    def _raise(self) -> None:
        if self._error is not None:
            self._dropped = True
            raise self._error
