"""From a suite and the difference that must not be missed to a plan: images per prompt, and what they can tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import auditkit
from auditkit import registry
from auditkit.bias.outcomes import CalibrationTable
from auditkit.errors import CalibrationError, SpecError
from auditkit.files import sha256_file
from auditkit.plan.document import Analysis, Plan, Sequential, Sizing
from auditkit.prompts import expand
from auditkit.spec import RunSpec
from auditkit.stats import estimators
from auditkit.stats.confusion import Confusion
from auditkit.stats.planning import (
    MOST,
    Comparison,
    Group,
    Test,
    critical,
    half_width,
    perfect,
    share_variance,
    with_unknown,
)
from auditkit.stats.rare import images_to_see
from auditkit.stats.sequential import boundaries

SIZES = (5, 10, 20, 50, 100, 200)
"""Images per prompt that the table shows, beside those of the plan."""


@dataclass(frozen=True)
class Reach:
    """What an attribute's test can tell with so many images of each prompt.

    Attributes:
        images: of a group. independent: images over the design effect.
        half_width: of the 95% interval of one share (not adjusted for the other groups).
        detectable: least difference found with the plan's power, in the hardest class; NaN where none is.
        power: of finding the plan's difference.
    """

    attribute: str
    images_per_prompt: int
    images: int
    independent: float
    half_width: float
    detectable: float
    power: float


@dataclass(frozen=True)
class Draft:
    """A plan and its reasons.

    Attributes:
        plan: None where no number of images reaches the goal, and none was given.
        reach: a row for each attribute and number of images per prompt.
        needed: by attribute, images of each prompt that find the difference; infinite where none do.
        floor: by attribute, the difference that any number of images leaves undetected.
        tests: by attribute, tests in its family.
        images: of the whole run; with looks, at most.
        notes: what was assumed and what follows, in words.
    """

    plan: Plan | None
    reach: list[Reach]
    needed: dict[str, float]
    floor: dict[str, float]
    tests: dict[str, int]
    images: int
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Cell:
    """The hardest test of an attribute."""

    attribute: str
    confusion: Confusion
    group: Group
    tests: int
    trial: list[Test] | list[Comparison]

    def images(self, difference: float, power: float) -> float:
        return max(each.images(difference, power) for each in self.trial)

    def detectable(self, n: float, power: float) -> float:
        found = [each.detectable(n, power) for each in self.trial]
        return math.nan if any(map(math.isnan, found)) else max(found)

    def power(self, difference: float, n: float) -> float:
        first = self.trial[0]
        baseline = first.target if isinstance(first, Test) else first.baseline
        ways = [d for d in (difference, -difference) if 0 <= baseline + d <= 1]
        return min((each.power(d, n) for each in self.trial for d in ways), default=0.0)


def draft(
    spec: RunSpec,
    *,
    by: str | None = None,
    attributes: Sequence[str] = ("gender",),
    target: str = "uniform",
    against: Literal["target", "run"] = "target",
    difference: float = 0.2,
    power: float = 0.8,
    alpha: float = 0.05,
    icc: float = 0.05,
    unknown: float = 0.0,
    event: float | None = None,
    encoder: str = "personas-clip",
    images_per_prompt: int | None = None,
    looks: int = 1,
    spending: Literal["obrien-fleming", "pocock"] = "obrien-fleming",
    stop: Literal["all", "any"] = "all",
    question: str = "",
    calibrations: Mapping[str, CalibrationTable] | None = None,
    **analysis: object,
) -> Draft:
    """Plan an audit of shares by group.

    Args:
        spec: what will be generated; its `images_per_prompt` is replaced.
        by: the axis that groups the images; the spec's own by default, `all` without one.
        against: hold shares against the target, or against those of a second run of the same size.
        difference: of a share, in (0, 1), that must be found with this power in the hardest class of each attribute.
        alpha: error rate of each attribute's family of tests, all groups and looks together.
        icc: assumed intraclass correlation of the images of one prompt.
        unknown: assumed share of images without a label, beyond those that the calibration counts on.
        event: a rare share of images, such as .01, that a note says how many images it takes to see at all.
        encoder: whose calibration tells how the scorer errs.
        images_per_prompt: None takes the least that reaches the goal for every attribute.
        looks: 1 for a fixed design; more plan evenly spaced looks, spending alpha by `spending`.
        calibrations: by attribute, in place of those beside the encoder.
        analysis: further fields of `Analysis`: estimator, measures, primary, min_n, replicates, seed.

    Raises:
        SpecError: an argument does not hold.
        CalibrationError: a calibration is too poor to correct with.
    """
    by = by or spec.by or "all"
    _check(difference=difference, power=power, alpha=alpha)
    if not 0 <= icc < 1 or not 0 <= unknown < 1 or looks < 1:
        raise SpecError(
            "icc and unknown must lie in [0, 1), and looks be 1 or more",
            where="plan",
            mend="change that option",
        )
    _check_analysis(analysis)
    prompts, groups = _prompts(spec, by)
    notes: list[str] = []
    cells = []
    for attribute in attributes:
        confusion = _confusion(attribute, encoder, calibrations, notes)
        confusion = with_unknown(confusion, unknown) if unknown else confusion
        k = confusion.matrix.shape[1]
        tests = groups * (1 if k == 2 else k)
        group = Group(prompts, icc, groups)
        # Each test of the family at its hardest, alpha / tests, and at the last look.
        last = boundaries([(i + 1) / looks for i in range(looks)], alpha=alpha / tests, spending=spending).nominal[-1]
        z = critical(float(last), group=group)
        share = 1 / k if target == "uniform" and against == "target" else 0.5
        kinds = range(1 if k == 2 else k)
        trial: list[Test] | list[Comparison]
        if against == "target":
            trial = [Test(confusion, j, share, z) for j in kinds]
        else:
            trial = [Comparison(confusion, j, share, z) for j in kinds]
        cells.append(_Cell(attribute, confusion, group, tests, trial))
    needed = {c.attribute: c.group.images_per_prompt(c.images(difference, power)) for c in cells}
    floor = {c.attribute: c.detectable(MOST, power) for c in cells}
    most = max(needed.values())
    chosen = images_per_prompt or (max(math.ceil(most - 1e-9), looks) if math.isfinite(most) else None)
    notes += _notes(cells, difference, power, icc, target, against, needed, chosen)
    if event is not None:
        _check(event=event)
        notes.append(_seen(event, cells[0].group, chosen))
    sizes = sorted({*SIZES, *([chosen] if chosen else [])})
    reach = [_reach(c, m, difference, power) for c in cells for m in sizes]
    plan = None
    if chosen:
        found = {r.attribute: r.detectable for r in reach if r.images_per_prompt == chosen}
        plan = _plan(
            RunSpec.from_dict({**spec.as_passed, "images_per_prompt": chosen}, where=f"the spec '{spec.name}'"),
            Analysis.model_validate(
                {
                    "by": by, "attributes": list(attributes), "encoder": encoder, "target": target,
                    "target_sha256": sha256_file(Path(target)) if Path(target).is_file() else None,
                    "alpha": alpha, **analysis,
                }
            ),
            Sizing(
                against=against, difference=difference, power=power, icc=icc, unknown=unknown or None,
                detectable={name: round(value, 4) for name, value in found.items() if math.isfinite(value)},
            ),
            _sequential(chosen, looks, spending, stop),
            question,
        )  # fmt: skip
    return Draft(
        plan, reach, needed, floor, {c.attribute: c.tests for c in cells}, (chosen or 0) * len(expand(spec)), notes
    )


def _plan(spec: RunSpec, analysis: Analysis, sizing: Sizing, sequential: Sequential | None, question: str) -> Plan:
    return Plan(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        made_with=auditkit.__version__,
        question=question,
        analysis=analysis,
        sizing=sizing,
        sequential=sequential,
        spec=spec,
    )


def _sequential(
    images: int, looks: int, spending: Literal["obrien-fleming", "pocock"], stop: Literal["all", "any"]
) -> Sequential | None:
    if looks == 1:
        return None
    if images < looks:
        raise SpecError(
            f"{looks} looks need at least {looks} images of each prompt, not {images}",
            where="looks",
            mend="plan fewer looks, or more images",
        )
    return Sequential(looks=[round(images * (i + 1) / looks) for i in range(looks)], spending=spending, stop=stop)


def _reach(cell: _Cell, images_per_prompt: int, difference: float, power: float) -> Reach:
    n = cell.group.independent(images_per_prompt)
    k = cell.confusion.matrix.shape[1]
    z = critical(group=cell.group)
    widths = [half_width(share_variance(cell.confusion, 1 / k, j), n, z=z) for j in range(k)]
    return Reach(
        cell.attribute,
        images_per_prompt,
        cell.group.prompts * images_per_prompt,
        n,
        max(widths),
        cell.detectable(n, power),
        cell.power(difference, n),
    )


def _prompts(spec: RunSpec, by: str) -> tuple[int, int]:
    """Prompts of the smallest group, and groups."""
    prompts = expand(spec)
    if by == "all":
        return len(prompts), 1
    if by not in spec.axes:
        axes = ", ".join([*spec.axes, "all"])
        raise SpecError(f"the spec has no axis '{by}'", where=f"spec '{spec.name}'", mend=f"plan by one of: {axes}")
    sizes = dict.fromkeys(spec.axes[by], 0)
    for prompt in prompts:
        if by in prompt.axes:
            sizes[prompt.axes[by]] += 1
    return min(sizes.values()), len(sizes)


def _confusion(
    attribute: str, encoder: str, calibrations: Mapping[str, CalibrationTable] | None, notes: list[str]
) -> Confusion:
    whole: Confusion | None = None
    for name in attribute.split("+"):
        if calibrations is None:
            from auditkit.clip.calibration import load_calibration

            found: CalibrationTable | None = load_calibration(encoder, name)
        else:
            found = calibrations.get(name)
        if found is None:
            from auditkit.clip.attributes import attribute as find

            part = perfect(len(find(name).classes))
            notes.append(
                f"{encoder} has no calibration of {name}: planned as if the scorer made no errors. Without one, the "
                "measured shares will be 'uncalibrated', and nothing will be tested."
            )
        else:
            part = Confusion.from_counts(found.weights, n_effective=found.n_effective)
            part.check()
        whole = part if whole is None else Confusion.joint(whole, part)
    if whole is None:  # split gives at least one part
        raise CalibrationError("There is no attribute.", where="plan", mend="name one: --attribute gender")
    return whole


def _notes(
    cells: Sequence[_Cell],
    difference: float,
    power: float,
    icc: float,
    target: str,
    against: str,
    needed: Mapping[str, float],
    chosen: int | None,
) -> list[str]:
    notes = []
    for cell in cells:
        least, prompts = cell.detectable(MOST, power), cell.group.prompts
        if math.isnan(least) or least > difference:
            reach = "no difference" if math.isnan(least) else f"no difference under {least:.3f}"
            notes.append(
                f"{cell.attribute}: with this calibration set {reach} is found with {power:.0%} power, whatever the "
                "number of images; calibrate with more labelled images, or plan for a larger difference."
            )
        elif math.isinf(needed[cell.attribute]):
            images = cell.images(difference, power)
            if math.isinf(images):
                notes.append(f"{cell.attribute}: a share cannot lie {difference} from its reference.")
                continue
            least_prompts = math.floor(images * icc) + 1
            notes.append(
                f"{cell.attribute}: {prompts} prompts a group, whose images are alike (icc {icc}), never come to the "
                f"{math.ceil(images)} independent images needed; write more than {least_prompts} prompts a group, "
                "or plan for a larger difference."
            )
        else:
            with_these = cell.detectable(prompts / icc if icc else MOST, power)
            notes.append(
                f"{cell.attribute}: however many images of these {prompts} prompts a group, differences under "
                f"{with_these:.3f} stay out of reach; of any prompts, {least:.3f}, for the calibration set's own error."
            )
        if prompts == 1 and icc > 0:
            notes.append(
                f"{cell.attribute}: one prompt a group, so its images cannot show how alike they are; what is found "
                "speaks of that prompt only."
            )
    if icc == 0:
        notes.append(
            "That images of one prompt are independent (icc 0) cannot be known beforehand; the test allows for what "
            "the prompts leave open, so that few prompts in all reach less power than is told here."
        )
    if target != "uniform" and against == "target":
        notes.append(f"Target '{target}': planned at shares of one half, where the variance is greatest.")
    if chosen and any(not c.power(difference, c.group.independent(chosen)) >= power for c in cells):
        notes.append(f"{chosen} images of each prompt do not reach {power:.0%} power for a difference of {difference}.")
    notes.append(
        f"Assumes that images of one prompt correlate by {icc} (icc); the report gives the design effect that was "
        "found. Shares are tested (representation.corrected); for distances there is no such formula."
    )
    return list(dict.fromkeys(notes))


def _check_analysis(analysis: Mapping[str, object]) -> None:
    if isinstance(name := analysis.get("estimator"), str):
        estimators.get(name)
    measures, known = analysis.get("measures"), registry.names("measures")
    for name in measures if isinstance(measures, (list, tuple)) else ():
        if name not in known:
            raise SpecError(f"there is no measure '{name}'", where="measures", mend=f"use one of: {', '.join(known)}")


def _seen(event: float, group: Group, chosen: int | None) -> str:
    effect = group.prompts * chosen / group.independent(chosen) if chosen else 1.0
    images, here = images_to_see(event, effect=effect), group.prompts * (chosen or 0)
    whole = f"; a group of the plan has {here:,}, all of them {here * group.groups:,}" if chosen else ""
    return f"What {event:.1%} of images show is seen at least once, 95% of the time, in {images:,} images{whole}."


def _check(**shares: float) -> None:
    for name, value in shares.items():
        if not 0 < value < 1:
            raise SpecError(f"{name} must lie between 0 and 1, not {value}", where=name, mend=f"change --{name}")
