"""What an evaluation of a mitigation looks at: two runs paired image by image, by group, with the policy."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.bias.base import ALL
from auditkit.bias.comparison import paired_images, standing_of_both
from auditkit.bias.outcomes import CalibrationTable, Outcomes, read_confusion, read_outcomes
from auditkit.errors import TableError
from auditkit.guidance.policy import Policy
from auditkit.prompts import expand
from auditkit.stats.confusion import Confusion
from auditkit.stats.moved import Pairs

if TYPE_CHECKING:
    from auditkit.runs import Run

COLUMNS = (
    "method", "encoder", "measure", "attribute", "category", "group_by", "group", "before", "after", "estimate",
    "ci_low", "ci_high", "ci_method", "null_value", "p_value", "p_holm", "n_pairs", "n_prompts", "unit", "direction",
    "status", "note",
)  # fmt: skip
"""Of the table of effects: a row an estimate. `estimate` is the change from `before` to `after` unless the measure says
otherwise; `null_value` what the estimate would be if the mitigation did nothing, or of a distance its expectation if
the target were met."""

SET = "set"
"""The grouping of rows that are means over groups: `all`, `unbalanced`, `balanced`."""
UNBALANCED, BALANCED = "unbalanced", "balanced"
LEAST_UNBALANCED = 0.10
"""Planted total variation from the target, from which on a group counts as unbalanced."""

Row = dict[str, Any]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Study:
    """Two runs of one spec, without and with a mitigation, as one encoder saw them. Made by `Study.of`.

    Attributes:
        left, right: both images tables cut to their pairs, in one order.
        acts: bool [n_pairs], whether the mitigation was to act on the image.
        by: the axis of the groups, or `all`.
        planted: group to shares of `gender+skin_tone` cells that training drew, by class; None where not known.
    """

    method: str
    before: Run
    after: Run
    policy: Policy
    encoder: str
    by: str
    left: pd.DataFrame
    right: pd.DataFrame
    acts: Mask
    about: str
    n_boot: int = 2000
    seed: int = 0
    min_n: int = 20
    planted: pd.DataFrame | None = None
    calibrations: Mapping[str, CalibrationTable] | None = None
    kept: dict[Any, pd.DataFrame] = field(default_factory=dict)
    """What the measure `quality` said of a run, by run and encoder; shared by studies of one run without."""
    _seen: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, method: str, before: Run, after: Run, policy: Policy, *, encoder: str, by: str | None = None,
        n_boot: int = 2000, seed: int = 0, min_n: int = 20,
        calibrations: Mapping[str, CalibrationTable] | None = None, kept: dict[Any, pd.DataFrame] | None = None,
    ) -> Study:  # fmt: skip
        """Pair the runs' images.

        Raises:
            TableError: the runs share no prompts, or no seeds, or there is no such axis.
        """
        left, right, about = paired_images(before, after)
        if (left["seed"].isna() | right["seed"].isna() | (left["seed"] != right["seed"])).any():
            raise TableError(
                "the runs' images are not paired by seed: prompts agree, seeds do not",
                where=f"runs {before.id}, {after.id}", mend="make both with one spec and one seed (auditkit mitigate)",
            )  # fmt: skip
        spec = after.spec
        grouped = by or (spec.by if spec is not None and spec.by else (after.axes[0] if after.axes else ALL))
        if grouped != ALL and f"axis_{grouped}" not in right:
            raise TableError(
                f"the runs have no axis '{grouped}'", where=f"run {after.id}",
                mend=f"use one of: {', '.join([*after.axes, ALL])}",
            )  # fmt: skip
        acting = _acting(policy, after, right)
        return cls(
            method, before, after, policy, encoder, grouped, left, right, acting, about, n_boot, seed, min_n,
            before.planted if grouped == "occupation" else None, calibrations, {} if kept is None else kept,
        )  # fmt: skip

    @cached_property
    def prompts(self) -> NDArray[np.intp]:
        return np.asarray(self.right["prompt_id"].to_numpy(np.intp))

    @cached_property
    def groups(self) -> dict[str, Mask]:
        """Which pairs each group has, of those that the mitigation was to act on; groups without any are left out."""
        if self.by == ALL:
            return {ALL: self.acts} if self.acts.any() else {}
        column = self.right[f"axis_{self.by}"]
        found = {str(v): (column == v).to_numpy(bool) & self.acts for v in column.dropna().unique()}
        return {name: chosen for name, chosen in found.items() if chosen.any()}

    def outcomes(self, attribute: str) -> tuple[Outcomes, Outcomes]:
        """What the encoder saw in the images of each pair, without and with.

        Raises:
            TableError: scores are missing, or were made with other classes.
        """
        if attribute not in self._seen:
            a = read_outcomes(cast("Run", self._scores[0]), self.left, attribute, self.encoder)
            b = read_outcomes(cast("Run", self._scores[1]), self.right, attribute, self.encoder)
            if a.classes != b.classes:
                raise TableError(
                    f"the runs were scored for {attribute} with other classes",
                    where=f"runs {self.before.id}, {self.after.id}",
                    mend=f"score both again: auditkit score {self.after.id}",
                )
            self._seen[attribute] = (a, b)
        found: tuple[Outcomes, Outcomes] = self._seen[attribute]
        return found

    def scored(self, attribute: str) -> bool:
        """Whether both runs have scores of it, each part of a joint one."""
        tables = [each.scores() for each in self._scores]
        return all(f"{part}@{self.encoder}" in t for part in attribute.split("+") for t in tables)

    def confusion(self, attribute: str) -> tuple[Confusion | None, str]:
        """The scorer's confusion matrix, or None and why there is none."""
        key = f"confusion {attribute}"
        if key not in self._seen:
            self._seen[key] = read_confusion(self.outcomes(attribute)[1], self.encoder, self.calibrations)
        found: tuple[Confusion | None, str] = self._seen[key]
        return found

    @cached_property
    def _scores(self) -> tuple[_Scores, _Scores]:
        return _Scores(self.before), _Scores(self.after)

    def standing(self, attribute: str, chosen: Mask) -> tuple[str, str]:
        """Whether shares of a group can be corrected in both runs: a status and why."""
        a, b = self.outcomes(attribute)
        confusion, why = self.confusion(attribute)
        return standing_of_both(a, b, chosen, confusion, why, self.min_n)

    def pairs(self, attribute: str, chosen: Mask, target: NDArray[np.float64] | None = None) -> Pairs:
        a, b = self.outcomes(attribute)
        return Pairs.of(a.outcome[chosen], b.outcome[chosen], self.prompts[chosen], a.n_outcomes, target)

    def target(self, attribute: str, group: str) -> NDArray[np.float64] | None:
        """What the policy aims at, of an attribute's classes in their order; None where it says nothing.

        Of a joint target each attribute has its marginal. Of a target of one attribute the cells of a joint one are
        held against its shares times even ones of the other.
        """
        shares = self.policy.shares.get(group, self.policy.shares.get(ALL))
        if shares is None:
            return None
        parts, aimed = attribute.split("+"), self.policy.attributes
        if not set(parts) & set(aimed):
            return None
        classes = [self.outcomes(part)[1].classes for part in parts]
        rows = [(dict(zip(aimed, name.split("+"), strict=True)), share) for name, share in shares.items()]
        found = []
        for cell in product(*classes):
            said = {part: value for part, value in zip(parts, cell, strict=True) if part in aimed}
            even = np.prod([1 / len(c) for part, c in zip(parts, classes, strict=True) if part not in aimed])
            found.append(float(even) * sum(s for row, s in rows if all(row[k] == v for k, v in said.items())))
        made = np.array(found)
        return made if abs(made.sum() - 1) < 1e-6 else None

    def planted_distance(self, attribute: str, group: str) -> float | None:
        """Total variation between what was planted for the group and its target; None where that is not known."""
        goal, parts = self.target(attribute, group), attribute.split("+")
        if self.planted is None or goal is None or any(part not in self.planted for part in parts):
            return None
        own = self.planted[self.planted["occupation"] == group]
        if own.empty:
            return None
        shares = own.groupby(parts)["probability"].sum()
        cells = list(product(*(self.outcomes(part)[1].classes for part in parts)))
        p = np.array([float(shares.get(cell if len(parts) > 1 else cell[0], 0.0)) for cell in cells])
        return 0.5 * float(np.abs(p - goal).sum())

    def rng(self, *key: str) -> np.random.Generator:
        """A source of its own for each statistic, so that its numbers do not hang on the others."""
        return np.random.default_rng([self.seed, zlib.crc32("/".join(key).encode())])

    def row(self, measure: str, chosen: Mask, *, attribute: str, group: str, **more: Any) -> Row:
        """A row of the table of effects without numbers yet; `more` is laid over it."""
        nan = float("nan")
        numbers = ("before", "after", "estimate", "ci_low", "ci_high", "null_value", "p_value", "p_holm")
        return {
            "method": self.method, "encoder": self.encoder, "measure": measure, "attribute": attribute, "category": "",
            "group_by": self.by if group in self.groups and self.by != ALL else SET, "group": group,
            **dict.fromkeys(numbers, nan), "ci_method": "", "n_pairs": int(chosen.sum()),
            "n_prompts": len(np.unique(self.prompts[chosen])), "unit": "share", "direction": "none", "status": "ok",
            "note": self.about, **more,
        }  # fmt: skip


class _Scores:
    """A run's scores, read and checked once."""

    def __init__(self, run: Run):
        self.id, self._run = run.id, run

    @cached_property
    def _tables(self) -> dict[str, pd.DataFrame]:
        return self._run.scores()

    def scores(self) -> dict[str, pd.DataFrame]:
        return self._tables


def _acting(policy: Policy, run: Run, images: pd.DataFrame) -> Mask:
    """Whether the mitigation was to act on each image, by the policy and the run's own prompts."""
    if run.spec is None:
        raise TableError("the run has no spec", where=f"run {run.id}", mend="evaluate runs that auditkit generated")
    aim = policy.aims(run.spec)
    by_id = {prompt.prompt_id: prompt for prompt in expand(run.spec)}
    acts = {id: aim(prompt, 0, 0).acts for id, prompt in by_id.items()}
    return images["prompt_id"].map(acts).fillna(False).to_numpy(bool)


def table(rows: list[Row]) -> pd.DataFrame:
    """Rows as a DataFrame with the columns of effects, in their order."""
    return pd.DataFrame(rows, columns=list(COLUMNS))
