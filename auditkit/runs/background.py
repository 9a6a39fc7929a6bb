"""Encoding and writing on threads of their own, while the next images are made."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from PIL import Image

from auditkit.runs.refusals import Refused
from auditkit.runs.writer import RunWriter, Shard

AHEAD = 64
"""Images that may wait to be written: two batches of a CPU, and no more memory than that."""
WRITERS = 8
"""Threads that encode and write images, at most one for two cores: a GPU makes them faster than one thread encodes."""


class Background:
    """Writes shards in the order in which they are given, behind the back of what makes the images.

        with Background(writer) as background:
            for position, image in ...:
                background.add(shard, position, image)
            background.end(shard, ms, settings)

    PNG encoding lets go of the interpreter, so a batch is written while the next one is denoised. Images are written
    side by side, shards are kept in order. Who adds images faster than they can be written waits. Leaving the block
    waits for what was given; leaving it by an exception drops what was not begun. An error of a thread is raised once,
    by the next call or on leaving.
    """

    def __init__(self, writer: RunWriter, *, ahead: int = AHEAD):
        self.writer = writer
        self._room = threading.BoundedSemaphore(ahead)
        threads = max(1, min(WRITERS, (os.cpu_count() or 1) // 2))
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="writer")
        self._keeper = ThreadPoolExecutor(1, thread_name_prefix="keeper")
        self._stored: dict[int, dict[int, Future[dict[str, Any] | Refused | None]]] = {}
        self._error: BaseException | None = None
        self._dropped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._dropped = error is not None
        for pool in (self._pool, self._keeper):
            pool.shutdown(wait=True, cancel_futures=self._dropped)
        if error is None:
            self._raise()

    def add(self, shard: Shard, position: int, image: Image.Image | Refused) -> None:
        """Give the image of the shard's task number `position`.

        Raises:
            RunError: an earlier one could not be written.
        """
        self._room.acquire()
        self._raise()
        stored = self._pool.submit(self._store, shard, image)
        self._stored.setdefault(shard.index, {})[position] = stored

    def end(self, shard: Shard, ms: Sequence[float], settings: Sequence[dict[str, Any]]) -> None:
        """All images of a shard were given; see `RunWriter.write_shard`.

        Raises:
            RunError: one of them could not be written.
        """
        self._raise()
        self._keeper.submit(self._keep, shard, self._stored.pop(shard.index, {}), ms, settings)

    def _store(self, shard: Shard, image: Image.Image | Refused) -> dict[str, Any] | Refused | None:
        try:
            if self._error is None and not self._dropped:
                return self.writer.store(shard, image)
        except BaseException as error:
            self._error = error
        finally:
            self._room.release()
        return None

    def _keep(
        self,
        shard: Shard,
        storing: dict[int, Future[dict[str, Any] | Refused | None]],
        ms: Sequence[float],
        settings: Sequence[dict[str, Any]],
    ) -> None:
        try:
            stored = [storing[position].result() for position in sorted(storing)]
            if self._error is None and not self._dropped:
                self.writer.keep(shard, [each for each in stored if each is not None], ms, settings)
        except BaseException as error:
            self._error = self._error or error

    def _raise(self) -> None:
        if self._error is not None:
            self._dropped = True
            raise self._error
