"""Images that the generator refused to make, by group: rows of the measure `missingness`."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from auditkit.bias.base import ALL, Mask, Options, Row, groups, row, without_estimate
from auditkit.bias.flags import Flag
from auditkit.runs.refusals import read_refusals

if TYPE_CHECKING:
    from auditkit.runs import Run

ATTRIBUTE = "refusal"
"""The attribute of these rows: a refusal is of an image, whatever would have been looked for in it."""
CATEGORY = "refused"


def refused_rows(version: int, run: Run, images: pd.DataFrame, options: Options) -> list[Row]:
    """Share of what was asked for that was refused, by group and for all; no rows where nothing was.

    `n_images` of these rows counts what was asked for, made or not.

    Raises:
        TableError: refusals.jsonl is damaged.
    """
    lines = read_refusals(run.path) if run.record.get("refused") else []
    return _Refused(version, run, _asked(images, lines), lines, options).rows() if lines else []


class _Refused:
    """The refusals of one run."""

    def __init__(
        self, version: int, run: Run, asked: pd.DataFrame, lines: list[dict[str, Any]], options: Options
    ) -> None:
        self.version, self.run, self.asked, self.options = version, run, asked, options
        self.members = groups(run, asked, options.by)
        self.whole: Mask = np.any(list(self.members.values()), axis=0) if self.members else np.ones(len(asked), bool)
        self.strata = dict(self.members) or {ALL: self.whole}
        self.flag = Flag(self.strata, asked["prompt_id"].to_numpy(np.intp), asked[CATEGORY].to_numpy(bool))
        self.reasons = "reasons given: " + ", ".join(sorted({str(line["code"]) for line in lines})[:5])

    def rows(self) -> list[Row]:
        rng = np.random.default_rng([self.options.seed, zlib.crc32(CATEGORY.encode())])
        differences = self.flag.against_rest(rng, self.options.n_boot) if self.members else {}
        made: list[Row] = []
        for name in dict.fromkeys([*self.strata, ALL]):
            few = self._few(self._chosen(name))
            share = self._row("refused", name)
            numbers = {} if few else self.flag.numbers(name) | {"note": self.reasons}
            made.append(without_estimate(share, "insufficient", few) if few else share | numbers)
            if name in differences:
                made.append(self._difference(name, *differences[name], few))
        return made

    def _difference(self, name: str, difference: float, p_value: float, few: str) -> Row:
        empty = self._row("refused_difference", name) | {"reference": "all other images", "null_value": 0.0}
        few = few or self._few(self.whole & ~self._chosen(name))
        if few:
            return without_estimate(empty, "insufficient", few)
        low, high = self.flag.difference_interval(name)
        prompts = len(self.flag.counts[name])
        return empty | {
            "estimate": difference,
            "ci_low": min(low, difference),
            "ci_high": max(high, difference),
            "ci_method": "Newcombe, design effects",
            "p_value": p_value,
            "note": "" if prompts >= 5 else f"{prompts} prompts: the permutations can hardly tell",
        }

    def _row(self, statistic: str, name: str) -> Row:
        return row(
            f"missingness.{statistic}",
            self.run,
            version=self.version,
            attribute=ATTRIBUTE,
            group_by=self.options.by if name in self.members else ALL,
            group=name,
            chosen=self._chosen(name),
            images=self.asked,
            category=CATEGORY,
            direction="lower is closer",
        )

    def _chosen(self, name: str) -> Mask:
        return self.strata.get(name, self.whole)

    def _few(self, chosen: Mask) -> str:
        n, fewest = int(chosen.sum()), max(self.options.min_n, 1)
        return f"{n} images asked for; {fewest} are needed" if n < fewest else ""


def _asked(images: pd.DataFrame, lines: list[dict[str, Any]]) -> pd.DataFrame:
    """Prompt, axes and whether it was refused, of each image that was asked for."""
    axes = [column for column in images.columns if column.startswith("axis_")]
    made = images[["prompt_id", *axes]].assign(**{CATEGORY: False})
    named = [{f"axis_{axis}": value for axis, value in line["axes"].items()} for line in lines]
    refused = pd.DataFrame([{"prompt_id": line["prompt_id"], **of} for line, of in zip(lines, named, strict=True)])
    return pd.concat([made, refused.assign(**{CATEGORY: True})], ignore_index=True)
