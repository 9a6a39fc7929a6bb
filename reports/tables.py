"""Measurements into the tidy tables that words, charts and pages are made from.

Shares, intervals, targets and distances are floats in [0, 1]; what is not known is NaN beside a status.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from auditkit.errors import RunError

if TYPE_CHECKING:
    from auditkit.runs import Run

NUMBER = re.compile(r"\d+(?:\.\d+)?%?")

ALPHA = 0.05
"""A cell is called different from its target when its Holm-adjusted p-value is below this."""

WHOLE = "all"
"""The name of the group that holds every image, and of the grouping that has only that one."""

UNKNOWN = "unknown"

ESTIMATE = {"estimate": "corrected", "ci_low": "low", "ci_high": "high", "null_value": "target"}
CONTEXT = ["p_value", "p_holm", "p_bh", "reference", "ci_method", "status", "note"]


@dataclass(frozen=True)
class View:
    """All that a report says about one attribute under one grouping."""

    attribute: str
    """`gender`, `skin_tone`, or a joint one such as `gender+skin_tone`."""
    by: str
    """The axis that groups the images, or `all`."""
    target: str
    """Name of the target: `uniform`, `planted` or a table's name."""
    categories: list[str]
    """Classes in the instrument's order, without `unknown`."""
    shares: pd.DataFrame
    """One row per group and class; columns in `shares`."""
    unknown: pd.DataFrame
    """One row per group: `group`, `n_images`, and `share`, `low`, `high` of images without a class."""
    distances: pd.DataFrame
    """One row per group; columns in `distances`."""
    whole: pd.DataFrame
    """As `shares`, for all images together; may be empty."""
    mean_distance: pd.DataFrame
    """At most one row, as `distances`: the mean over groups of their distances, where it is known."""

    @property
    def groups(self) -> list[str]:
        return list(dict.fromkeys(self.shares["group"]))

    @property
    def shown(self) -> list[str]:
        """The classes worth a row each: with two, the second is the complement of the first."""
        return self.categories[:1] if len(self.categories) == 2 else self.categories

    def groups_with(self, status: str) -> list[str]:
        return list(dict.fromkeys(self.shares.loc[self.shares["status"] == status, "group"]))


@dataclass(frozen=True)
class Finding:
    """A group whose shares differ from the target, and the class that is farthest off."""

    group: str
    category: str
    share: float
    low: float
    high: float
    target: float
    p_holm: float

    @property
    def gap(self) -> float:
        return abs(self.share - self.target)


def read_measurements(run: Run) -> pd.DataFrame:
    """The run's measurements; RunError naming the command that makes them where there are no shares."""
    frame = run.measurements()
    if frame is None or not (frame["measure"] == "representation.share").any():
        raise RunError(
            "This run has no measurements to report.",
            where=run.path,
            mend=f"auditkit measure {run.path}",
        )
    return frame


def grouping(measurements: pd.DataFrame) -> str:
    """The axis that the measurements group by, or `all` when they hold only the whole run."""
    rows = measurements[measurements["measure"] == "representation.share"]
    axes = [name for name in rows["group_by"].unique() if name != WHOLE]
    return str(axes[0]) if axes else WHOLE


def attributes(measurements: pd.DataFrame) -> list[str]:
    """Attributes with shares, in the order in which they were measured, joint ones last."""
    rows = measurements[measurements["measure"] == "representation.share"]
    return sorted(rows["attribute"].unique(), key=lambda name: "+" in name)


def view(
    measurements: pd.DataFrame,
    attribute: str,
    *,
    by: str | None = None,
    planted: pd.DataFrame | None = None,
) -> View:
    """One attribute under one grouping.

    Args:
        measurements: the MEASUREMENTS table.
        attribute: one of `attributes(measurements)`.
        by: the grouping; by default the run's own axis.
        planted: what `planted_shares` returned, to stand beside the recovered shares.
    """
    by = by or grouping(measurements)
    table = shares(measurements, attribute, by=by, planted=planted)
    is_unknown = (
        (measurements["measure"] == "representation.share")
        & (measurements["attribute"] == attribute)
        & (measurements["group_by"] == by)
        & (measurements["category"] == UNKNOWN)
    )
    unknown = measurements.loc[is_unknown, ["group", "n_images", "estimate", "ci_low", "ci_high"]]
    references = [str(name) for name in table["reference"].dropna().unique() if str(name)]
    return View(
        attribute=attribute,
        by=by,
        target=references[0] if references else "uniform",
        categories=list(dict.fromkeys(table["category"])),
        shares=table,
        unknown=unknown.set_axis(["group", "n_images", "share", "low", "high"], axis=1).reset_index(drop=True),
        distances=distances(measurements, attribute, by=by),
        whole=shares(measurements, attribute, by=WHOLE),
        mean_distance=distances(measurements, attribute, by=WHOLE, measure="mean_distance").dropna(subset="distance"),
    )


def shares(measurements: pd.DataFrame, attribute: str, *, by: str, planted: pd.DataFrame | None = None) -> pd.DataFrame:
    """Shares of each class in each group.

    Returns:
        One row per `group` and `category` (without `unknown`): `n_images`, `n_prompts`; `classified` with
        `classified_low` and `classified_high` (the plain share and its interval); `bound_low` and
        `bound_high` (every unknown counted against, then for, the class); `corrected` with `low` and `high`;
        `target`; `p_value`, `p_holm`, `p_bh`; `reference`; `status`; `note`; `differs` (bool); `planted`
        (NaN where nothing is known) and `covered` (True, False, or NA).
    """
    rows = measurements[
        (measurements["attribute"] == attribute)
        & (measurements["group_by"] == by)
        & (measurements["category"] != UNKNOWN)
    ]
    key = ["group", "category"]

    def part(measure: str, names: dict[str, str]) -> pd.DataFrame:
        chosen = rows[rows["measure"] == f"representation.{measure}"]
        return chosen.set_index(key)[list(names)].rename(columns=names)

    counted = {"estimate": "classified", "ci_low": "classified_low", "ci_high": "classified_high"}
    table = part("share", {"n_images": "n_images", "n_prompts": "n_prompts"} | counted)
    table = table.join(part("bounds", {"ci_low": "bound_low", "ci_high": "bound_high"}))
    table = table.join(part("corrected", ESTIMATE | {name: name for name in CONTEXT})).reset_index()
    table["status"] = table["status"].fillna("uncalibrated")
    table["note"] = table["note"].fillna("")
    table["differs"] = (table["p_holm"] < ALPHA) & table["corrected"].notna()
    if planted is None or planted.empty:
        table["planted"] = np.nan
    else:
        table = table.merge(planted[[*key, "planted"]], on=key, how="left")
    inside = (table["planted"] >= table["low"] - 1e-9) & (table["planted"] <= table["high"] + 1e-9)
    table["covered"] = inside.astype("boolean").mask(table["planted"].isna() | table["corrected"].isna())
    return table


def distances(measurements: pd.DataFrame, attribute: str, *, by: str, measure: str = "distance") -> pd.DataFrame:
    """Total variation between each group and its target, farthest first.

    Returns:
        `group`, `n_images`, `distance` with `low` and `high`, `expected` (its expectation at this n if the
        target were met), `p_value`, `p_holm`, `p_bh`, `reference`, `ci_method`, `status`, `note`, `differs`.
    """
    rows = measurements[
        (measurements["measure"] == f"representation.{measure}")
        & (measurements["attribute"] == attribute)
        & (measurements["group_by"] == by)
    ]
    names = {"estimate": "distance", "ci_low": "low", "ci_high": "high", "null_value": "expected"}
    table = rows[["group", "n_images", *names, *CONTEXT]].rename(columns=names)
    table["note"] = table["note"].fillna("")
    table["differs"] = (table["p_holm"] < ALPHA) & table["distance"].notna()
    return table.sort_values("distance", ascending=False, na_position="last").reset_index(drop=True)


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The frame's rows as dicts."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def fidelity(measurements: pd.DataFrame, *, by: str) -> pd.DataFrame:
    """Share of images that show what the prompt asked for: `group`, `n_images`, `share`, `low`, `high`."""
    rows = measurements[(measurements["measure"] == "representation.fidelity") & (measurements["group_by"] == by)]
    names = {"estimate": "share", "ci_low": "low", "ci_high": "high"}
    return rows[["group", "n_images", *names]].rename(columns=names).reset_index(drop=True)


def cautions(view: View) -> dict[str, list[str]]:
    """Notes that stand beside estimates, each with the groups that it is about.

    Notes that differ in their numbers only are one, with the range of each number: `0.37 to 0.48`.
    """
    noted: dict[str, list[tuple[str, list[str]]]] = {}
    for row in rows(view.shares[view.shares["status"] == "ok"].drop_duplicates("group")):
        for note in row["note"].split("; "):
            if note:
                noted.setdefault(NUMBER.sub("#", note), []).append((row["group"], NUMBER.findall(note)))
    said = {}
    for pattern, found in noted.items():
        spans = []
        for column in zip(*(numbers for _, numbers in found), strict=True):
            each = sorted(set(column), key=lambda number: float(number.rstrip("%")))
            spans.append(each[0] if len(each) == 1 else f"{each[0]} to {each[-1]}")
        text = pattern
        for span in spans:
            text = text.replace("#", span, 1)
        said[text] = [group for group, _ in found]
    return said


def differing(view: View) -> list[str]:
    """Groups that differ from the target after Holm: by their cells with two classes, else by distance."""
    table = view.shares if len(view.categories) <= 2 or view.distances.empty else view.distances
    return list(dict.fromkeys(table.loc[table["differs"], "group"]))


def findings(view: View) -> list[Finding]:
    """The groups that differ from the target, widest gap first, each with the class farthest off."""
    found = []
    for group in differing(view):
        cells = view.shares[(view.shares["group"] == group) & view.shares["corrected"].notna()]
        gap = cells["corrected"] - cells["target"]
        # With two classes both gaps are the same: name the one that is shown more.
        widest = (gap.abs() + 1e-9 * (gap > 0)).sort_values(ascending=False, kind="stable").index[:1]
        for row in rows(cells.loc[widest]):
            numbers = (row[name] for name in ("corrected", "low", "high", "target", "p_holm"))
            found.append(Finding(row["group"], row["category"], *numbers))
    return sorted(found, key=lambda finding: -finding.gap)


def planted_shares(run: Run, attribute: str, *, by: str) -> pd.DataFrame | None:
    """What the generator was trained to show, by group: `group`, `category`, `planted`.

    Each group's images weigh its occupations. None where there is no planted table, or where the prompts
    state the attribute themselves, so that the table does not apply.
    """
    table, parts = run.planted, attribute.split("+")
    images = run.images()
    stated = any(f"axis_{part}" in images.columns for part in parts)
    if table is None or stated or "axis_occupation" not in images or not set(parts) <= set(table.columns):
        return None
    if by != WHOLE and f"axis_{by}" not in images:
        return None
    sums = table.groupby(["occupation", *parts], sort=False)["probability"].sum()
    each = (sums / sums.groupby(level=0, sort=False).transform("sum")).reset_index()
    each["category"] = ["+".join(map(str, names)) for names in each[parts].to_numpy()]
    group = WHOLE if by == WHOLE else images[f"axis_{by}"]
    counts = pd.DataFrame({"group": group, "occupation": images["axis_occupation"]}).value_counts()
    joined = counts.rename("n").reset_index().merge(each, on="occupation")
    joined["planted"] = joined["n"] * joined["probability"]
    summed = joined.groupby(["group", "category"], sort=False)["planted"].sum()
    return (summed / summed.groupby(level=0).transform("sum")).reset_index()
