"""Targets that shares are held against: uniform, planted, or a table of the user's. None is the fair one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from auditkit.errors import SpecError

if TYPE_CHECKING:
    from auditkit.runs import Run

ALL = "all"
"""The group of every image; in a CSV, the rows that hold for groups without rows of their own."""

TOLERANCE = 1e-6


@dataclass(frozen=True)
class Target:
    """A named target.

    Attributes:
        name: `uniform`, `planted`, or the CSV's file name.
        table: columns group, attribute (empty: any), category, share; None for `uniform`.
        where: what to name in errors.
    """

    name: str
    table: pd.DataFrame | None
    where: str

    def shares(
        self, attribute: str, groups: Mapping[str, float], classes: Sequence[str]
    ) -> dict[str, dict[str, float]]:
        """Target share of each class, by group, and for `all` the mean over groups.

        Args:
            attribute: `gender`, or joint `gender+skin_tone` (classes then are `female+dark`).
            groups: name and weight of each, such as its number of images; the weights of `all`'s mean.
            classes: the attribute's classes; those a table leaves out have share 0.

        Raises:
            SpecError: the table names a class or group that is not there, lacks a group, or its shares
                are negative or do not sum to 1 within 1e-6.
        """
        if self.table is None:
            even = {name: 1 / len(classes) for name in classes}
            return {group: dict(even) for group in [*groups, ALL]}
        rows = self.table[self.table["attribute"].isin(["", attribute])]
        self._names("group", rows["group"], [*groups, ALL])
        self._names("category", rows["category"], classes)
        tables = {str(g): self._one(str(g), part, classes) for g, part in rows.groupby("group", sort=False)}
        found = {}
        for group in groups:
            if group not in tables and ALL not in tables:
                raise SpecError(
                    f"The target has no shares of {attribute} for the group '{group}'.",
                    where=self.where,
                    mend=f"add rows for '{group}', or rows with group 'all' for every group without its own",
                )
            found[group] = tables.get(group, tables.get(ALL, {}))
        total = sum(groups.values())
        if total > 0:
            pooled = {c: sum(w * found[g][c] for g, w in groups.items()) / total for c in classes}
        elif ALL in tables:
            pooled = tables[ALL]
        else:
            raise SpecError(
                "The target has shares by group, and the run is not grouped.",
                where=self.where,
                mend="measure by the axis whose values the target names, or add rows with group 'all'",
            )
        return found | {ALL: pooled}

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


def load_target(name_or_path: str | Path, run: Run, *, by: str, attributes: Sequence[str]) -> Target:
    """The target of that name.

    Args:
        name_or_path: `uniform`; `planted`, what the run's generator was trained to show; or a CSV with
            columns group, category, share and, where the groups have several attributes, attribute.
        by: the axis that groups the images; a planted table is by occupation.
        attributes: those to be measured.

    Raises:
        SpecError: no such target or file, a CSV without its columns, or a run without a planted table.
    """
    name = str(name_or_path)
    if name == "uniform":
        return Target(name, None, name)
    if name == "planted":
        return Target(name, _planted(run, by, attributes), f"planted table of run {run.id}")
    path = Path(name_or_path)
    if not path.is_file():
        near = difflib.get_close_matches(name, ["uniform", "planted"], n=1)
        raise SpecError(
            f"There is no target '{name}'" + (f"; did you mean {near[0]}?" if near else "."),
            where=name,
            mend="use uniform, planted, or the path of a CSV with columns group, category, share",
        )
    return Target(path.name, _read_csv(path, attributes), str(path))


def target_shares(
    name_or_path: str | Path,
    attribute: str,
    group: str,
    run: Run,
    *,
    by: str = "occupation",
    classes: Sequence[str] | None = None,
) -> dict[str, float]:
    """Target share of each class of one attribute in one group (an axis value, or `all`).

    Args:
        classes: by default those of the shipped attribute.

    Raises:
        SpecError: see `load_target` and `Target.shares`; or the group is not in the run.
    """
    if classes is None:
        from auditkit.clip.attributes import attribute as find

        classes = [""]
        for part in attribute.split("+"):
            classes = [f"{a}+{b}".lstrip("+") for a in classes for b in find(part).classes]
    images = run.images()
    sizes = images[f"axis_{by}"].value_counts().to_dict() if f"axis_{by}" in images else {}
    target = load_target(name_or_path, run, by=by, attributes=[attribute])
    shares = target.shares(attribute, {str(g): float(n) for g, n in sizes.items()}, classes)
    if group not in shares:
        raise SpecError(
            f"There is no group '{group}' in the run.",
            where=f"run {run.id}",
            mend=f"use one of: {', '.join(shares)}",
        )
    return shares[group]


def _planted(run: Run, by: str, attributes: Sequence[str]) -> pd.DataFrame:
    table = run.planted
    where = f"run {run.id}"
    if table is None:
        raise SpecError(
            "The run's generator has no planted table.", where=where, mend="use the target uniform or a CSV"
        )
    if by not in table:
        raise SpecError(
            f"The planted table is by occupation, and the images are grouped by {by}.",
            where=where,
            mend="measure by occupation, or use another target",
        )
    parts = []
    for attribute in attributes:
        names = attribute.split("+")
        missing = [name for name in names if name not in table]
        if missing:
            raise SpecError(
                f"The planted table says nothing of {missing[0]}.",
                where=where,
                mend="measure gender or skin_tone",
            )
        sums = table.groupby([by, *names], sort=False)["probability"].sum().reset_index()
        category = sums[names].astype(str).agg("+".join, axis=1)
        parts.append(
            pd.DataFrame(
                {
                    "group": sums[by],
                    "attribute": attribute,
                    "category": category,
                    "share": sums["probability"],
                }
            )
        )
    planted = pd.concat(parts, ignore_index=True)
    # A run may ask for some of the generator's occupations only.
    images = run.images()
    here = set(images[f"axis_{by}"]) if f"axis_{by}" in images else set()
    return planted[planted["group"].isin(here)]


def _read_csv(path: Path, attributes: Sequence[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise SpecError(
            f"The target cannot be read: {str(error).splitlines()[0]}",
            where=path,
            mend="save it as a UTF-8 CSV",
        ) from error
    for column in ("group", "category", "share"):
        if column not in table:
            near = difflib.get_close_matches(column, map(str, table.columns), n=1, cutoff=0.5)
            raise SpecError(
                f"The target has no column '{column}'" + (f"; did you mean '{near[0]}'?" if near else "."),
                where=path,
                mend="give the columns group, category, share (and attribute, where there are several)",
            )
    share = pd.to_numeric(table["share"], errors="coerce")
    empty = table[["group", "category"]].isna().any(axis=1) | share.isna()
    if empty.any():
        raise SpecError(
            "The target has a row without a group, a category or a number as share.",
            where=f"{path}, line {int(empty.to_numpy().argmax()) + 2}",
            mend="fill it in or delete it",
        )
    named = (
        table["attribute"].fillna("").astype(str)
        if "attribute" in table
        else pd.Series("", index=table.index)
    )
    if (named == "").any() and len(attributes) > 1:
        raise SpecError(
            f"{len(attributes)} attributes are measured, and the target does not say which it is for.",
            where=path,
            mend=f"add a column attribute ({', '.join(attributes)}), or measure one attribute",
        )
    text = table[["group", "category"]].astype(str)
    return text.assign(attribute=named, share=share)
