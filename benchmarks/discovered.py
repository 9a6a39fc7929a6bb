"""Are `clusters` and `discovery` calibrated? Coverage of the estimates on simulated audits of known truth; and on a
run, how often something is found after whole prompts have been exchanged between groups, so that nothing is there.

    python -m benchmarks.discovered --audits 200
    python -m benchmarks.discovered --exchanged runs/occupations-personas-... --audits 100

And what clusters follow, in the whole embedding space and in what prompts leave open: adjusted mutual information.

    python -m benchmarks.discovered --space runs/occupations-personas-...

And whether discovery, unasked, finds the gender that was planted in a measured run.

    python -m benchmarks.discovered --planted runs/occupations-personas-...
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import numpy as np
import pandas as pd

from auditkit.bias.base import Options
from auditkit.bias.clusters import cluster_images, clusters, n_clusters
from auditkit.bias.discovery import discovery
from auditkit.clip.embedded import image_embeddings
from auditkit.runs import open_run
from auditkit.stats.dependence import (
    Estimate,
    cramers_v,
    distances_to_the_rest,
    effective_number,
    effective_numbers,
    phi_squared,
)

SETTINGS = {
    "20 groups, 10 prompts x 5 images, 12 clusters": (20, 10, 5, 12),
    "4 groups, 20 prompts x 20 images, 8 clusters": (4, 20, 20, 8),
}
ALIKE = 9.0
"""Prompts' own shares are Dirichlet: images of one prompt correlate by 1 / (1 + 9) = .1."""


def simulated(setting: tuple[int, int, int, int], strength: float, audits: int) -> pd.DataFrame:
    """Truth, bias, coverage and rate of p <= .05, by statistic; groups are mixtures of one world, own by `strength`."""
    groups, prompts, images, n_clusters = setting
    rng = np.random.default_rng(0)
    world = rng.dirichlet(np.full(n_clusters, 3.0))
    own = rng.dirichlet(np.full(n_clusters, 0.5), size=groups)
    shares = (1 - strength) * world + strength * own
    rest = (shares.sum(axis=0) - shares) / (groups - 1)
    group, block = np.repeat(np.arange(groups), prompts), np.tile(np.arange(prompts), groups)
    truth: dict[str, np.ndarray] = {
        "Cramer's V": np.sqrt(np.array([phi_squared(shares)]) / (min(shares.shape) - 1)),
        "distance": 0.5 * abs(shares - rest).sum(axis=1),
        "effective number": effective_number(shares),
    }
    found: dict[str, list[list[Estimate]]] = {name: [] for name in truth}
    for _ in range(audits):
        counts = rng.multinomial(images, np.concatenate([rng.dirichlet(ALIKE * p, size=prompts) for p in shares]))
        found["Cramer's V"].append([cramers_v(counts, group, block, rng, replicates=400)])
        found["distance"].append(distances_to_the_rest(counts, group, block, rng, replicates=400))
        found["effective number"].append(effective_numbers(counts, group))

    def table(get: Callable[[Estimate], float], name: str) -> np.ndarray:
        return np.array([[get(each) for each in row] for row in found[name]])

    rows = []
    for name, true in truth.items():
        low, high = table(lambda e: e.low, name), table(lambda e: e.high, name)
        rows.append(
            {
                "statistic": name,
                "truth (mean)": true.mean(),
                "bias": (table(lambda e: e.estimate, name) - true).mean(),
                "coverage": ((low - 1e-9 <= true) & (true <= high + 1e-9)).mean(),
                "p <= .05": (table(lambda e: e.p_value, name) <= 0.05).mean(),
            }
        )
    return pd.DataFrame(rows)


def exchanged(path: Path, audits: int) -> dict[str, float]:
    """Of audits of the run's images with prompts of a template exchanged between groups, how many find something."""
    shares: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        run = open_run(copytree(path, Path(folder) / path.name))
        images = run.images()
        by = run.spec.by if run.spec and run.spec.by else run.axes[0]
        prompts = images.drop_duplicates("prompt_id").set_index("prompt_id")
        for seed in range(audits):
            rng = np.random.default_rng(seed)
            moved = prompts.groupby("template")[f"axis_{by}"].transform(lambda v, rng=rng: rng.permutation(v))
            # The images table that the run has read is replaced, not the one on the disk.
            run.__dict__["_images"] = images.assign(**{f"axis_{by}": images["prompt_id"].map(moved)})
            options = Options(by=by, n_boot=500, seed=seed)
            rows = pd.concat([clusters.measure(run, options), discovery.measure(run, options)])
            kind, p = rows["measure"], rows["p_value"].astype(float)
            for name in ("concept", "direction"):
                shares.setdefault(f"any {name} found", []).append((kind == f"discovery.{name}").any())
            shares.setdefault("any share found (BH)", []).append(
                (rows.loc[kind == "clusters.share", "p_bh"] <= 0.05).any()
            )
            for name in ("dependence", "distance", "entropy"):
                tested = p[(kind == f"clusters.{name}") & p.notna()]
                shares.setdefault(f"clusters.{name} p <= .05", []).append(float((tested <= 0.05).mean()))
    return {name: float(np.mean(values)) for name, values in shares.items()}


def followed(path: Path) -> pd.DataFrame:
    """Adjusted mutual information of clusters with the groups and with what the scorers saw, by space."""
    from sklearn.metrics import adjusted_mutual_info_score

    run = open_run(path)
    images = run.images()
    embeddings = image_embeddings(run, "personas-clip", images)
    by = run.spec.by if run.spec and run.spec.by else run.axes[0]
    seen = {
        key.split("@")[0]: images["id"].map(table.set_index("id")["label"])
        for key, table in run.scores().items()
        if key.split("@")[0] in ("gender", "skin_tone")
    }
    both = {"gender and skin tone": seen["gender"] + " " + seen["skin_tone"]}
    prompts, ids = images["prompt_id"].to_numpy(np.intp), images["id"].to_numpy(object)
    k = n_clusters(len(images), float(images.groupby(f"axis_{by}").size().median()))
    rows = []
    for space, unit in (("whole", np.zeros_like(prompts)), ("left open", prompts)):
        found = cluster_images(embeddings, unit, ids, k, seed=0)
        assert found is not None
        what = {by: images[f"axis_{by}"]} | seen | both
        rows.append({"space": space} | {n: adjusted_mutual_info_score(v, found.label) for n, v in what.items()})
    return pd.DataFrame(rows)


def rediscovered(path: Path) -> str:
    """How many groups whose planted share of women is .20 or more from the others' were found, and with which sign."""
    run = open_run(path)
    planted, rows = run.planted, run.measurements()
    assert planted is not None
    assert rows is not None
    women = planted[planted["gender"] == "female"].groupby("occupation")["probability"].sum()
    women = women.reindex(run.images()["axis_occupation"].unique())
    gap = women - (women.sum() - women) / (len(women) - 1)
    found = rows[(rows["measure"] == "discovery.concept") & rows["category"].isin(["woman", "man"])]
    toward = found["estimate"] * np.where(found["category"] == "woman", 1, -1)
    signs = (np.sign(toward) == np.sign(found["group"].map(gap))).mean()
    wide = gap[abs(gap) >= 0.2]
    hit = wide.index.isin(found["group"]).sum()
    return f"{hit} of {len(wide)} groups with a planted gap of .20 or more found; {signs:.0%} of signs right"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audits", type=int, default=200)
    parser.add_argument("--exchanged", type=Path, metavar="RUN")
    parser.add_argument("--space", type=Path, metavar="RUN")
    parser.add_argument("--planted", type=Path, metavar="RUN")
    args = parser.parse_args()
    if args.planted:
        print(rediscovered(args.planted))
        return
    if args.space:
        print(followed(args.space).round(2).to_string(index=False))
        return
    if args.exchanged:
        for name, share in exchanged(args.exchanged, args.audits).items():
            print(f"{name:28} {share:.3f}")
        return
    for label, setting in SETTINGS.items():
        for strength in (0.0, 0.3, 0.7):
            print(f"\n{label}; own by {strength:.0%}")
            print(simulated(setting, strength, args.audits).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
