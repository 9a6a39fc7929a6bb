"""What each training step is shown, drawn ahead by worker processes: drawing captions keeps a GPU waiting otherwise."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from auditkit.processes import without_main
from generators.training.draws import GeneratorDraws

if TYPE_CHECKING:
    import pandas as pd

CONTEXT = 24  # tokens; the longest training caption has 21
DROPOUT = 0.1  # captions emptied, for classifier-free guidance (Ho & Salimans 2022)
AHEAD = 4  # batches that each worker is ahead by

Batch = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]
"""Rows of the drawings [n], token ids of their captions [n, CONTEXT], and which of the tokens are no padding."""
Made = TypeVar("Made")


@dataclass
class Captioned:
    """Step index -> Batch, by the index and the seed alone; picklable, for it runs in other processes too.

    Args:
        draws: what pairs are drawn; its table needs no pictures. tokenizer: folder of a CLIPTokenizer.
    """

    draws: GeneratorDraws
    tokenizer: Path
    size: int
    seed: int
    _known: dict[str, tuple[list[int], list[int]]] = field(default_factory=dict, repr=False)
    _loaded: Any = field(default=None, repr=False)

    def __call__(self, index: int) -> Batch:
        batch = self.draws.batch(index, self.size, seed=self.seed)
        dropped = Random(f"{self.seed}|{index}|drop")
        texts = ["" if dropped.random() < DROPOUT else draw.caption for draw in batch]
        ids, mask = zip(*(self._tokens(text) for text in texts), strict=True)
        return np.array([draw.row for draw in batch]), np.array(ids), np.array(mask, dtype=bool)

    def _tokens(self, text: str) -> tuple[list[int], list[int]]:
        if text not in self._known:
            if self._loaded is None:
                from transformers import CLIPTokenizer

                self._loaded = CLIPTokenizer.from_pretrained(self.tokenizer)
            made = self._loaded(text, padding="max_length", max_length=CONTEXT, truncation=True)
            self._known[text] = (made.input_ids, made.attention_mask)
        return self._known[text]


def captioned(rows: pd.DataFrame, planted: pd.DataFrame, tokenizer: Path, *, size: int, seed: int) -> Captioned:
    """Batches of `size` from the training `rows` under the `planted` shares; the pictures stay behind."""
    return Captioned(GeneratorDraws(rows.drop(columns="png"), planted), tokenizer, size, seed)


class Ahead(Generic[Made]):
    """`make(index)` for one index after another, worked out beforehand by `workers` processes; 0 is none.

    The results are those of `make` itself, so that training does not depend on how many processes there are.
    """

    def __init__(self, make: Callable[[int], Made], workers: int) -> None:
        self._make, self._depth = make, workers * AHEAD
        self._waiting: dict[int, Future[Made]] = {}
        self._pool: ProcessPoolExecutor | None = None
        if workers:
            # Spawned, not forked: a fork would carry CUDA's and OpenMP's threads over, which hang there.
            self._pool = ProcessPoolExecutor(workers, get_context("spawn"), _install, (make,))

    def __enter__(self) -> Ahead[Made]:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __call__(self, index: int) -> Made:
        if self._pool is None:
            return self._make(index)
        for i in range(index, index + self._depth):
            if i not in self._waiting:
                with without_main():  # the pool starts its processes as tasks come
                    self._waiting[i] = self._pool.submit(_work, i)
        return self._waiting.pop(index).result()


_installed: Callable[[int], Any] | None = None  # of a worker process


def _install(make: Callable[[int], Any]) -> None:
    global _installed
    _installed = make


def _work(index: int) -> Any:
    assert _installed is not None
    return _installed(index)


def workers_for(device: str) -> int:
    """How many processes draw ahead: none on a CPU, which has nothing to wait for."""
    import os

    return min(8, max(1, (os.cpu_count() or 1) - 2)) if device.startswith("cuda") else 0
