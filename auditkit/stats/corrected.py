"""Class shares corrected for the scorer's errors, with the calibration set's variance (adjusted count)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from auditkit.stats.confusion import Confusion, zero_sum_basis

Floats = NDArray[np.float64]


def inverse(c: ArrayLike) -> Floats:
    """A [n_classes, n_outcomes] with A q = argmin ||C p - q||^2 over p that sum to 1, signs left free.

    A C p = p for every such p. Two classes without `unknown` give Rogan and Gladen's estimator
    (1978, Am. J. Epidemiol. 107:71-76). Plain least squares: weighting by the multinomial covariance
    changed the RMSE by at most 5% in simulation.

    >>> A = inverse([[0.9, 0.2], [0.1, 0.8]])
    >>> float((A @ [0.55, 0.45])[0].round(6))
    0.5
    """
    c = np.asarray(c, float)
    m, k = c.shape
    start = np.full(k, 1 / k)
    basis = zero_sum_basis(k) if k > 1 else np.zeros((1, 0))
    step = basis @ np.linalg.pinv(c @ basis) if k > 1 else np.zeros((1, m))
    return step @ (np.eye(m) - np.outer(c @ start, np.ones(m))) + np.outer(start, np.ones(m))


def constrained_shares(q: ArrayLike, c: ArrayLike) -> Floats:
    """p = argmin over the simplex of ||C p - q||^2, exact, for many q at once.

    Active set with block exchanges, then Murty's single exchanges, which end (Judice and Pires 1994,
    Comput. Oper. Res. 21:587-596). Rows that share an active set are solved together.

    Args:
        q: [..., n_outcomes] shares of outcomes.
        c: C [n_outcomes, n_classes].

    Returns:
        float64 [..., n_classes], >= 0, sums to 1; NaN where q is.

    >>> constrained_shares([[0.55, 0.45], [0.97, 0.03]], [[0.9, 0.2], [0.1, 0.8]]).round(3).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """
    q, c = np.asarray(q, float), np.asarray(c, float)
    rows = q.reshape(-1, c.shape[0])
    k = c.shape[1]
    gram, moment = c.T @ c, rows @ c
    p = rows @ inverse(c).T
    free = np.ones((len(rows), k), bool)
    todo = np.flatnonzero((p < 0).any(axis=1))
    bits = 1 << np.arange(k)
    for turn in range(100 * k):
        # KKT signs: free shares not negative, pinned ones with a gradient not below the free ones'.
        slope = p[todo] @ gram - moment[todo]
        level = (slope * free[todo]).sum(axis=1, keepdims=True) / free[todo].sum(axis=1, keepdims=True)
        wrong = np.where(free[todo], p[todo] < -1e-12, slope < level - 1e-12)
        bad = wrong.any(axis=1)
        todo, wrong = todo[bad], wrong[bad]
        if len(todo) == 0:
            break
        if turn > 10:
            last = k - 1 - np.argmax(wrong[:, ::-1], axis=1)
            wrong = np.arange(k) == last[:, None]
        free[todo] ^= wrong
        emptied = todo[~free[todo].any(axis=1)]
        free[emptied, np.argmax(moment[emptied], axis=1)] = True
        codes, member = np.unique(free[todo] @ bits, return_inverse=True)
        on = (codes[:, None] & bits) > 0
        # KKT systems, one an active set, with p_j = 0 in the rows of pinned classes.
        kkt = np.zeros((len(codes), k + 1, k + 1))
        kkt[:, :k, :k] = gram * (on[:, :, None] & on[:, None, :])
        kkt[:, range(k), range(k)] += ~on
        kkt[:, :k, k] = kkt[:, k, :k] = on
        solution = np.linalg.inv(kkt)
        by_set = np.split(np.argsort(member, kind="stable"), np.cumsum(np.bincount(member))[:-1])
        for part, mine, solve in zip(by_set, on, solution, strict=True):
            index = todo[part]
            p[index] = (moment[index] * mine) @ solve[:k, :k] + solve[:k, k]
    p = np.clip(p, 0, None)
    return (p / p.sum(axis=1, keepdims=True)).reshape(*q.shape[:-1], k)


@dataclass(frozen=True)
class CorrectedShares:
    """Corrected shares of one group; arrays are float64 [n_classes].

    Attributes:
        shares: in [0, 1], sum to 1.
        low, high: interval, in [0, 1], never of zero width.
        free: the estimate before the constraint p >= 0; may lie outside [0, 1].
        p_values: of the score test of each null share; NaN without one.
        fit_p: how well any shares explain the outcomes through C; a small value says C does not hold here.
    """

    shares: Floats
    low: Floats
    high: Floats
    free: Floats
    p_values: Floats
    fit_p: float


def corrected_shares(
    counts: ArrayLike,
    confusion: Confusion,
    *,
    effect: ArrayLike = 1.0,
    df: float = np.inf,
    confidence: float = 0.95,
    null: ArrayLike | None = None,
) -> CorrectedShares:
    """Error-corrected shares with a score interval that holds the audit's and the calibration's variance.

    Estimate: `constrained_shares`. Interval for class j: all t with (A_j q - t)^2 <= z^2 V_j(t), where
    V_j(t) = effect/n A_j (diag q - q q') A_j' + A_j Cov(C p) A_j' is taken at p(t), share t for j and the
    rest in the estimated proportions, q = C p(t); the Cov term is the calibration set's. V is a quadratic
    in t, so the limits have a closed form; a known perfect matrix gives Wilson's interval. As the variance is
    that under t, not under the estimate, the interval keeps its width at shares of 0 and 1. The variance
    for two classes is Rogan and Gladen's (1978); Lang and Reiczigel (2014, Prev. Vet. Med. 113:13-22)
    have another interval with it.

    Coverage of a nominal 95%, 4,000 simulated audits a setting, 10 prompts x 5 images, calibration set of 150
    a class drawn anew, design effect estimated from the same 10 prompts, 5% unknown: two classes (Se .97,
    Sp .95; shares .05 to .95) 95.6-96.4% at intraclass correlation 0, 94.7-96.0% at .1; five classes (.4 to
    .08; 85% right) 95.8-96.8% at both. One prompt of 50: 94.2-95.6%. |bias| <= .006.

    Args:
        counts: [n_outcomes] images by outcome.
        confusion: the scorer's C with its calibration counts. Call its `check` first.
        effect: design effect, > 0, one or [n_classes].
        df: degrees of freedom of an estimated design effect (`Clustering.quantile_df`).
        confidence: coverage aimed at.
        null: [n_classes] shares to test; p < 1 - confidence exactly where the interval leaves the share out.

    Returns:
        CorrectedShares, all NaN where there are no images.

    >>> perfect = Confusion.from_counts([[1, 0], [0, 1]], n_effective=np.inf)
    >>> found = corrected_shares([5, 5], perfect)
    >>> found.low.round(4).tolist(), found.high.round(4).tolist()
    ([0.2366, 0.2366], [0.7634, 0.7634])
    """
    counts = np.asarray(counts, float)
    n, k = counts.sum(), confusion.matrix.shape[1]
    if n == 0:
        nan = np.full(k, np.nan)
        return CorrectedShares(nan, nan, nan, nan, nan, float("nan"))
    q = counts / n
    a = inverse(confusion.matrix)
    free, shares = a @ q, constrained_shares(q, confusion.matrix)
    effect = np.broadcast_to(np.asarray(effect, float), (k,))
    v0, v1, v2 = _score_variance(a, confusion, shares, n, effect)
    z = stats.t.ppf(0.5 + confidence / 2, df)
    # An estimate beyond the boundary counts as at most 3/4 z standard errors beyond: further out, the
    # interval would shrink to nothing just where the data are least to be expected.
    beyond = 0.75 * z * np.sqrt(np.maximum([v0, v0 + v1 + v2], 0))
    judged = np.clip(free, -beyond[0], 1 + beyond[1])
    low, high = _score_limits(judged, v0, v1, v2, z)
    p_values = np.full(k, np.nan)
    if null is not None:
        t = np.asarray(null, float)
        variance = np.maximum(v0 + v1 * t + v2 * t**2, 1e-300)
        p_values = 2 * stats.t.sf(np.abs(judged - t) / np.sqrt(variance), df)
    misfit = q - confusion.matrix @ shares
    scatter = _outcome_covariance(confusion, _inside(shares, n), n, float(effect.max()))
    statistic = misfit @ np.linalg.pinv(scatter) @ misfit
    return CorrectedShares(
        shares,
        np.minimum(low, shares),
        np.maximum(high, shares),
        free,
        p_values,
        float(stats.chi2.sf(statistic, len(q) - 1)),
    )


def _inside(shares: Floats, n: float) -> Floats:
    """Shares moved off the boundary by one image, so that every class keeps a variance."""
    return (n * shares + 1 / len(shares)) / (n + 1)


def _outcome_covariance(confusion: Confusion, p: Floats, n: float, effect: float) -> Floats:
    q = confusion.smoothed @ p
    return effect / n * (np.diag(q) - np.outer(q, q)) + confusion.covariance(p)


def _score_variance(
    a: Floats, confusion: Confusion, shares: Floats, n: float, effect: Floats
) -> tuple[Floats, Floats, Floats]:
    """Coefficients [n_classes] of V_j(t) = v0 + v1 t + v2 t^2, from its values at 0, 1/2 and 1."""
    k = len(shares)
    at = np.empty((3, k))
    for j in range(k):
        own = np.eye(k)[j]
        rest = np.where(own == 1, 0.0, _inside(shares, n))
        rest = rest / rest.sum() if k > 1 else own
        for i, t in enumerate((0.0, 0.5, 1.0)):
            at[i, j] = a[j] @ _outcome_covariance(confusion, t * own + (1 - t) * rest, n, effect[j]) @ a[j]
    v2 = 2 * (at[2] + at[0] - 2 * at[1])
    return at[0], at[2] - at[0] - v2, v2


def _score_limits(at: Floats, v0: Floats, v1: Floats, v2: Floats, z: float) -> tuple[Floats, Floats]:
    """Solutions in [0, 1] of (at - t)^2 <= z^2 V(t)."""
    lead, half, last = 1 - z**2 * v2, at + z**2 * v1 / 2, at**2 - z**2 * v0
    root = np.sqrt(np.maximum(half**2 - lead * last, 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (half - root) / lead, (half + root) / lead
    # No finite solution set: the calibration says too little about this share (Fieller's case).
    low, high = np.where(lead > 0, low, 0.0), np.where(lead > 0, high, 1.0)
    return np.clip(low, 0, 1), np.clip(high, 0, 1)
