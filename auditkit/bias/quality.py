"""The measure `quality`: prompt fidelity, distance to reference pictures, copies, diversity, memorised pictures.

It stands beside the measures of bias so that trade-offs show: a mitigation that makes every picture alike, or unlike
its prompt, is no gain.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.bias.base import ALL, Mask, Options, adjust, table, without_estimate
from auditkit.bias.counted import Layout
from auditkit.clip.domain import Domain, load_domain
from auditkit.clip.embedded import has_embeddings, image_embeddings, text_embeddings
from auditkit.clip.training import TrainingReference, load_training
from auditkit.errors import CalibrationError
from auditkit.stats.features import bandwidth, close_pairs, frechet_distance, nearest, squared_distance, vendi

if TYPE_CHECKING:
    from auditkit.runs import Run

VERSION = 1
DISTANCE_IMAGES = 4000
"""Most images of a run that are held against the reference; drawn at random."""
POOL = 1000
"""Most images of a group among which near-duplicates are looked for."""
LOOKED_UP = 20_000
"""Most images of a run whose nearest training picture is looked for."""
VENDI_SIZES = (1000, 500, 200, 100, 50, 20)
"""Numbers of images at which diversity is told: the largest that every group has."""
FRECHET_PER_DIM = 10
"""Images for each dimension of the embedding, in the run and in the reference, below which the Frechet distance is
not told."""

Part = tuple[str, str]
Row = dict[str, Any]


class Quality:
    """Rows `quality.clip_score`, `.retrieval`, `.feature_distance`, `.frechet_distance`, `.exact_duplicates`,
    `.near_duplicates`, `.diversity` and `.memorised`."""

    name = "quality"
    version = VERSION
    title = "Prompt fidelity, image quality and diversity"

    def applies(self, run: Run, options: Options) -> str:
        if not has_embeddings(run, options.encoder):
            return f"no embeddings by {options.encoder}: auditkit score {run.id}"
        return ""

    def measure(self, run: Run, options: Options) -> pd.DataFrame:
        """All statistics in the space of `options.encoder`; formulas in docs/measurement.md.

        Raises:
            TableError: the images have not been embedded, or there is no such axis.
            EncoderError: the encoder is needed for the prompts' texts and cannot be loaded.
        """
        study = _Study.read(run, options)
        rows = adjust(study.clip_score()) + study.retrieval() + study.distances()
        rows += study.exact_duplicates() + study.near_duplicates() + study.diversity() + study.memorised()
        return table(rows)


quality = Quality()


@dataclass
class _Study:
    """One run's embeddings and what they are held against."""

    run: Run
    options: Options
    layout: Layout
    embeddings: NDArray[np.float32]
    domain: Domain | None
    training: TrainingReference | None
    refused: str

    @classmethod
    def read(cls, run: Run, options: Options) -> _Study:
        layout = Layout.read(run, options)
        embeddings = image_embeddings(run, options.encoder, layout.images)
        beside = options.encoder_source or options.encoder
        domain: Domain | None = None
        training: TrainingReference | None = None
        refused = ""
        try:
            domain, training = load_domain(beside), load_training(beside)
        except CalibrationError as error:
            refused = error.what
        return cls(run, options, layout, embeddings, domain, training, refused)

    @property
    def least(self) -> int:
        return max(self.options.min_n, 2)

    def row(self, statistic: str, part: Part, **more: Any) -> Row:
        common: Row = {"version": VERSION, "attribute": "embedding", "encoder": self.options.encoder}
        return self.layout.row(f"quality.{statistic}", part, **(common | more))

    def rng(self, *key: str) -> np.random.Generator:
        return np.random.default_rng([self.options.seed, zlib.crc32("/".join(["quality", *key]).encode())])

    def some(self, rng: np.random.Generator, chosen: Mask, most: int) -> NDArray[np.intp]:
        """Numbers of at most `most` of the chosen images, drawn at random without replacement, in order."""
        places = np.flatnonzero(chosen)
        return places if len(places) <= most else np.sort(rng.choice(places, most, replace=False))

    # Prompt fidelity

    def clip_score(self) -> list[Row]:
        """100 x cosine of each image and its own prompt."""
        cosine = self._own_cosine()
        unit = {"attribute": "prompt", "unit": "100 x cosine", "direction": "higher is closer"}
        rows = []
        for part in self.layout.parts:
            row = self.row("clip_score", part, **unit)
            rows.append(self.layout.fill_mean(row, part, 100 * cosine, self.least))
        return rows

    def _own_cosine(self) -> NDArray[np.float64]:
        texts, place = np.unique(self.layout.images["prompt"].to_numpy(str), return_inverse=True)
        embedded = self._texts(list(texts))
        return np.einsum("nd,nd->n", self.embeddings, embedded[place], dtype=np.float64)

    def _texts(self, texts: list[str]) -> NDArray[np.float32]:
        return text_embeddings(self.run, self.options.encoder, texts, source=self.options.encoder_source)

    def retrieval(self) -> list[Row]:
        """Share of images to which, of the prompts that differ in the group only, their own is the nearest."""
        by = self.options.by
        names = [group for group_by, group in self.layout.parts if group_by != ALL]
        if len(names) < 2:
            return []
        facts: Row = {"attribute": "prompt", "category": "own group nearest", "direction": "higher is closer"}
        facts |= {"reference": f"the {len(names)} prompts that differ in {by} only", "null_value": 1 / len(names)}
        hits, looked = self._retrieved(by, names)
        empty = {
            part: self.row("retrieval", part, chosen=chosen & looked, **facts)
            for part, chosen in self.layout.parts.items()
        }
        if not looked.any():
            why = f"no template was prompted for every {by}, so that there are no prompts to choose from"
            return [without_estimate(row, "insufficient", why) for row in empty.values()]
        shares = self.layout.shares(hits, among=looked)
        return [shares[part].fill(row, self.least) for part, row in empty.items()]

    def _retrieved(self, by: str, names: list[str]) -> tuple[Mask, Mask]:
        """Which images are nearest to their own group's prompt, and which have one of every group to be held against.

        Where a group has several prompts of one template, the mean of their embeddings stands for it.
        """
        images, axis = self.layout.images, f"axis_{by}"
        _, first = np.unique(self.layout.prompts, return_index=True)
        prompts = images.iloc[first].reset_index(drop=True)  # row p is prompt p
        alike = ["template", *(c for c in images.columns if c.startswith("axis_") and c != axis)]
        hits, looked = np.zeros(len(images), bool), np.zeros(len(images), bool)
        for _, context in prompts[prompts[axis].isin(names)].groupby(alike, dropna=False, sort=False):
            texts = context[["prompt", axis]].drop_duplicates()
            if texts[axis].nunique() < len(names) or texts["prompt"].duplicated().any():
                continue  # some group is missing, or the prompts do not tell the groups apart
            group = pd.Index(names).get_indexer(pd.Index(texts[axis]))
            said = np.zeros((len(names), self.embeddings.shape[1]), np.float32)
            np.add.at(said, group, self._texts(list(texts["prompt"])))
            said /= np.linalg.norm(said, axis=1, keepdims=True)
            here = np.flatnonzero(np.isin(self.layout.prompts, context.index))
            nearest_text = (self.embeddings[here] @ said.T).argmax(axis=1)
            hits[here] = np.array(names)[nearest_text] == images[axis].to_numpy(str)[here]
            looked[here] = True
        return hits, looked

    # Distance to a reference

    def distances(self) -> list[Row]:
        """Squared maximum mean discrepancy to the encoder's reference pictures, and the Frechet distance."""
        facts = {"direction": "lower is closer", "unit": "squared distance"}
        squared = self.row("feature_distance", (ALL, ALL), category="MMD^2", **facts)
        frechet = self.row("frechet_distance", (ALL, ALL), category="Frechet", **facts)
        if self.domain is None:
            why = self.refused or f"{self.options.encoder} has no reference pictures beside it"
            return [without_estimate(row, "uncalibrated", why) for row in (squared, frechet)]
        reference = {"reference": self.domain.source}
        places = self.some(self.rng("distance"), self.layout.parts[ALL, ALL], DISTANCE_IMAGES)
        return [self._squared(squared | reference, places, self.domain), self._frechet(frechet | reference)]

    def _squared(self, row: Row, places: NDArray[np.intp], domain: Domain) -> Row:
        row |= {"null_value": 0.0}
        if len(places) < self.least:
            return without_estimate(row, "insufficient", f"{len(places)} images; {self.least} are needed")
        found = squared_distance(
            self.embeddings[places],
            self.layout.prompts[places],
            domain.reference,
            scale=bandwidth(domain.reference),
            sources=domain.clusters,
        )
        if not np.isfinite(found.low):
            return without_estimate(row, "insufficient", "fewer than three prompts, or too few reference pictures")
        notes = ["the reference is taken as it is"]
        if len(places) < len(self.embeddings):
            notes.append(f"over {len(places):,} images drawn at random (seed {self.options.seed})")
        row |= {"estimate": found.estimate, "ci_low": found.low, "ci_high": found.high}
        return row | {"ci_method": "jackknife over prompts", "note": "; ".join(notes)}

    def _frechet(self, row: Row) -> Row:
        assert self.domain is not None
        need, n = FRECHET_PER_DIM * self.embeddings.shape[1], len(self.embeddings)
        if min(n, len(self.domain.reference)) < need:
            why = f"it is biased upward below {need:,} images in the run and in the reference; use feature_distance"
            return without_estimate(row, "insufficient", why)
        places = self.some(self.rng("frechet"), self.layout.parts[ALL, ALL], LOOKED_UP)
        rows, reference = self.embeddings[places], self.domain.reference
        whole = frechet_distance(rows, reference)
        blocks = np.unique(self.layout.prompts[places], return_inverse=True)[1] % 20
        count = int(blocks.max()) + 1
        if count < 20:
            return without_estimate(row, "insufficient", f"{count} prompts; 20 are needed for an interval")
        left = np.array([frechet_distance(rows[blocks != b], reference) for b in range(count)])
        half = 2.093 * float(np.sqrt((count - 1) / count * ((left - left.mean()) ** 2).sum()))  # t, 19 degrees
        row |= {"estimate": whole, "ci_low": max(whole - half, 0.0), "ci_high": whole + half}
        note = f"biased upward; compare runs of {len(places):,} images only"
        return row | {"ci_method": "jackknife over 20 blocks of prompts", "note": note}

    # Copies

    def exact_duplicates(self) -> list[Row]:
        """Share of images whose bytes come up again in the run."""
        again = self.layout.images["id"].duplicated(keep=False).to_numpy(bool)
        facts = {"attribute": "image", "category": "same bytes", "direction": "lower is closer"}
        shares = self.layout.shares(again, exact=True).items()
        return [share.fill(self.row("exact_duplicates", part, **facts), self.least) for part, share in shares]

    def near_duplicates(self) -> list[Row]:
        """Share of images that have a near-duplicate in their own group."""
        facts = {"category": "has a near-duplicate", "direction": "lower is closer"}
        why = self._unlike()
        if why:
            parts = self.layout.parts
            return [without_estimate(self.row("near_duplicates", p, **facts), "uncalibrated", why) for p in parts]
        assert self.training is not None
        at = self.training.copies
        hits, looked, pools = np.zeros(len(self.embeddings), bool), np.zeros(len(self.embeddings), bool), {}
        for (by, group), chosen in self.layout.parts.items():
            if (by, group) == (ALL, ALL) and len(self.layout.parts) > 1:
                continue
            places = self.some(self.rng("copies", group), chosen, POOL)
            hits[places] = close_pairs(self.embeddings[places], at.cosine) > 0
            looked[places], pools[by, group] = True, len(places)
        rows = []
        for part, share in self.layout.shares(hits, among=looked, exact=True).items():
            others = f"{pools[part]:,} images" if part in pools else "the images of its group"
            note = (
                f"cosine of {at.cosine:.3f} or more to another of {others}; {at.found:.0%} of known copies and "
                f"{at.false_matches:.1%} of pairs of different drawings of one subject reach it"
            )
            row = self.row("near_duplicates", part, chosen=self.layout.parts[part] & looked, **facts)
            row = share.fill(row, self.least)
            rows.append(row | ({"note": note} if row["status"] == "ok" else {}))
        return rows

    def memorised(self) -> list[Row]:
        """Share of images nearer to a training picture than drawings are that were held out of the training."""
        facts: Row = {"category": "a training picture come again", "direction": "lower is closer"}
        why = self._unlike()
        if not why and self.training is not None and not self.training.covers(self.run):
            why = f"the training pictures of {self.run.record['generator'].get('name')} are not at hand"
        if why:
            return [without_estimate(self.row("memorised", (ALL, ALL), **facts), "uncalibrated", why)]
        assert self.training is not None
        at = self.training.memorised
        facts |= {"reference": self.training.source, "null_value": at.false_matches}
        places = self.some(self.rng("memorised"), self.layout.parts[ALL, ALL], LOOKED_UP)
        hits, looked = np.zeros(len(self.embeddings), bool), np.zeros(len(self.embeddings), bool)
        hits[places] = nearest(self.embeddings[places], self.training.embeddings) >= at.cosine
        looked[places] = True
        note = (
            f"cosine of {at.cosine:.3f} or more to a training picture; {at.matches} of {at.n} drawings held out of the "
            f"training reach it, and {at.found:.0%} of copies of training drawings"
        )
        if len(places) < len(self.embeddings):
            note += f"; over {len(places):,} images drawn at random (seed {self.options.seed})"
        rows = []
        for part, share in self.layout.shares(hits, among=looked, exact=True).items():
            row = self.row("memorised", part, chosen=self.layout.parts[part] & looked, **facts)
            row = share.fill(row, self.least)
            rows.append(row | ({"note": note} if row["status"] == "ok" else {}))
        return rows

    def _unlike(self) -> str:
        """Why the thresholds do not hold for these images, or empty."""
        if self.refused:
            return self.refused
        if self.training is None or self.domain is None:
            return f"{self.options.encoder} has no thresholds for copies beside it"
        places = self.some(self.rng("domain"), self.layout.parts[ALL, ALL], DISTANCE_IMAGES)
        inside = self.domain.assess(self.embeddings[places])[1]
        if not Domain.holds(inside):
            return f"{1 - inside.mean():.0%} of the images are unlike those the thresholds were chosen on"
        return ""

    # Diversity

    def diversity(self) -> list[Row]:
        """Vendi score of each group at one number of images."""
        parts = self.layout.parts
        enough = [int(chosen.sum()) for part, chosen in parts.items() if chosen.sum() >= self.least]
        size = next((s for s in VENDI_SIZES if enough and s <= min(enough)), 0)
        facts = {"category": "Vendi score", "unit": "effective images"}
        rows = []
        for (by, group), chosen in parts.items():
            row = self.row("diversity", (by, group), **facts)
            if size == 0 or chosen.sum() < max(size, self.least):
                why = f"{int(chosen.sum())} images; {max(size, self.least, VENDI_SIZES[-1])} are needed"
                rows.append(without_estimate(row, "insufficient", why))
                continue
            places = self.some(self.rng("diversity", by, group), chosen, size)
            found = vendi(self.embeddings[places], self.layout.prompts[places])
            if not np.isfinite(found.low):
                rows.append(without_estimate(row, "insufficient", "one prompt: there is no interval between prompts"))
                continue
            row |= {"estimate": found.estimate, "ci_low": found.low, "ci_high": found.high}
            row |= {"ci_method": "influence function between prompts", "note": f"at {size} images"}
            rows.append(row | {"n_images": size})
        return rows
