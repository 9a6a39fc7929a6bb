"""Looking at a run before it is finished: group-sequential tests whose looks share one alpha (alpha spending)."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr, ndtri

Floats = NDArray[np.float64]
Stop = Literal["all", "any"]

CLOSEST = 0.005
"""Least step of information between two looks; below it the quadrature would lose digits."""

_NODES = 400
_REACH = 9.0
"""Standard deviations beyond which a path's density is taken to be nothing (1e-19)."""


def obrien_fleming(t: float, alpha: float) -> float:
    """alpha*(t) = 2 - 2 Phi(z_{alpha/2} / sqrt t): hardly any alpha early (Lan and DeMets 1983, Biometrika 70:659-663).

    >>> round(obrien_fleming(1.0, 0.05), 6)
    0.05
    """
    return float(2 * ndtr(ndtri(alpha / 2) / math.sqrt(t))) if t > 0 else 0.0


def pocock(t: float, alpha: float) -> float:
    """alpha*(t) = alpha ln(1 + (e - 1) t): about the same boundary at every look (Lan and DeMets 1983).

    >>> round(pocock(0.5, 0.05), 4)
    0.031
    """
    return alpha * math.log1p((math.e - 1) * t)


SPENDING: dict[str, Callable[[float, float], float]] = {"obrien-fleming": obrien_fleming, "pocock": pocock}
"""What may be spent by the time that a part t of the information is in, for one side of a test."""


@dataclass(frozen=True)
class Boundaries:
    """Two-sided boundaries; each float64 [n_looks].

    Attributes:
        z: a test rejects where |Z| >= z; infinite where nothing may be spent yet.
        nominal: the same as a p-value: a test rejects where its two-sided p <= nominal.
        spent: probability under the null of having rejected by then.
    """

    z: Floats
    nominal: Floats
    spent: Floats


def boundaries(fractions: Sequence[float], *, alpha: float = 0.05, spending: str = "obrien-fleming") -> Boundaries:
    """Boundaries of a two-sided test that is looked at when these parts of the information are in.

    The statistic is a Brownian motion at times t (Jennison and Turnbull 2000, section 3.1): true for estimates whose
    later value adds independent images to the earlier one, whatever their clustering. Each side may spend
    f(alpha / 2, t); the boundary at look k makes the probability of first crossing there equal to what is
    newly spent, by numerical integration over the paths that go on (Armitage, McPherson and Rowe 1969, JRSS A
    132:235-244). The looks need not be spaced evenly, nor be known beforehand.

    Args:
        fractions: [n_looks] of the information planned, in (0, 1], rising by at least 0.005.
        alpha: of all looks together, in (0, 1).
        spending: a name in SPENDING.

    Raises:
        ValueError: an argument is out of its range.

    >>> boundaries([0.2, 0.4, 0.6, 0.8, 1.0]).z.round(3).tolist()
    [4.877, 3.357, 2.68, 2.29, 2.031]
    """
    return _boundaries(tuple(map(float, fractions)), float(alpha), spending)


@lru_cache(maxsize=1024)
def _boundaries(fractions: tuple[float, ...], alpha: float, spending: str) -> Boundaries:
    _check(fractions, alpha, spending)
    spent = np.array([SPENDING[spending](t, alpha / 2) for t in fractions])
    limits = np.empty(len(fractions))  # on the scale of the motion: z sqrt t
    nodes, density, before = np.zeros(1), np.ones(1), 0.0  # the motion starts at 0; density holds its weights
    for k, (t, fresh) in enumerate(zip(fractions, np.diff(spent, prepend=0.0), strict=True)):
        sd = math.sqrt(t - before)
        limits[k] = _limit(nodes, density, sd, fresh, math.sqrt(t))
        edge = min(limits[k], _REACH * math.sqrt(t))
        base, weights = _quadrature()
        fresh_nodes = edge * base
        steps = (fresh_nodes[:, None] - nodes) / sd
        passing = np.exp(-0.5 * steps**2) @ density / (sd * math.sqrt(2 * math.pi))
        nodes, density, before = fresh_nodes, passing * weights * edge, t
    z = limits / np.sqrt(fractions)
    return Boundaries(z, 2 * ndtr(-z), 2 * spent)


@lru_cache(maxsize=1)
def _quadrature() -> tuple[Floats, Floats]:
    return np.polynomial.legendre.leggauss(_NODES)


def _limit(nodes: Floats, density: Floats, sd: float, fresh: float, scale: float) -> float:
    """Where the probability of ending beyond equals what may be spent on one side."""
    from scipy.optimize import brentq

    if fresh < 1e-250:
        return math.inf
    goal = math.log(fresh)
    with np.errstate(divide="ignore"):
        weights = np.log(density)

    def surplus(c: float) -> float:
        return float(np.logaddexp.reduce(weights + log_ndtr((nodes - c) / sd))) - goal

    return float(brentq(surplus, -scale, 40 * scale, xtol=1e-12))


def _check(fractions: tuple[float, ...], alpha: float, spending: str) -> None:
    if spending not in SPENDING:
        raise ValueError(f"spending is one of {', '.join(SPENDING)}, not {spending!r}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha}")
    steps = np.diff(fractions, prepend=0.0)
    if not fractions or steps.min() < CLOSEST - 1e-12 or fractions[-1] > 1 + 1e-12:
        raise ValueError(f"looks must rise within (0, 1] by at least {CLOSEST}, not {list(fractions)}")


@dataclass(frozen=True)
class Decision:
    """What a look decides about one family of tests.

    Attributes:
        stop: whether to make no more images.
        rejected: tests that have crossed their boundary, at this look or before.
        fresh: those that crossed it now.
        nominal: the p-value at or below which a test that is still open would reject now; NaN where none is open.
        why: in words.
    """

    stop: bool
    rejected: frozenset[str]
    fresh: frozenset[str]
    nominal: float
    why: str


def decide(
    p_values: Mapping[str, float],
    *,
    fractions: Sequence[float],
    alpha: float = 0.05,
    spending: str = "obrien-fleming",
    rejected: Collection[str] = (),
    stop: Stop = "all",
) -> Decision:
    """Whether to stop after a look, with the family-wise error rate held at alpha over all looks and tests.

    Holm's steps at each look: with m tests of the family still open, each is held against its own boundary at
    alpha / m; one that crosses hands its part on to the rest (Maurer and Bretz 2013, Stat. Biopharm. Res. 5:311-320,
    with equal weights). Dividing the nominal level at alpha by m would spend too much: the level that belongs to
    alpha / m is smaller than that.

    Args:
        p_values: two-sided, one for each test of the family; NaN where it cannot be tested yet: it stays open.
        fractions: of the looks so far, this one last; 1 is the last look of all.
        rejected: tests that crossed at earlier looks.
        stop: `all` stops when every test has crossed, `any` with the first one; both at the last look.

    Raises:
        ValueError: no tests, an earlier rejection that is not among them, or a value out of range.

    >>> decide({"nurse": 1e-9, "judge": 0.2}, fractions=[0.5], stop="any").why
    '1 of 2 tests crossed the boundary'
    """
    if not p_values or not set(rejected) <= set(p_values):
        raise ValueError("need the same tests at every look, and at least one")
    if any(not (math.isnan(p) or 0 <= p <= 1) for p in p_values.values()):
        raise ValueError("p-values must lie between 0 and 1")
    crossed, nominal = set(rejected), math.nan
    while still_open := set(p_values) - crossed:
        nominal = float(boundaries(fractions, alpha=alpha / len(still_open), spending=spending).nominal[-1])
        fresh = {name for name in still_open if p_values[name] <= nominal}
        if not fresh:
            break
        crossed |= fresh
    done = len(crossed) == len(p_values) or (stop == "any" and bool(crossed))
    last = fractions[-1] >= 1 - 1e-12
    why = f"{len(crossed)} of {len(p_values)} tests crossed the boundary"
    if last and not done:
        why += "; this was the last look"
    return Decision(
        done or last,
        frozenset(crossed),
        frozenset(crossed - set(rejected)),
        nominal if len(crossed) < len(p_values) else math.nan,
        why,
    )
