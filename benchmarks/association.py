"""Is `association` calibrated? Level, power, coverage and bias on simulated audits of known truth; and on a run whose
generator has a planted table, whether groups come in the planted order.

    python -m benchmarks.association --audits 1000
    python -m benchmarks.association --run runs/occupations-personas-...
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

from auditkit.stats.association import Clusters, effect_size, permutation_test, student_interval
from auditkit.stats.between import Prompts, place_between

DIM = 32
HETEROGENEOUS = np.r_[0, np.linspace(-2, 2, 7)]
SETTINGS = {
    "2 groups alike, 5 prompts": (np.zeros(2), 5),
    "8 groups alike, 10 prompts": (np.zeros(8), 10),
    "20 groups alike, 4 prompts": (np.zeros(20), 4),
    "one like the mean of 7 that differ, 10 prompts": (HETEROGENEOUS, 10),
    "one of 8 apart by .6, 10 prompts": (np.r_[0.6, np.zeros(7)], 10),
    "one of 8 apart by 1.2, 10 prompts": (np.r_[1.2, np.zeros(7)], 10),
}


def scores(
    means: np.ndarray, rng: np.random.Generator, *, prompts: int = 10, images: int = 5, spread: float = 0.5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores [n, 1] of unit noise about each group's mean, prompts apart by `spread`; the prompt of each, and the
    group of each prompt."""
    group = np.repeat(np.arange(len(means)), prompts)
    level = np.asarray(means)[group] + rng.normal(0, spread, len(group))
    prompt = np.repeat(np.arange(len(group)), images)
    return (level[prompt] + rng.normal(0, 1, len(prompt)))[:, None], prompt, group


def clustered(means: np.ndarray, rng: np.random.Generator, **more: float) -> tuple[Clusters, np.ndarray]:
    """The same by prompt, and the group of each prompt."""
    values, prompt, group = scores(means, rng, **more)  # type: ignore[arg-type]
    return Clusters.of(values, prompt), group


def true_effect(means: np.ndarray, which: int = 0, *, spread: float = 0.5) -> float:
    """d of such scores in the limit of many prompts."""
    others = np.delete(means, which).mean()
    return float((means[which] - others) / np.sqrt(1 + spread**2 + np.var(means)))


def interval(clusters: Clusters, group: np.ndarray, rng: np.random.Generator, replicates: int) -> tuple[float, float]:
    """Of the first group's effect size."""
    drawn = [clusters.take(group == g).resampled(rng, replicates) for g in np.unique(group)]
    whole = drawn[0]
    for each in drawn[1:]:
        whole = whole + each
    sums = clusters.sums(), clusters.take(group == 0).sums()
    d = effect_size(sums[1], sums[0] - sums[1])[0]
    low, high = student_interval(d, effect_size(drawn[0], whole - drawn[0])[:, 0], int((group == 0).sum()))
    return float(low), float(high)


def mixture(
    share: float, rng: np.random.Generator, *, prompts: int = 10, images: int = 5
) -> tuple[Prompts, Prompts, Prompts]:
    """Neutral images, of which a share are like pole A's and the rest like B's, and those of the poles."""

    def of(of_a: np.ndarray) -> Prompts:
        base = np.eye(DIM)[0] + np.where(of_a[:, None], 0.35, -0.35) * np.eye(DIM)[1]
        e = base + rng.normal(0, 0.2, (len(of_a), DIM))
        return Prompts.of(e / np.linalg.norm(e, axis=1, keepdims=True), np.repeat(np.arange(prompts), images))

    n = prompts * images
    return of(rng.random(n) < share), of(np.ones(n, bool)), of(np.zeros(n, bool))


def image_text(audits: int, rng: np.random.Generator, replicates: int = 500) -> pd.DataFrame:
    """Effect sizes: bias, coverage, and how often p <= .05, prompts and (in comparison) single images permuted."""
    rows = {}
    for name, (means, prompts) in SETTINGS.items():
        truth, found = true_effect(means), []
        for _ in range(audits):
            values, prompt, group = scores(means, rng, prompts=prompts)
            clusters, items = Clusters.of(values, prompt), Clusters.of(values, np.arange(len(values)))
            low, high = interval(clusters, group, rng, replicates)
            d = effect_size(clusters.take(group == 0).sums(), clusters.take(group != 0).sums())[0]
            p = permutation_test(clusters, group, 0, rng, permutations=replicates)[0]
            p_items = permutation_test(items, group[prompt], 0, rng, permutations=replicates)[0]
            found.append((d - truth, low <= truth <= high, p <= 0.05, p_items <= 0.05))
        bias, covered, rejected, naive = np.mean(found, axis=0)
        rows[name] = {"d": truth, "bias": bias, "coverage": covered, "p <= .05": rejected, "images permuted": naive}
    return pd.DataFrame(rows).T


def positions(audits: int, rng: np.random.Generator, replicates: int = 500) -> pd.DataFrame:
    """The place of a mixture between its poles, 10 prompts of 5 images of each kind."""
    rows = {}
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        places = [place_between([mixture(share, rng)], rng, replicates=replicates) for _ in range(audits)]
        rows[share] = {
            "bias": np.mean([p.position for p in places]) - share,
            "coverage": np.mean([p.low <= share <= p.high for p in places]),
            "p <= .05": np.mean([p.p_value <= 0.05 for p in places]),
        }
    return pd.DataFrame(rows).T.rename_axis("share of A")


def planted(path: str) -> pd.DataFrame:
    """Spearman's correlation of the effect sizes with the planted shares of a run, by occupation."""
    from auditkit.bias.association import association
    from auditkit.bias.base import Options
    from auditkit.runs import open_run

    run = open_run(path)
    truth = run.planted
    assert truth is not None
    poles = {"gender": ["female"], "skin_tone": ["dark", "medium-dark"]}
    rows = association.measure(run, Options(by="occupation"))
    found = {}
    for attribute, classes in poles.items():
        share = truth[truth[attribute].isin(classes)].groupby("occupation")["probability"].sum()
        for statistic in ("weat", "seat", "ieat", "t2iat"):
            chosen = rows[(rows["measure"] == f"association.{statistic}") & (rows["attribute"] == attribute)]
            d = chosen.set_index("group")["estimate"].drop("all", errors="ignore").dropna()
            if len(d) > 2:
                found[attribute, statistic] = {"groups": len(d), "rank correlation": d.corr(share, method="spearman")}
    return pd.DataFrame(found).T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audits", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", help="a run of a generator with a planted table, scored")
    asked = parser.parse_args()
    if asked.run:
        print(planted(asked.run).round(2).to_string())
        return
    rng = np.random.default_rng(asked.seed)
    print(image_text(asked.audits, rng).round(3).to_string())
    print(positions(asked.audits, rng).round(3).to_string())


if __name__ == "__main__":
    main()
