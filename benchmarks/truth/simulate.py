"""Simulated audits of one setting, put through the estimators and the checks that an audit goes through."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.clip.attributes import attribute as find_attribute
from auditkit.clip.calibration import Calibration
from auditkit.clip.domain import Domain
from auditkit.clip.posteriors import decide, posteriors
from auditkit.errors import CalibrationError
from auditkit.stats.confusion import Confusion
from auditkit.stats.estimators import Estimate, Estimator, Evidence
from benchmarks.truth.compose import RUINED, Drawn, Population, Setting

LABELLED, FEWEST_LABELLED = 0.1, 40
"""People tell the class of so many of an audit's images, drawn at random, without errors: a tenth, at least 40."""
MIN_N = 20
"""Fewest images with a label for a verdict, as in `auditkit.bias.base.Options`."""

LABEL_SHIFT = "the class mix is"
"""How the caution begins that the classes' mix is another than the calibration's. It comes wherever shares are skewed,
right or wrong, so that it does not count as a warning of a wrong number."""

COLUMNS = [
    "audit", "attribute", "category", "truth", "estimate", "low", "high", "shown", "caution", "shift", "slack", "note",
]  # fmt: skip


def simulate(
    setting: Setting,
    population: Population,
    estimators: Mapping[str, Estimator],
    *,
    audits: int,
    seed: int,
    replicates: int = 500,
    tick: Callable[[], None] | None = None,
) -> dict[str, pd.DataFrame]:
    """By estimator a table with a row for each audit, attribute and class; columns COLUMNS.

    Each audit has a calibration set of its own, so that its luck counts as an audit's does. `shown` is whether an
    auditor would see the estimate; where not, `note` says why, and the estimate is there if the estimator made one
    and only the checks around it refused. Numbers do not depend on which other settings or estimators are asked for.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in estimators}
    for audit in range(audits):
        rng = np.random.default_rng([seed, zlib.crc32(setting.name.encode()), audit])
        for attribute, evidence, refusals in _evidence(setting, population, rng):
            truth = setting.truth(attribute).mean(axis=0)
            for name, estimator in estimators.items():
                key = zlib.crc32(f"{setting.name}/{attribute}/{name}".encode())
                own = np.random.default_rng([seed, key, audit])
                # People's labels do not hang on the scorer's calibration.
                refusal = refusals[0] or ("" if "human" in estimator.needs else refusals[1])
                made = _estimate(estimator, evidence, refusal, own, replicates, len(truth))
                found[name] += _rows(audit, attribute, truth, made, refusal)
        if tick is not None:
            tick()
    return {name: pd.DataFrame(rows, columns=COLUMNS) for name, rows in found.items()}


def _evidence(
    setting: Setting, population: Population, rng: np.random.Generator
) -> list[tuple[str, Evidence | None, tuple[str, str]]]:
    """(attribute, what an audit knows of it, why it may not be shown; see `_refusal`)."""
    made: list[tuple[str, Evidence | None, tuple[str, str]]] = []
    parts: list[tuple[Evidence, tuple[str, str]]] = []
    shared = None if setting.joint is None else population.audit(setting, setting.attributes[-1], rng)
    for i, attribute in enumerate(setting.attributes[:2]):
        if shared is None:
            drawn = population.audit(setting, attribute, rng)
        else:
            k = len(find_attribute(setting.attributes[1]).classes)
            drawn = Drawn(shared.row, shared.truth % k if i else shared.truth // k, shared.prompt, shared.group)
        try:
            calibration = population.calibration(setting, attribute, rng)
        except CalibrationError as error:
            made.append((attribute, None, (error.what, "")))
            continue
        evidence = _look(setting, population, attribute, drawn, calibration, rng)
        refusals = _refusal(setting, population, drawn, evidence)
        made.append((attribute, evidence, refusals))
        parts.append((evidence, refusals))
    if shared is not None and len(parts) == 2:
        (a, why_a), (b, why_b) = parts
        assert a.confusion is not None
        assert b.confusion is not None
        pair = Evidence(
            a.outcome * len(b.confusion.matrix) + b.outcome,
            a.prompt,
            confusion=Confusion.joint(a.confusion, b.confusion),
            stratum=a.stratum,
        )
        made.append((setting.attributes[-1], pair, (why_a[0] or why_b[0], why_a[1] or why_b[1])))
    return made


def _look(
    setting: Setting,
    population: Population,
    attribute: str,
    drawn: Drawn,
    calibration: Calibration,
    rng: np.random.Generator,
) -> Evidence:
    """What the scorer says of an audit's images, and people of some of them."""
    cosines = population.cosines(attribute, setting.noise)[drawn.row]
    posterior = posteriors(cosines, population.encoder.logit_scale, calibration.temperature)
    human = np.full(len(drawn.row), -1)
    asked = rng.permutation(len(human))[: max(round(LABELLED * len(human)), FEWEST_LABELLED)]
    human[asked] = drawn.truth[asked]
    return Evidence(
        decide(posterior, calibration.threshold),
        drawn.prompt,
        posterior=posterior.astype(float),
        confusion=Confusion.from_counts(calibration.weights, n_effective=calibration.n_effective),
        sample=calibration.sample,
        human=human,
        stratum=drawn.group if drawn.group.any() else None,
    )


def _refusal(setting: Setting, population: Population, drawn: Drawn, evidence: Evidence) -> tuple[str, str]:
    """Why an audit would show no share at all, and why none by the scorer's calibration, as the measure
    `representation` decides it; '' where it would."""
    labelled = int((evidence.outcome < evidence.n_classes).sum())
    if labelled < MIN_N:
        return f"{labelled} images have a label", ""
    try:
        assert evidence.confusion is not None
        evidence.confusion.check()
    except CalibrationError as error:
        return "", error.what
    how = setting.calibration
    qualities = tuple(sorted({*how.quality, *([RUINED] if how.hidden else [])}))
    inside = population.pool.inside(how.style, qualities)[drawn.row]
    return "", "" if Domain.holds(inside) else "the images are unlike the calibration's"


def _estimate(
    estimator: Estimator, evidence: Evidence | None, refusal: str, rng: np.random.Generator, replicates: int, k: int
) -> Estimate:
    if evidence is None:
        return Estimate.refuse(k, "", refusal)
    lacking = [need for need in estimator.needs if getattr(evidence, need) is None]
    if lacking:
        return Estimate.refuse(k, "", f"needs {', '.join(lacking)}")
    return estimator.estimate(evidence, rng=rng, replicates=replicates)


def _rows(audit: int, attribute: str, truth: NDArray[np.float64], made: Estimate, refusal: str) -> list[dict[str, Any]]:
    why = refusal or made.refused
    common = {
        "audit": audit,
        "attribute": attribute,
        "shown": not why,
        "caution": any(not each.startswith(LABEL_SHIFT) for each in made.cautions) or made.slack > 0,
        "shift": any(each.startswith(LABEL_SHIFT) for each in made.cautions),
        "slack": made.slack,
        "note": why or "; ".join(made.cautions),
    }
    columns = (truth.tolist(), made.shares.tolist(), made.low.tolist(), made.high.tolist())
    return [
        common | {"category": i, "truth": t, "estimate": e, "low": low, "high": high}
        for i, (t, e, low, high) in enumerate(zip(*columns, strict=True))
    ]
