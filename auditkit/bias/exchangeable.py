"""The prompts of a run as the units of a test that exchanges them between groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.bias.base import Mask

Indices = NDArray[np.intp]

FEWEST_PROMPTS = 3
"""Fewest prompts of a group that is compared with others: with two, one prompt's oddity cannot be told."""


@dataclass(frozen=True)
class Units:
    """Prompts, each in one group; those of groups that are too small are not among them.

    Attributes:
        names: [n_groups] of the groups that can be compared; without groups one, `all`.
        chosen: bool [n_images], the images of these groups.
        unit: [n_chosen] index of each chosen image's prompt.
        group: [P] index of each prompt's group. block: [P]; prompts change places within a block.
        left_out: by group that cannot be compared, why.
        exchange: in words, which prompts change places.
    """

    names: list[str]
    chosen: Mask
    unit: Indices
    group: Indices
    block: Indices
    left_out: dict[str, str]
    exchange: str

    @property
    def comparable(self) -> bool:
        """Whether there are two groups or more."""
        return len(self.names) > 1

    def counts(self, label: Indices, n_classes: int) -> NDArray[np.float64]:
        """Images by prompt and class, float64 [P, n_classes], of labels [n_images]."""
        flat = self.unit * n_classes + label[self.chosen]
        return np.bincount(flat, minlength=len(self.group) * n_classes).reshape(-1, n_classes).astype(float)


def prompt_units(images: pd.DataFrame, groups: Mapping[str, Mask]) -> Indices:
    """The unit of each image, [n_images]: its prompt, or its prompt and group where groups share a prompt."""
    code = np.full(len(images), -1)
    for index, chosen in enumerate(groups.values()):
        code[chosen] = index
    pairs = images["prompt_id"].to_numpy(np.int64) * (len(groups) + 1) + code + 1
    return np.unique(pairs, return_inverse=True)[1].astype(np.intp)


def find_units(images: pd.DataFrame, groups: Mapping[str, Mask], by: str, *, min_n: int) -> Units:
    """The units of a comparison of groups; with no groups, all prompts as one group `all`.

    Prompts change places with those of the same template and the same values of the other axes, where groups have
    equally many such prompts; else with any.
    """
    whole = prompt_units(images, groups)
    shown = dict(groups) or {"all": np.ones(len(images), bool)}
    left_out, names = {}, []
    for name, mask in shown.items():
        n, prompts = int(mask.sum()), len(np.unique(whole[mask]))
        if n < max(min_n, 1):
            left_out[name] = f"{n} images; {max(min_n, 1)} are needed"
        elif prompts < FEWEST_PROMPTS:
            left_out[name] = f"{prompts} prompt{'s' * (prompts != 1)}; {FEWEST_PROMPTS} are needed to compare groups"
        else:
            names.append(name)
    chosen = np.any([shown[name] for name in names], axis=0) if names else np.zeros(len(images), bool)
    first, unit = np.unique(whole[chosen], return_index=True, return_inverse=True)[1:]
    of_unit = images[chosen].iloc[first]
    code = np.zeros(len(images), np.intp)
    for index, name in enumerate(names):
        code[shown[name]] = index
    group = code[chosen][first]
    others = [c for c in images.columns if c.startswith("axis_") and c != f"axis_{by}"]
    block, exchange = _blocks(of_unit, group, others)
    return Units(names, chosen, unit.astype(np.intp), group, block, left_out, exchange)


def _blocks(of_unit: pd.DataFrame, group: Indices, others: list[str]) -> tuple[Indices, str]:
    alike = np.asarray(of_unit.groupby(["template", *others], sort=False, dropna=False).ngroup(), np.intp)
    n_groups = int(group.max(initial=-1)) + 1
    if len(np.unique(alike)) > 1:
        # Several prompts of a group that are alike are paired off in the order of the prompts.
        turn = np.asarray(pd.Series(alike * n_groups + group).groupby(alike * n_groups + group).cumcount(), np.intp)
        block = np.unique(alike * (turn.max() + 1) + turn, return_inverse=True)[1].astype(np.intp)
        table = np.bincount(block * n_groups + group, minlength=(block.max() + 1) * n_groups)
        if (table == 1).all():
            return block, "prompts of one template change places" + (", other axes alike" if others else "")
    return np.zeros(len(of_unit), np.intp), "any prompts change places"
