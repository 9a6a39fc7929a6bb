"""What each training step is shown: images by their weights, one bucket a batch, captions turned as asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.errors import SpecError, TableError
from generators.training.own.balance import UNLABELLED, Balance
from generators.training.own.reading import Data
from generators.training.own.words import NEUTRAL, Words

OWN, BORROWED, NEUTRALISED, EMPTY = range(4)
"""What a draw's caption is: the image's own, another group's turned to this one, without the group, none."""


@dataclass(frozen=True)
class Mix:
    """How captions are treated; the shares of draws, each in [0, 1].

    Attributes:
        swap: the wording is drawn from all the groups of the image's context alike, and turned to name the image's own
            group. Where the image's own group comes up, its own caption stays. At 1 wording and group are independent.
        neutral: the words that name a group are left out. swap + neutral <= 1.
        dropout: the caption is emptied, for classifier-free guidance (Ho & Salimans 2022); apart from the other two.
    """

    swap: float = 0.0
    neutral: float = 0.0
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name, value in (("swap", self.swap), ("neutral", self.neutral), ("dropout", self.dropout)):
            if not 0 <= value <= 1:
                raise SpecError("A share of captions must be from 0 to 1.", where=f"{name} {value}")
        if self.swap + self.neutral > 1:
            raise SpecError(
                "The shares of swapped and of neutral captions come to more than 1.",
                where=f"{self.swap} + {self.neutral}",
                mend="A draw's caption is one or the other: lower one of them.",
            )


@dataclass(frozen=True)
class Drawn:
    """One batch: rows of the data, int64 [n], all of bucket `bucket`; what their captions are, int64 [n] of OWN ...
    EMPTY; whose caption it is, int64 [n], the image's own row unless BORROWED."""

    bucket: int
    rows: NDArray[np.int64]
    kinds: NDArray[np.int64]
    lenders: NDArray[np.int64]


@dataclass
class OwnDraws:
    """Batches by index and seed alone.

    A batch takes a bucket by the sum of its images' weights, and then images in it by theirs, with replacement: so
    every image is drawn as often as its weight says, whatever bucket it is in.

    Args:
        buckets: of each image, int64 [images].
        words: by attribute, for `mix.swap` and `mix.neutral`, and to tell which captions name no group.

    Raises:
        TableError: captions are to be turned for an attribute whose words or values are not known.
    """

    data: Data
    balance: Balance
    buckets: NDArray[np.int64]
    words: dict[str, Words]
    mix: Mix
    size: int
    seed: int
    _texts: dict[tuple[int, int, int], str] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.put(self.buckets)
        self._labelled = np.array(self.balance.group) != UNLABELLED
        self._spoken = [self.words[name] for name in self.balance.by if name in self.words]
        turning = self.mix.swap > 0 or self.mix.neutral > 0
        if turning:
            self._check_words()
        self._names = [self._named(item.caption) for item in self.data.items]
        own = [self._own(row) for row in range(len(self._names))]
        # A caption that also names another group cannot be told to be about one of them.
        lends = [named <= mine for named, mine in zip(self._names, own, strict=True)]
        self._lends = np.array(lends) & self._labelled
        self._pools: dict[str, list[NDArray[np.int64]]] = {}
        cells: dict[Any, Any] = (
            pd.DataFrame({"c": self.balance.context, "g": self.balance.group}).groupby(["c", "g"]).indices
        )
        for (context, _), rows in sorted(cells.items()):
            if (pool := rows[self._lends[rows]]).size:
                self._pools.setdefault(context, []).append(pool)
        neutral = [self._turned(row, row, NEUTRALISED) for row in range(len(own))] if turning else []
        self._neutral = np.array([not self._named(text) for text in neutral]) if turning else np.array([], bool)

    def put(self, buckets: NDArray[np.int64]) -> None:
        """Put the images into other buckets: that of each image, int64 [images]."""
        self.buckets, p = buckets, self.balance.probability
        self._members = [np.flatnonzero(buckets == b) for b in range(int(buckets.max()) + 1)]
        self._bucket_ends = np.cumsum([p[rows].sum() for rows in self._members])
        self._ends = [np.cumsum(p[rows]) for rows in self._members]

    def batch(self, index: int) -> Drawn:
        """The draws of batch `index`."""
        draw = np.random.default_rng((self.seed % 2**63, index)).random(1 + 4 * self.size)
        bucket = _pick(self._bucket_ends, draw[:1])[0]
        which, how, whose, drop = draw[1:].reshape(4, self.size)
        rows = self._members[bucket][_pick(self._ends[bucket], which)]
        kinds = np.where(how < self.mix.swap, BORROWED, OWN)
        kinds[(how >= self.mix.swap) & (how < self.mix.swap + self.mix.neutral)] = NEUTRALISED
        lenders = rows.copy()
        for i in np.flatnonzero(kinds == BORROWED):
            lenders[i] = self._lender(rows[i], whose[i])
        kinds[(kinds == BORROWED) & (lenders == rows)] = OWN
        kinds[(kinds == NEUTRALISED) & ~self._labelled[rows]] = OWN
        kinds[drop < self.mix.dropout] = EMPTY
        return Drawn(int(bucket), rows, kinds, np.where(kinds == BORROWED, lenders, rows))

    def captions(self, drawn: Drawn) -> list[str]:
        """The text of each draw."""
        keys = zip(drawn.rows.tolist(), drawn.lenders.tolist(), drawn.kinds.tolist(), strict=True)
        return [self._turned(*key) for key in keys]

    def every_caption(self) -> list[str]:
        """Captions as they are, neutral, and turned to each group, for fitting a vocabulary."""
        texts = {item.caption for item in self.data.items}
        for text in list(texts):
            for words in self._spoken:
                texts |= {words.turned(text, group) for group in (NEUTRAL, *words.groups)}
        return sorted(texts)

    def count(self, indices: Iterable[int]) -> pd.DataFrame:
        """What these batches drew, a row for each of `balance.cells`: counted, not expected.

        Columns `drawn`, `drawn_share` (of its context's labelled draws), `borrowed`, `neutralised`, `emptied`,
        `unnamed` (draws whose caption names no group though it says something) and `unnamed_share` (of those of its
        context: what a prompt that leaves the group out is taught). The last two are missing where an attribute has
        no words.
        """
        cells = self.balance.cells
        number = {key: i for i, key in enumerate(zip(cells["context"], cells["group"], strict=True))}
        cell = np.array([number[key] for key in zip(self.balance.context, self.balance.group, strict=True)])
        unnamed = np.array([not named for named in self._names])
        totals = np.zeros((5, len(cells)), np.int64)
        for index in indices:
            drawn = self.batch(index)
            silent = (drawn.kinds != EMPTY) & unnamed[drawn.lenders]
            changed = drawn.kinds == NEUTRALISED
            silent[changed] = self._neutral[drawn.rows[changed]]
            # A caption that names nobody has nothing to leave out.
            changed &= ~unnamed[drawn.rows]
            masks = (np.ones(self.size, bool), drawn.kinds == BORROWED, changed, drawn.kinds == EMPTY, silent)
            for total, mask in zip(totals, masks, strict=True):
                total += np.bincount(cell[drawn.rows[mask]], minlength=len(cells))
        made = cells.copy()
        made["drawn"], made["borrowed"], made["neutralised"], made["emptied"], made["unnamed"] = totals
        made["drawn_share"] = _within(made, "drawn")
        made["unnamed_share"] = _within(made, "unnamed")
        if not self._told():
            made["unnamed"], made["unnamed_share"] = pd.NA, np.nan
        columns = ["drawn", "drawn_share", "borrowed", "neutralised", "emptied", "unnamed", "unnamed_share"]
        return made[[*cells.columns, *columns]]

    @property
    def warnings(self) -> list[str]:
        """What the reader should know of the captions."""
        if not self.mix.swap:
            return []
        lent = np.flatnonzero(self._lends).tolist()
        forms = {(self.balance.context[row], self._turned(row, row, NEUTRALISED).lower()) for row in lent}
        told = []
        if len(forms) > len(lent) / 2:
            told.append(
                f"the {len(lent)} captions that can be swapped have {len(forms)} wordings: where a caption says more "
                "of its image than context and group, another image's caption does not fit; --neutral-captions does"
            )
        if kept := sum(1 for group, lends in zip(self.balance.group, self._lends, strict=True)
                       if group != UNLABELLED and not lends):  # fmt: skip
            told.append(f"{kept} captions name another group than their image's, or several: they are lent to none")
        return told

    def _lender(self, row: int, draw: float) -> int:
        """Whose caption stands beside image `row`: a group of its context evenly, then one of its captions evenly."""
        pools = self._pools.get(self.balance.context[row], [])
        if not self._lends[row] or len(pools) < 2:
            return row
        at = min(int(draw * len(pools)), len(pools) - 1)
        pool = pools[at]
        lender = int(pool[min(int((draw * len(pools) - at) * len(pool)), len(pool) - 1)])
        return row if self.balance.group[lender] == self.balance.group[row] else lender

    def _turned(self, row: int, lender: int, kind: int) -> str:
        if kind == EMPTY:
            return ""
        text = self.data.items[lender].caption
        if kind == OWN:
            return text
        if (row, lender, kind) not in self._texts:
            mine = self.data.items[row].attributes
            known = [value for name, value in mine.items() if name not in self.balance.by]
            for words in self._spoken:
                text = words.turned(text, mine[words.attribute] if kind == BORROWED else NEUTRAL, known)
            if len(self._texts) < 1_000_000:
                self._texts[(row, lender, kind)] = text
            return text
        return self._texts[(row, lender, kind)]

    def _named(self, text: str) -> frozenset[tuple[str, str]]:
        return frozenset((words.attribute, group) for words in self._spoken for group in words.named(text))

    def _own(self, row: int) -> frozenset[tuple[str, str]]:
        return frozenset(self.data.items[row].attributes.items())

    def _told(self) -> bool:
        return bool(self.balance.by) and len(self._spoken) == len(self.balance.by)

    def _check_words(self) -> None:
        if not self.balance.by:
            raise SpecError(
                "Captions are to be turned, and no attribute is named.",
                where="--swap-captions, --neutral-captions",
                mend="Pass --balance, such as --balance gender (with --max-repeat 1 to leave the weights alone).",
            )
        for name in self.balance.by:
            mend = "Add them in a TOML file with --words; generators/training/own/words.toml shows the form."
            if name not in self.words:
                raise TableError(f"No words are known that name '{name}' in a caption.", where="--words", mend=mend)
            values, groups = set(self.data.attributes[name]), self.words[name].groups
            if strange := sorted(values - set(groups)):
                what = f"The attribute '{name}' has the value '{strange[0]}'; its words are for: {', '.join(groups)}."
                raise TableError(what, where="--balance", mend=f"Rename the values of the column. Or: {mend}")


def _pick(ends: NDArray[np.float64], draws: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices by the inverse of the cumulative weights `ends`."""
    return np.minimum(np.searchsorted(ends, draws * ends[-1], side="right"), len(ends) - 1)


def _within(cells: pd.DataFrame, column: str) -> pd.Series:
    """Each row's share of its context's labelled rows; missing where those have none, and for the unlabelled."""
    counts = cells[column].where(cells["group"] != UNLABELLED).astype(float)
    totals = counts.groupby(cells["context"]).transform("sum")
    return counts / totals.where(totals > 0)


@dataclass
class OwnBatches:
    """Index -> (bucket [1], rows [n], token ids [n, context]); picklable, for it runs in other processes too."""

    draws: OwnDraws
    tokenizer: Path
    context: int
    _known: dict[str, list[int]] = field(default_factory=dict, repr=False)
    _loaded: Any = field(default=None, repr=False)

    def __call__(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        drawn = self.draws.batch(index)
        ids = [self._tokens(text) for text in self.draws.captions(drawn)]
        return np.array([drawn.bucket]), drawn.rows, np.array(ids)

    def _tokens(self, text: str) -> list[int]:
        if text not in self._known:
            if self._loaded is None:
                from transformers import CLIPTokenizer

                self._loaded = CLIPTokenizer.from_pretrained(self.tokenizer)
            made = self._loaded(text, padding="max_length", max_length=self.context, truncation=True)
            if len(self._known) > 1_000_000:
                self._known.clear()
            self._known[text] = made.input_ids
        return self._known[text]
