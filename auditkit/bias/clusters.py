"""The measure `clusters`: embedding clusters, without names and without ascribing an identity to anyone."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.bias.base import ALL, Mask, Options, Row, adjust, groups, row, table, without_estimate
from auditkit.bias.exchangeable import Units, find_units, prompt_units
from auditkit.clip.embedded import has_embeddings, image_embeddings
from auditkit.stats.dependence import (
    Estimate,
    cramers_v,
    distances_to_the_rest,
    effective_number_of_all,
    effective_numbers,
)
from auditkit.stats.design import clustering, stratified_effect
from auditkit.stats.exchange import contrasts
from auditkit.stats.intervals import wilson
from auditkit.stats.left_open import left_open

if TYPE_CHECKING:
    from auditkit.runs import Run

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

SCORER = "cluster"
"""Assignments are kept as scores of this name, so that galleries can filter by them."""

FEWEST, MOST = 4, 24
"""Fewest and most clusters."""

PER_GROUP, PER_CLUSTER = 4, 50
"""As many clusters as leave 4 images of the median group to each, and 50 of all images."""

SMALLEST = 80
"""Fewest images that are clustered at all: 20 for each of 4 clusters."""

FITTED_ON = 20_000
"""Most images that centres are fitted on; the others are assigned to them."""

REFITS, REFITTED_ON = 10, 5_000
"""Refits behind the stability, each on at most so many images."""

STABLE = 0.6
"""Least mean adjusted Rand index at which clusters count as stable. Refits on one structureless cloud (normal, 2 to 30
dimensions, 1,000 to 20,000 images) came to .08-.49, those on the bundled generators' images to .7-.8."""

WHOLE_SPACE = (
    "prompts have too few images each to tell what they leave open: clusters may follow what the prompts ask for"
)


@dataclass(frozen=True)
class Clusters:
    """Clusters of images.

    Attributes:
        centres: float64 [k, d], the largest cluster first.
        label: [n_images] index of the nearest centre.
        distance: float64 [n_images] to it.
        posterior: float64 [n_images, k], of equal spheres with the clusters' mean variance; rows sum to 1.
        points: float64 [n_images, d], what was clustered.
        note: empty, or what keeps the clusters from being about what prompts leave open.
    """

    centres: Floats
    label: Indices
    distance: Floats
    posterior: Floats
    points: Floats
    note: str

    @property
    def names(self) -> list[str]:
        return [f"cluster {i + 1:02d}" for i in range(len(self.centres))]


def n_clusters(n_images: int, group_size: float) -> int:
    """How many clusters that many images get, with that many in the median group; 0: too few to cluster.

    >>> n_clusters(1000, 50), n_clusters(100_000, 5000), n_clusters(100, 20), n_clusters(79, 20)
    (12, 24, 4, 0)
    """
    if n_images < SMALLEST:
        return 0
    return int(np.clip(min(n_images // PER_CLUSTER, group_size // PER_GROUP), FEWEST, MOST))


def cluster_images(
    embeddings: NDArray[np.float32], prompts: Indices, ids: NDArray[np.object_], k: int, *, seed: int
) -> Clusters | None:
    """k-means in the directions that prompts leave open (`auditkit.stats.left_open`); None where no image differs.

    It sees which image belongs to which prompt and nothing of groups, and takes images in the order of their
    ids (hashes), so that clusters do not hang on the order of the table.

    Args:
        embeddings: [n, dim]. prompts: [n] unit index. ids: [n]. k: clusters, fewer only where fewer images differ.
    """
    space, note = left_open(embeddings, prompts), ""
    if space is None:
        space, note = left_open(embeddings, np.zeros(len(embeddings), np.intp)), WHOLE_SPACE
    if space is None:
        return None
    points = space.project(embeddings)
    order = np.argsort(ids, kind="stable")
    centres = _fit(points[order[:FITTED_ON]], k, seed)
    label = _assign(points, centres)
    by_size = np.argsort(-np.bincount(label, minlength=len(centres)), kind="stable")
    centres = centres[by_size]
    squared = _squared_distances(points, centres)
    label = squared.argmin(axis=1)
    nearest = squared[np.arange(len(points)), label]
    variance = max(float(nearest.mean()) / points.shape[1], 1e-12)
    weight = np.exp((nearest[:, None] - squared) / (2 * variance))
    return Clusters(centres, label, np.sqrt(nearest), weight / weight.sum(axis=1, keepdims=True), points, note)


def stability(found: Clusters, prompts: Indices, ids: NDArray[np.object_], *, seed: int) -> Floats:
    """Adjusted Rand index (Hubert and Arabie 1985) of refits on resampled prompts, float64 [REFITS].

    Each refit draws as many prompts as there are, with replacement; all images (at most REFITTED_ON) are then
    assigned to its centres and to the run's. 1: the same clusters; 0: no more alike than by chance.
    """
    from sklearn.metrics import adjusted_rand_score

    rng = np.random.default_rng([seed, zlib.crc32(b"clusters/stability")])
    order = np.argsort(ids, kind="stable")[:REFITTED_ON]
    # Prompts are numbered by their first image in the order of ids, which no group has a hand in.
    own = np.unique(prompts[order], return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(own[1]))[own[2]]
    n = len(own[0])
    made = []
    for refit in range(REFITS):
        times = rng.multinomial(n, np.full(n, 1 / n))[rank]
        centres = _fit(np.repeat(found.points[order], times, axis=0), len(found.centres), seed + 1 + refit)
        made.append(adjusted_rand_score(found.label[order], _assign(found.points[order], centres)))
    return np.array(made)


def _fit(points: Floats, k: int, seed: int) -> Floats:
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    k = min(k, len(np.unique(points, axis=0)))
    means = KMeans(k, n_init=3, random_state=seed % 2**32)
    # One thread: sums in another order would differ in the last digit.
    with threadpool_limits(1):
        return np.asarray(means.fit(points.astype(np.float32)).cluster_centers_, np.float64)


def _squared_distances(points: Floats, centres: Floats) -> Floats:
    cross = points @ centres.T
    squares = (points**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1)
    return np.asarray(np.maximum(squares - 2 * cross, 0))


def _assign(points: Floats, centres: Floats) -> Indices:
    return np.asarray(_squared_distances(points, centres).argmin(axis=1), np.intp)


class ClusterMeasure:
    """Which kinds of pictures each group gets, the kinds found from the images alone."""

    name = "clusters"
    version = 1
    title = "Clusters of images: how unevenly groups spread over them"

    def applies(self, run: Run, options: Options) -> str:
        if not has_embeddings(run, options.encoder):
            return f"no embeddings by {options.encoder}: auditkit score {run.id}"
        n = len(run.images())
        return "" if n >= SMALLEST else f"{n} images are too few to cluster; {SMALLEST} are needed"

    def measure(self, run: Run, options: Options) -> pd.DataFrame:
        """Rows clusters.share, .distance, .entropy, .dependence and .stability; keeps the assignments as scores."""
        images = run.images()
        by_group = groups(run, images, options.by)
        embeddings = image_embeddings(run, options.encoder, images)
        prompts, ids = prompt_units(images, by_group), images["id"].to_numpy(object)
        sizes = [int(chosen.sum()) for chosen in by_group.values()] or [len(images)]
        k = n_clusters(len(images), float(np.median(sizes)))
        if not k:
            return table([self._nothing(run, options, images, f"{len(images)} images; {SMALLEST} are needed")])
        found = cluster_images(embeddings, prompts, ids, k, seed=options.seed)
        if found is None:
            return table([self._nothing(run, options, images, "the images do not differ in the encoder's eyes")])
        run.write_scores(_scores(found, ids, options.encoder))
        units = find_units(images, by_group, options.by, min_n=options.min_n)
        audit = _Audit(run, options, images, by_group, found, units)
        rows = audit.shares() + audit.distances() + audit.entropies() + audit.dependence()
        rows.append(audit.stability(stability(found, prompts, ids, seed=options.seed)))
        return table(adjust(rows))

    def _nothing(self, run: Run, options: Options, images: pd.DataFrame, why: str) -> Row:
        made = row(
            "clusters.dependence", run, version=self.version, attribute="embedding", group_by=ALL, group=ALL,
            chosen=np.ones(len(images), bool), images=images, encoder=options.encoder,
        )  # fmt: skip
        return without_estimate(made, "insufficient", why)


clusters = ClusterMeasure()


@dataclass
class _Audit:
    """One run's clusters and groups: everything its rows are made from."""

    run: Run
    options: Options
    images: pd.DataFrame
    groups: dict[str, Mask]
    found: Clusters
    units: Units
    _bases: dict[str, Row] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.k = len(self.found.centres)
        self.everyone = np.ones(len(self.images), bool)
        self.counts = self.units.counts(self.found.label, self.k)
        self.tested = self.units.comparable
        self.note = self.found.note
        by_unit = [self.counts[self.units.group == g] for g in range(len(self.units.names))]
        self.clustering = clustering(by_unit)
        self.effects = [self.clustering.effect(c.sum(axis=1)) for c in by_unit]
        self.totals = np.array([c.sum(axis=0) for c in by_unit]).reshape(-1, self.k)

    def shares(self) -> list[Row]:
        """Share of each group's images in each cluster, beside that of the other groups."""
        made: list[Row] = []
        if self.tested:
            sizes = self.counts.sum(axis=1, keepdims=True)
            tests = contrasts(self.counts / sizes, self.units.group, self.units.block, self._rng("share"),
                              replicates=self.options.n_boot, equal_variances=True)  # fmt: skip
        for g, name in enumerate(self.units.names if self.groups else []):
            n, effect = self.totals[g].sum(), self.effects[g]
            low, high = wilson(self.totals[g] / effect, n / effect, df=self.clustering.quantile_df)
            rest = self.totals.sum(axis=0) - self.totals[g]
            for j, category in enumerate(self.found.names):
                each = self._row("share", name, category=category) | {
                    "estimate": self.totals[g, j] / n,
                    "ci_low": low[j],
                    "ci_high": high[j],
                    "ci_method": f"wilson, design effect {effect:.2f}",
                }
                if self.tested:
                    each |= {"null_value": rest[j] / rest.sum(), "p_value": tests.p_value[g, j]}
                    each["reference"] = "other groups"
                made.append(each)
        made += self._silent("share")
        counts = np.bincount(self.found.label, minlength=self.k)
        effects = stratified_effect(self.totals, np.eye(self.k), self.effects) if len(self.totals) else np.ones(self.k)
        df = self.clustering.quantile_df
        low, high = wilson(counts / effects, counts.sum() / effects, df=df)
        for j, category in enumerate(self.found.names):
            interval = {"ci_low": low[j], "ci_high": high[j], "ci_method": f"wilson, design effect {effects[j]:.2f}"}
            made.append(self._row("share", ALL, category=category) | interval | {"estimate": counts[j] / counts.sum()})
        return made

    def distances(self) -> list[Row]:
        """Total variation of each group's spread over the clusters from the other groups'."""
        if not self.tested:
            return self._silent("distance")
        found = distances_to_the_rest(
            self.counts, self.units.group, self.units.block, self._rng("distance"), replicates=self.options.n_boot
        )
        rows = []
        for name, one in zip(self.units.names, found, strict=True):
            notes = [f"corrected for few images: by chance the counted distance would be {one.null_value:.2f}"]
            rows.append(
                self._row("distance", name)
                | _numbers(one)
                | {"null_value": 0.0, "ci_method": "inverted bootstrap of prompts", "reference": "other groups"}
                | {"direction": "lower is closer", "note": "; ".join([*notes, *([self.note] if self.note else [])])}
            )
        return rows + self._silent("distance")

    def entropies(self) -> list[Row]:
        """How many clusters each group uses, and all images together."""
        about: dict[str, Any] = {"unit": "clusters", "ci_method": "jackknife over prompts"}
        about["category"] = "effective number"
        made: list[Row] = []
        if self.groups and self.units.names:
            beside = {"reference": "other groups"} if self.tested else {}
            found = effective_numbers(self.counts, self.units.group)
            for name, one in zip(self.units.names, found, strict=True):
                note = f"of {self.k} clusters; 1: all images alike" + (f"; {self.note}" if self.note else "")
                made.append(self._row("entropy", name) | _numbers(one) | about | beside | {"note": note})
        made += [each | {"unit": "clusters"} for each in self._silent("entropy")]
        whole = self._row("entropy", ALL) | about
        if not self.units.names:
            why = "no group has images and prompts enough" if self.groups else next(iter(self.units.left_out.values()))
            return [*made, without_estimate(whole, "insufficient", why)]
        return [*made, whole | _numbers(effective_number_of_all(self.counts, self.units.group))]

    def dependence(self) -> list[Row]:
        """Cramer's V between group and cluster, over all groups."""
        if not self.groups:
            return []
        base = self._row("dependence", ALL, category="Cramer's V")
        base |= {"unit": "V", "direction": "lower is closer", "reference": f"other {self.options.by}"}
        if not self.tested:
            why = f"{len(self.units.names)} group{'s' * (len(self.units.names) != 1)} with images and prompts enough"
            return [without_estimate(base, "insufficient", f"{why}; 2 are needed")]
        found = cramers_v(
            self.counts, self.units.group, self.units.block, self._rng("dependence"), replicates=self.options.n_boot
        )
        notes = [self.units.exchange, f"uncorrected V would be {found.null_value:.2f} by chance"]
        if self.units.left_out:
            notes.append(f"{len(self.units.left_out)} groups are too small to be counted in")
        notes += [self.note] if self.note else []
        numbers = _numbers(found) | {"null_value": 0.0, "ci_method": "jackknife over prompts", "note": "; ".join(notes)}
        return [base | numbers]

    def stability(self, indices: Floats) -> Row:
        """How alike clusters come out when prompts are resampled."""
        mean = float(indices.mean())
        note = "" if mean >= STABLE else "unstable: other prompts would give other clusters; do not rely on single ones"
        return self._row("stability", ALL, category="adjusted Rand index") | {
            "estimate": mean,
            "ci_low": float(indices.min()),
            "ci_high": float(indices.max()),
            "ci_method": f"range of {len(indices)} refits on resampled prompts",
            "null_value": 0.0,
            "unit": "adjusted Rand index",
            "note": note,
        }

    def _silent(self, statistic: str) -> list[Row]:
        """A row without numbers for each group that is too small, or for all where there is no other group."""
        reasons = dict(self.units.left_out) if self.groups else {}
        if statistic == "distance" and self.groups:
            reasons |= {name: "no other group to compare with" for name in self.units.names if not self.tested}
        return [without_estimate(self._row(statistic, name), "insufficient", why) for name, why in reasons.items()]

    def _row(self, statistic: str, group: str, **more: Any) -> Row:
        if group not in self._bases:
            whole = group == ALL
            self._bases[group] = row(
                "", self.run, version=clusters.version, attribute="embedding", group=group,
                group_by=ALL if whole else self.options.by, images=self.images, note=self.note,
                encoder=self.options.encoder, chosen=self.everyone if whole else self.groups[group],
            )  # fmt: skip
        return self._bases[group] | {"measure": f"clusters.{statistic}"} | more

    def _rng(self, key: str) -> np.random.Generator:
        return np.random.default_rng([self.options.seed, zlib.crc32(f"clusters/{key}".encode())])


def _numbers(one: Estimate) -> Row:
    return {
        "estimate": one.estimate,
        "ci_low": one.low,
        "ci_high": one.high,
        "null_value": one.null_value,
        "p_value": one.p_value,
    }


def _scores(found: Clusters, ids: NDArray[np.object_], encoder: str) -> pd.DataFrame:
    """A row for each distinct image (schema SCORES); `v_distance` is that to the centre."""
    scores = pd.DataFrame(
        {
            "id": ids,
            "scorer": SCORER,
            "scorer_version": clusters.version,
            "encoder": encoder,
            "label": np.array(found.names, object)[found.label],
            "confidence": found.posterior.max(axis=1),
            "in_domain": pd.array(np.full(len(ids), None), dtype="boolean"),
            "domain_distance": np.nan,
            "v_distance": found.distance,
        }
    )
    posterior = pd.DataFrame(found.posterior.round(6), columns=[f"p_{name}" for name in found.names])
    return pd.concat([scores, posterior], axis=1).drop_duplicates("id", ignore_index=True)
