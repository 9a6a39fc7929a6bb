"""Sampling weights that make groups equally likely within each context: the data-side mitigation.

Images are weighed by the inverse frequency of their group, as when classes are rebalanced; what one image may gain is
capped, since images that are shown often are images that a diffusion model gives back (Somepalli et al. 2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.errors import TableError
from generators.training.own.reading import Data

FEW = 10
"""Below so many images a group is warned of: what is drawn again and again is learned by heart."""
JOINED = " + "
UNLABELLED = "(unlabelled)"
EVERYTHING = "(all images)"


@dataclass(frozen=True)
class Balance:
    """How likely each image is to be drawn, and why.

    Attributes:
        by: the attributes that are rebalanced. within: those whose values are the contexts.
        probability: float64 [images], sums to 1.
        group, context: of each image; `UNLABELLED` where one of the attributes has no value.
        cells: a row a context and group with `images`, `share_in_data` (of the context's labelled images), `target` (an
            even share) and `expected` (what the weights give; less than the target where the cap holds it down).
    """

    by: list[str]
    within: list[str]
    probability: NDArray[np.float64]
    group: list[str]
    context: list[str]
    cells: pd.DataFrame

    @property
    def warnings(self) -> list[str]:
        """What the reader should know: groups without or with few images, and targets that the cap keeps away."""
        told, cells = [], self.cells[self.cells["group"] != UNLABELLED] if self.by else self.cells[:0]
        for fault, rows in (
            ("no image, and stay at 0", cells[cells["images"] == 0]),
            (f"fewer than {FEW} images, copies of which may come back", cells[cells["images"].between(1, FEW - 1)]),
            (
                "less than their target share, for --max-repeat holds them down",
                cells[(cells["images"] > 0) & (cells["expected"] < cells["target"] - 1e-9)],
            ),
        ):
            if len(rows):
                names = [
                    f"{c} / {g}" if self.within else g for c, g in zip(rows["context"], rows["group"], strict=True)
                ]
                shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
                told.append(f"{len(rows)} of {len(cells)} groups have {fault}: {shown}")
        return told


def balance(data: Data, by: list[str], within: list[str], max_repeat: float) -> Balance:
    """Weights under which the groups of `by` (their combinations) are alike within each context.

    A context keeps the share of draws that it has of the images; so do images without a group. Groups that a context
    has no image of cannot be drawn there, and the others share its draws.

    Args:
        by: attributes; [] draws every image alike. within: attributes whose combinations are the contexts; [] is one.
        max_repeat: how many times as often as without weights an image may be drawn, >= 1; 1 changes nothing.

    Raises:
        TableError: an attribute that no image has, or one with a single value.
    """
    _check(data, by, within)
    n = len(data.items)
    group = [_key(item.attributes, by) for item in data.items]
    context = [_key(item.attributes, within) if within else EVERYTHING for item in data.items]
    if not by:
        group = [EVERYTHING] * n
    labels = pd.DataFrame({"context": context, "group": group})
    values = [sorted(data.attributes[name]) for name in by]
    present = set(group)
    # Combinations that no image has anywhere are no groups of this data.
    groups = [key for key in map(JOINED.join, product(*values)) if key in present] if by else [EVERYTHING]
    probability = np.full(n, 1 / n)
    rows = []
    for name, part in labels.groupby("context", sort=True):
        counts = {key: int((part["group"] == key).sum()) for key in groups}
        labelled = sum(counts.values())
        shares = dict(zip(groups, _shares(np.array(list(counts.values())), max_repeat), strict=True)) if by else {}
        for key, count in counts.items():
            if by and count:
                probability[part.index[part["group"] == key]] = shares[key] * labelled / n / count
            share = count / labelled if labelled else float("nan")
            expected = float(shares[key]) if labelled and by else share
            rows.append((name, key, count, share, 1 / len(groups) if labelled else float("nan"), expected))
        rest = len(part) - labelled
        if rest:
            rows.append((name, UNLABELLED, rest, float("nan"), float("nan"), float("nan")))
    columns = ["context", "group", "images", "share_in_data", "target", "expected"]
    cells = pd.DataFrame(rows, columns=columns)
    return Balance(by, within, probability / probability.sum(), group, context, cells)


def _shares(counts: NDArray[np.int64], max_repeat: float) -> NDArray[np.float64]:
    """Even shares of a context's draws for groups of so many images, none above max_repeat x its share of the images.

    What the cap takes from one group the others share evenly, until none is above its cap.
    """
    total = counts.sum()
    shares = np.zeros(len(counts))
    if not total:
        return shares
    caps, open_ = max_repeat * counts / total, counts > 0
    left = 1.0
    while open_.any():
        even = left / open_.sum()
        capped = open_ & (caps <= even + 1e-12)
        if not capped.any():
            shares[open_] = even
            break
        shares[capped] = caps[capped]
        left -= caps[capped].sum()
        open_ &= ~capped
    return shares / shares.sum()


def _key(attributes: dict[str, str], names: list[str]) -> str:
    return JOINED.join(attributes[name] for name in names) if all(n in attributes for n in names) else UNLABELLED


def _check(data: Data, by: list[str], within: list[str]) -> None:
    known = data.attributes
    for option, names in (("--balance", by), ("--balance-within", within)):
        for name in names:
            if name not in known:
                has = f"the data's attributes are: {', '.join(sorted(known)) or 'none'}"
                mend = "Name one of them, or add a column of that name to metadata.csv."
                raise TableError(f"No image has a value of '{name}'; {has}.", where=option, mend=mend)
    for name in by:
        if len(known[name]) < 2:
            only = next(iter(known[name]))
            raise TableError(
                f"Every image that has a value of '{name}' has the same, '{only}': there is nothing to rebalance.",
                where="--balance",
                mend="Add images of other groups, or name another attribute.",
            )
    if doubled := set(by) & set(within):
        what = f"'{sorted(doubled)[0]}' cannot be both rebalanced and a context."
        raise TableError(what, where="--balance-within", mend="Name it once.")
