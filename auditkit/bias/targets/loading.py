"""From the name an auditor gives to a target."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from auditkit.bias.targets.published import shipped
from auditkit.bias.targets.target import ALL, Target
from auditkit.errors import SpecError

if TYPE_CHECKING:
    from auditkit.runs import Run


def load_target(name_or_path: str | Path, run: Run, *, by: str, attributes: Sequence[str]) -> Target:
    """The target of that name.

    Args:
        name_or_path: `uniform`; `planted`, what the run's generator was trained to show; the name of a shipped
            table (`shipped()` lists them); another run, as its folder or as the id of one beside this run; or a
            CSV with columns group, category, share and, where the groups have several attributes, attribute.
        by: the axis that groups the images; a planted table is by occupation.
        attributes: those to be measured.

    Raises:
        SpecError: no such target or file, a CSV without its columns, a run without a planted table, or another run
            that has no corrected shares by that axis.
    """
    name = str(name_or_path)
    if name == "uniform":
        return Target(name, None, name)
    if name == "planted":
        return Target(name, _planted(run, by, attributes), f"planted table of run {run.id}")
    for table in shipped():
        if name == table.name:
            return Target(
                name, read_csv(table.checked_path(), attributes), str(table.path), partial=True, note=_SURVEY
            )
    if other := _run_folder(name, run):
        return _other_run(other, run, by, attributes)
    path = Path(name_or_path)
    if not path.is_file():
        known = ["uniform", "planted", *(table.name for table in shipped())]
        near = difflib.get_close_matches(name, known, n=1)
        raise SpecError(
            f"There is no target '{name}'" + (f"; did you mean {near[0]}?" if near else "."),
            where=name,
            mend=f"use {', '.join(known)}, another run, or the path of a CSV with columns group, category, share",
        )
    return Target(path.name, read_csv(path, attributes), str(path))


_SURVEY = "the target is a survey's estimate of other people than those in pictures, taken as exact"
_ESTIMATE = "the target is another run's estimate, taken as exact; 'auditkit compare' weighs the error of both"


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


def _run_folder(name: str, run: Run) -> Path | None:
    """The folder of the run of that name: a path, or an id beside the run at hand."""
    beside = getattr(run, "path", None)
    for folder in (Path(name), *([Path(beside).parent / name] if beside is not None else [])):
        if (folder / "run.json").is_file():
            return folder
    return None


def _other_run(folder: Path, run: Run, by: str, attributes: Sequence[str]) -> Target:
    """Another run's corrected shares; groups that it has none of have no target."""
    from auditkit.runs import open_run

    other = open_run(folder)
    if other.id == run.id:
        raise SpecError(
            "A run cannot be its own target.", where=f"run {run.id}", mend="name another run, or another target"
        )
    measured = other.measurements()
    mend = f"auditkit measure {other.id} --by {by}"
    if measured is None:
        raise SpecError("The run that is to be the target has not been measured.", where=folder, mend=mend)
    rows = measured[(measured["measure"] == "representation.corrected") & measured["attribute"].isin(attributes)]
    grouped = rows[rows["group_by"] == by]
    known = grouped[(grouped["status"] == "ok") & grouped["estimate"].notna()]
    if known.empty:
        axes = ", ".join(str(axis) for axis in rows["group_by"].unique() if axis != ALL)
        has = "they are uncalibrated" if len(grouped) else f"it has some by {axes}" if axes else "it has none"
        raise SpecError(
            f"The run that is to be the target has no corrected shares of {' or '.join(attributes)} by {by}: {has}.",
            where=folder,
            mend=mend if not len(grouped) else "use a run whose images the calibration holds for",
        )
    table = known[["group", "attribute", "category"]].assign(share=known["estimate"])
    return Target(other.id, table.reset_index(drop=True), str(folder), partial=True, note=_ESTIMATE)


def read_csv(path: Path, attributes: Sequence[str]) -> pd.DataFrame:
    """A table of shares: columns group, category, attribute ('' where the file has none), share.

    Args:
        attributes: those that are meant; a file that does not say which it is for may be for one alone.

    Raises:
        SpecError: no such file, no such columns, or a row that is not filled in.
    """
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
