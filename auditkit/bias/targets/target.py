"""A target: shares of each class, by group."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from auditkit.errors import SpecError

ALL = "all"
"""The group of every image; in a table, the rows that hold for groups without rows of their own."""

TOLERANCE = 1e-6


@dataclass(frozen=True)
class Target:
    """A named target.

    Attributes:
        name: `uniform`, `planted`, a shipped table's name, a run's id, or the CSV's file name.
        table: columns group, attribute (empty: any), category, share; None for `uniform`.
        where: what to name in errors.
        partial: whether groups and attributes without rows have no target (their shares are NaN), so that they are
            measured without a comparison; otherwise a group without rows is an error.
        note: what to say beside every comparison with it, or empty.
    """

    name: str
    table: pd.DataFrame | None
    where: str
    partial: bool = False
    note: str = ""

    def shares(
        self, attribute: str, groups: Mapping[str, float], classes: Sequence[str]
    ) -> dict[str, dict[str, float]]:
        """Target share of each class, by group, and for `all` the mean over groups.

        Args:
            attribute: `gender`, or joint `gender+skin_tone` (classes then are `female+dark`).
            groups: name and weight of each, such as its number of images; the weights of `all`'s mean.
            classes: the attribute's classes; those a table leaves out have share 0.

        Returns:
            Shares that sum to 1; of a partial target NaN where it says nothing (see `missing`), which for `all` is
            so as soon as it says nothing of some group.

        Raises:
            SpecError: the table names a class or group that is not there, lacks a group, or its shares
                are negative or do not sum to 1 within 1e-6.
        """
        if self.table is None:
            even = {name: 1 / len(classes) for name in classes}
            return {group: dict(even) for group in [*groups, ALL]}
        rows = self.table[self.table["attribute"].isin(["", attribute])]
        speaks = not rows.empty
        if self.partial:
            rows = self._of(rows, groups)
        self._names("group", rows["group"], [*groups, ALL])
        self._names("category", rows["category"], classes)
        tables = {str(g): self._one(str(g), part, classes) for g, part in rows.groupby("group", sort=False)}
        silent = dict.fromkeys(classes, math.nan)
        found = {}
        for group in groups:
            if group not in tables and ALL not in tables and not self.partial:
                raise SpecError(
                    f"The target has no shares of {attribute} for the group '{group}'.",
                    where=self.where,
                    mend=f"add rows for '{group}', or rows with group 'all' for every group without its own",
                )
            found[group] = tables.get(group, tables.get(ALL, silent))
        total = sum(groups.values())
        if total > 0:
            pooled = {c: sum(w * found[g][c] for g, w in groups.items()) / total for c in classes}
        elif ALL in tables:
            pooled = tables[ALL]
        elif self.partial and not speaks:
            pooled = silent
        else:
            raise SpecError(
                "The target has shares by group, and the run is not grouped.",
                where=self.where,
                mend="measure by the axis whose values the target names, or add rows with group 'all'",
            )
        return found | {ALL: pooled}

    def missing(self, shares: Mapping[str, float]) -> str:
        """Why one group's shares are no target, for a note; empty where they are one."""
        if all(math.isfinite(share) for share in shares.values()):
            return ""
        return f"measured without a comparison: the target {self.name} says nothing of it"

    def _of(self, rows: pd.DataFrame, groups: Mapping[str, float]) -> pd.DataFrame:
        """The rows of groups that are there: a partial target may be of more groups than the run."""
        here = rows[rows["group"].isin([*groups, ALL])]
        if groups and here.empty and not rows.empty:
            known = [str(name) for name in rows["group"].unique()]
            first = next(iter(groups))
            near = difflib.get_close_matches(first, known, n=1, cutoff=0.5) or known[:1]
            raise SpecError(
                f"The target says nothing of any group of the run, such as '{first}'; it knows '{near[0]}'.",
                where=self.where,
                mend="measure by the axis whose values the target names, or use another target",
            )
        return here

    def _names(self, what: str, names: Iterable[object], known: Sequence[str]) -> None:
        for name in dict.fromkeys(map(str, names)):
            if name not in known:
                near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
                raise SpecError(
                    f"The target names the {what} '{name}', which is not there"
                    + (f"; did you mean {' or '.join(near)}?" if near else "."),
                    where=self.where,
                    mend=f"use one of: {', '.join(known)}",
                )

    def _one(self, group: str, rows: pd.DataFrame, classes: Sequence[str]) -> dict[str, float]:
        doubled = rows["category"][rows["category"].duplicated()]
        if len(doubled):
            raise SpecError(
                f"The target gives '{doubled.iloc[0]}' twice for the group '{group}'.",
                where=self.where,
                mend="keep one row for each group and category",
            )
        total = rows["share"].sum()
        if not (rows["share"] >= 0).all() or abs(total - 1) > TOLERANCE:
            raise SpecError(
                f"The target's shares for the group '{group}' sum to {total:.6g}, with the least "
                f"{rows['share'].min():.6g}; they must be >= 0 and sum to 1.",
                where=self.where,
                mend="correct the shares; they may differ from 1 by at most 1e-6",
            )
        given = dict(zip(rows["category"], rows["share"] / total, strict=True))
        return {name: float(given.get(name, 0.0)) for name in classes}
