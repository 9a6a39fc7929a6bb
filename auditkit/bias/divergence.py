"""The measure `divergence`: how far the images of one prompt lie from the target, averaged over prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.bias.base import ALL, Mask, Options, Row, adjust, groups, row, table, without_estimate
from auditkit.bias.tally import Tally, Verdict, missing_scores, noted
from auditkit.bias.targets import Target, load_target
from auditkit.stats.per_prompt import FEWEST_PROMPTS, STATISTICS, Prompts, prompt_divergences
from auditkit.stats.per_prompt import Divergence as Found

if TYPE_CHECKING:
    from auditkit.runs import Run

UNITS = {"tv": "share", "kl": "nats", "ens": "effective classes", "mad": "share", "squared": "squared share"}


class Divergence:
    """Divergence of each prompt's images from the target.

    Rows by attribute and group, and for all prompts, each the mean over prompts (formulas in
    `auditkit.stats.per_prompt`): `divergence.tv`, `.kl`, `.ens`, `.mad`, plug-ins whose `null_value` is their
    expectation if every prompt met the target at these numbers of images; `.squared`, right on average at any.
    """

    name = "divergence"
    version = 1
    title = "Divergence from the target within each prompt"

    def applies(self, run: Run, options: Options) -> str:
        return missing_scores(run, options)

    def measure(self, run: Run, options: Options) -> pd.DataFrame:
        """Raises: TableError, SpecError: scores, an axis or a target that is not there."""
        images = run.images()
        members = groups(run, images, options.by)
        goal = load_target(options.target, run, by=options.by, attributes=options.attributes)
        made: list[Row] = []
        for attribute in options.attributes:
            tally = Tally.read(run, images, members, attribute, options)
            made += self._attribute(run, images, tally, goal)
        return table(adjust(made))

    def _attribute(self, run: Run, images: pd.DataFrame, tally: Tally, goal: Target) -> list[Row]:
        classes = tally.outcomes.classes
        shares = goal.shares(tally.attribute, tally.sizes(), classes)
        verdicts = {name: _judged(tally.verdict(name), goal, shares[name]) for name in tally.strata}
        judged = {
            name: Prompts(tally.counts[name], np.array([shares[name][c] for c in classes]), verdict.slack)
            for name, verdict in verdicts.items()
            if verdict.status == "ok"
        }
        found: dict[str, dict[str, Found]] = {}
        if judged and tally.confusion is not None:
            found = prompt_divergences(judged, tally.confusion, tally.rng, replicates=tally.options.n_boot)
        if tally.groups:
            verdicts[ALL] = _whole(verdicts, tally.together(list(judged)), goal.note)
            found.setdefault(ALL, next(iter(found.values()), {}))
        even = all(abs(p.target - 1 / len(classes)).max() < 1e-9 for p in judged.values())

        made = []
        for name, verdict in verdicts.items():
            chosen: Mask = tally.chosen(name, list(judged) if verdict.status == "ok" else None)
            sizes = [p.counts.sum(axis=1) for group, p in judged.items() if name in (group, ALL)]
            for statistic in STATISTICS:
                empty = row(
                    f"divergence.{statistic}",
                    run,
                    version=self.version,
                    attribute=tally.attribute,
                    group_by=tally.options.by if name in tally.groups else ALL,
                    group=name,
                    chosen=chosen,
                    images=images,
                    encoder=tally.options.encoder,
                    reference=goal.name,
                    unit=UNITS[statistic],
                    direction="lower is closer" if statistic != "ens" else "higher is closer" if even else "none",
                )
                if verdict.status == "ok":
                    made.append(_told(empty, statistic, found[name][statistic], np.concatenate(sizes), verdict.note))
                else:
                    made.append(without_estimate(empty, verdict.status, verdict.note))
        return made


divergence = Divergence()


def _judged(verdict: Verdict, goal: Target, shares: dict[str, float]) -> Verdict:
    gap = goal.missing(shares)
    if gap and verdict.status == "ok":
        return Verdict("insufficient", gap)
    return Verdict(verdict.status, noted(verdict.note, goal.note), verdict.estimate, verdict.slack, verdict.size)


def _whole(verdicts: dict[str, Verdict], few: str, about_target: str) -> Verdict:
    """Of the mean over all prompts: it rests on the groups that have a verdict of their own."""
    told = [verdict for verdict in verdicts.values() if verdict.status == "ok"]
    if few:
        # What stands in the way of a group stands in the way of the whole.
        others = [verdict for verdict in verdicts.values() if verdict.status != "ok"]
        worst = max(others, key=lambda verdict: verdict.status == "uncalibrated")
        return Verdict(worst.status, f"{few}; of others: {worst.note}")
    over = "" if len(told) == len(verdicts) else f"over {len(told)} of {len(verdicts)} groups"
    slack = max(verdict.slack for verdict in told)
    errs = f"no mixture of classes explains up to {slack:.0%} of a group's outcomes" if slack else ""
    return Verdict("ok", noted(over, errs, about_target))


def _told(empty: Row, statistic: str, found: Found, sizes: NDArray[np.float64], note: str) -> Row:
    """The row with its numbers; `sizes` are the images of each prompt."""
    lone = bool(sizes.max() < 2)
    if statistic == "squared" and not found.n_prompts:
        why = "one image a prompt: the squared distance needs pairs of images of one prompt"
        return without_estimate(empty, "insufficient", why)
    away = "low" if statistic == "ens" else "high"
    notes = []
    if lone:
        notes.append("one image a prompt is all or nothing, however fair: read it beside its null value only")
    elif statistic != "squared":
        notes.append(f"reads {away} at {np.median(sizes):g} images a prompt: hold it against its null value")
    elif found.n_prompts < len(sizes):
        notes.append(f"over the {found.n_prompts} of {len(sizes)} prompts that have several images")
    if not np.isfinite(found.low):
        notes.append(f"fewer than {FEWEST_PROMPTS} prompts: no interval over prompts")
    numbers: Row = {"estimate": found.estimate, "null_value": found.null_value, "p_value": found.p_value}
    if np.isfinite(found.low) and not lone:
        method = "t over prompts, with skewness and calibration's variance"
        numbers |= {"ci_low": found.low, "ci_high": found.high, "ci_method": method}
    return empty | numbers | {"note": noted(*notes, note)}
