"""Pairs of attributes, and what a target says of their cells."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from auditkit.bias.base import ALL, Options
from auditkit.bias.tally import Tally, noted
from auditkit.bias.targets import Target, load_target

if TYPE_CHECKING:
    from auditkit.runs import Run

Floats = NDArray[np.float64]


def pairs(options: Options) -> list[tuple[str, str]]:
    """The pairs to look at: those written as joint attributes, or if there are none all pairs of attributes."""
    joint = [name for name in options.attributes if "+" in name]
    found = [pair for name in joint for pair in combinations(name.split("+"), 2)]
    return list(dict.fromkeys(found or combinations(options.attributes, 2)))


def joint_target(run: Run, options: Options, parts: list[Tally], joint: Tally) -> tuple[Target, dict[str, Floats], str]:
    """The target, its shares of the cells by group (NaN where it says nothing), and what to note of them.

    A table that has no joint shares is taken as if its two attributes were independent.
    """
    goal = load_target(options.target, run, by=options.by, attributes=[joint.attribute])
    if goal.table is None or _speaks_of_cells(goal, joint.attribute):
        return goal, arrays(goal.shares(joint.attribute, joint.sizes(), joint.outcomes.classes)), goal.note
    goal = load_target(options.target, run, by=options.by, attributes=[part.attribute for part in parts])
    a, b = (arrays(goal.shares(part.attribute, part.sizes(), part.outcomes.classes)) for part in parts)
    shares = {name: np.outer(a[name], b[name]).ravel() for name in a}
    if joint.groups:
        weights = joint.sizes()
        shares[ALL] = np.average([shares[name] for name in weights], axis=0, weights=list(weights.values()))
    return goal, shares, noted("the target has each attribute alone; its cells take them as independent", goal.note)


def _speaks_of_cells(goal: Target, attribute: str) -> bool:
    assert goal.table is not None
    named, anonymous = goal.table["attribute"] == attribute, goal.table["attribute"] == ""
    return bool((named | (anonymous & goal.table["category"].str.contains("+", regex=False))).any())


def arrays(shares: dict[str, dict[str, float]]) -> dict[str, Floats]:
    """A target's shares by group as arrays, in the order of the classes."""
    return {name: np.array(list(by_class.values()), float) for name, by_class in shares.items()}
