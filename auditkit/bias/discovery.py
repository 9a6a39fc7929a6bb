"""The measure `discovery`: proposes differences between groups that nobody asked about."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from auditkit.bias.base import ALL, Mask, Options, Row, groups, row, table, without_estimate
from auditkit.bias.exchangeable import Units, find_units, prompt_units
from auditkit.bias.vocabulary import (
    Concept,
    contrasts_within_topics,
    sentences,
    states,
    understood,
    vocabulary,
    wording_embeddings,
)
from auditkit.clip.embedded import has_embeddings, image_embeddings, text_embeddings
from auditkit.stats.exchange import Contrasts, contrasts
from auditkit.stats.left_open import FEWEST_DF, LeftOpen, left_open, prompt_means
from auditkit.stats.multiplicity import benjamini_hochberg, holm

if TYPE_CHECKING:
    from auditkit.runs import Run

Floats = NDArray[np.float64]

LEVEL = 0.05
"""False discovery rate at which differences are proposed."""

SMALLEST_EFFECT = 0.2
"""Least size of a proposed difference, in standard deviations between images (Cohen's 'small')."""

OPEN_BY = 6.0
"""A concept counts as left open where its openness is so many standard deviations above a random direction's. In two
runs of the bundled generators, words unknown to the bundled encoder that still passed as understood had 0 to 5.3, its
words for gender and skin tone 6.6 to 62, save 'androgynous person' (0.3) where hardly an image showed one."""

SHADOW = 0.8
"""Concepts whose scores correlate so much within prompts cannot be told apart by this encoder."""

MOST_DIRECTIONS = 12
"""Directions without a name that are tested, the widest: more could not be looked at."""

ALONG = 0.5
"""Least correlation within prompts at which a concept's name is given to the end of a direction."""

EXPECTED, NEAR = 0.95, 0.25
"""A thing is expected in a group where its meaning lies nearer to that of the group's prompts than in this share of all
pairs of group and understood thing, and at this cosine or more (random directions of 256 dimensions: .06)."""

PROMPTS_EACH = 3
"""Prompts of a group that its meaning is taken from."""

OTHERS = "other groups"
EXPECTED_NOTE = "expected from the prompt"
"""How the note of a difference begins that the prompt itself asks for."""

NAMELESS = "no concept of the vocabulary lies along it"


class Discovery:
    """What sets a group's images apart, from a vocabulary and from directions without a name."""

    name = "discovery"
    version = 1
    title = "Differences nobody asked about"

    def applies(self, run: Run, options: Options) -> str:
        if options.by == ALL:
            return "there is one group only; measure by an axis"
        if not has_embeddings(run, options.encoder):
            return f"no embeddings by {options.encoder}: auditkit score {run.id}"
        return ""

    def measure(self, run: Run, options: Options) -> pd.DataFrame:
        """Rows discovery.concept and .direction for what was found, .tested for how much was looked at."""
        images = run.images()
        by_group = groups(run, images, options.by)
        embeddings = image_embeddings(run, options.encoder, images)
        space = left_open(embeddings, prompt_units(images, by_group))
        units = find_units(images, by_group, options.by, min_n=options.min_n)
        search = _Search(run, options, images, by_group, units)
        if space is None or not units.comparable:
            why = (
                f"prompts have too few images each: images less prompts must be {FEWEST_DF} or more to tell what "
                "prompts leave open"
                if space is None
                else f"{len(units.names)} of {len(by_group)} groups have images and prompts enough; 2 are needed"
            )
            return table([*search.silent(), search.nothing(why)])
        return table(search.rows(embeddings, space))


discovery = Discovery()


@dataclass(frozen=True)
class _Lens:
    """The concepts that can be looked for, and how many could not.

    Attributes:
        concepts: C of them. contrasts: float64 [C, dim]. openness: [C]. things: float64 [n, dim], the contrasts
            of all understood concepts that do not belong to people, left open or not. unknown: concepts that the
            encoder has no words for. fixed: concepts that do not vary between images of one prompt.
    """

    concepts: list[Concept]
    contrasts: Floats
    openness: Floats
    things: Floats
    unknown: int
    fixed: int


def look_for(wordings: Floats, concepts: Sequence[Concept], space: LeftOpen) -> _Lens:
    """The concepts that the encoder understands and that the prompts leave open; wordings [n, 2, dim]."""
    known = understood(wordings)
    kept = [each for each, yes in zip(concepts, known, strict=True) if yes]
    if not kept:
        none = np.zeros((0, wordings.shape[2]))
        return _Lens([], none, np.zeros(0), none, len(concepts), 0)
    sides = contrasts_within_topics(wordings[known], [each.topic for each in kept])
    openness = space.openness(sides)
    mean, sd = space.chance()
    open_ = np.nan_to_num(openness) >= min(mean + OPEN_BY * sd, 1 - 1e-6)
    return _Lens(
        [each for each, yes in zip(kept, open_, strict=True) if yes],
        sides[open_],
        openness[open_],
        sides[[not each.of_people for each in kept]],
        int((~known).sum()),
        int((~open_).sum()),
    )


@dataclass
class _Search:
    """One run and its groups: everything the rows are made from."""

    run: Run
    options: Options
    images: pd.DataFrame
    groups: dict[str, Mask]
    units: Units
    _bases: dict[str, Row] = field(default_factory=dict)

    def rows(self, embeddings: NDArray[np.float32], space: LeftOpen) -> list[Row]:
        words = vocabulary()
        run, encoder, source = self.run, self.options.encoder, self.options.encoder_source
        embedded = text_embeddings(run, encoder, sentences(words), source=source)
        lens = look_for(wording_embeddings(embedded, words), words, space)
        coordinates = space.project(embeddings[self.units.chosen])
        means, _ = prompt_means(coordinates, self.units.unit)
        widest = np.eye(space.directions.shape[1])[:MOST_DIRECTIONS]
        sides = np.vstack([lens.contrasts @ space.directions, widest])
        rng = np.random.default_rng([self.options.seed, zlib.crc32(b"discovery")])
        tests = contrasts(means @ sides.T, self.units.group, self.units.block, rng, replicates=self.options.n_boot)
        spread = _spread(coordinates, self.units.group[self.units.unit], sides)
        within = sides @ (space.directions.T @ space.covariance @ space.directions) @ sides.T
        alike = within / np.sqrt(np.outer(np.diag(within), np.diag(within)))
        c = len(lens.concepts)
        concepts = _Findings.of(tests, spread, slice(0, c))
        directions = _Findings.of(tests, spread, slice(c, None))
        made = self._concepts(concepts, lens, alike[:c, :c])
        made += self._directions(directions, lens, alike[c:, :c], space)
        made += self.silent()
        return made + self._tested(concepts, directions, lens, len(words))

    def silent(self) -> list[Row]:
        """A row without numbers for each group that is too small."""
        return [
            without_estimate(self._row("concept", name), "insufficient", why)
            for name, why in self.units.left_out.items()
        ]

    def nothing(self, why: str) -> Row:
        return without_estimate(
            self._row("tested", ALL, category="differences found") | {"unit": "count"}, "insufficient", why
        )

    def _concepts(self, findings: _Findings, lens: _Lens, alike: Floats) -> list[Row]:
        if not findings.found:
            return []
        expected = self._expected(lens)
        made = []
        for g, j in findings.found:
            each = lens.concepts[j]
            notes = [EXPECTED_NOTE] if expected[g, j] else []
            same = [i for h, i in findings.found if h == g and abs(alike[i, j]) >= SHADOW]
            clearest = max(same, key=lambda i: (lens.openness[i], -i))
            if clearest != j:
                other = lens.concepts[clearest].name
                told = "this encoder cannot tell it apart from" if alike[clearest, j] > 0 else "the other side of"
                notes.append(f"{told} '{other}'")
            made.append(
                self._row("concept", self.units.names[g], attribute=each.topic, category=each.name)
                | findings.numbers(g, j)
                | {"note": "; ".join(notes)}
            )
        return made

    def _directions(self, findings: _Findings, lens: _Lens, alike: Floats, space: LeftOpen) -> list[Row]:
        names = [each.name for each in lens.concepts]
        variances = np.diag(space.directions.T @ space.covariance @ space.directions)
        shares = variances / np.trace(space.covariance)
        made = []
        for g, j in findings.found:
            told = [f"{shares[j]:.0%} of what images of one prompt differ by"]
            for words, sign in (("toward", 1), ("away from", -1)):
                near = [names[i] for i in np.argsort(-sign * alike[j])[:3] if sign * alike[j, i] >= ALONG]
                told += [f"{words} {', '.join(near)}"] if near else []
            if len(told) == 1:
                told.append(NAMELESS)
            made.append(
                self._row("direction", self.units.names[g], category=f"direction {j + 1:02d}")
                | findings.numbers(g, j)
                | {"note": "; ".join(told)}
            )
        return made

    def _tested(self, concepts: _Findings, directions: _Findings, lens: _Lens, n_words: int) -> list[Row]:
        """How much was looked at and left out, so that nothing is dropped in silence."""
        level = f"false discovery rate {LEVEL:.0%} (Benjamini-Hochberg) and a difference of {SMALLEST_EFFECT} or more"
        counts: list[tuple[str, int, str]] = [
            ("concepts in the vocabulary", n_words, ""),
            ("concepts not in the encoder's language", lens.unknown, "their two wordings lie apart in its space"),
            ("concepts that prompts do not leave open", lens.fixed, "they hardly vary between images of one prompt"),
            ("concepts looked for", len(lens.concepts), ""),
            ("tests of concepts", concepts.tests, f"each concept in each of {len(self.units.names)} groups"),
            ("differences found", len(concepts.found), level),
            ("differences found under any dependence", concepts.found_under_dependence, "Benjamini-Yekutieli"),
            ("tests of directions", directions.tests, f"at most the {MOST_DIRECTIONS} widest; {self.units.exchange}"),
            ("directions found", len(directions.found), level),
        ]
        return [
            self._row("tested", ALL, category=category) | {"estimate": float(count), "unit": "count", "note": note}
            for category, count, note in counts
        ]

    def _expected(self, lens: _Lens) -> Mask:
        """Which differences the prompts ask for, bool [n_groups, C].

        Of what belongs to people only what all of a group's prompts say in so many words, or most prompts of the
        others, and with it its whole topic (who asks for women asks for few men). Of things what all of a group's
        prompts say, and what lies close to them in meaning.
        """
        out = np.zeros((len(self.units.names), len(lens.concepts)), bool)
        first, group = np.unique(self.units.unit, return_index=True)[1], self.units.group
        prompts = self.images["prompt"].to_numpy(object)[self.units.chosen][first]
        distinct, back = np.unique(prompts.astype(str), return_inverse=True)
        for j, each in enumerate(lens.concepts):
            asked = [one for one in vocabulary() if one.topic == each.topic] if each.of_people else [each]
            said = np.array([any(states(prompt, one) for one in asked) for prompt in distinct])[back]
            for g in range(len(out)):
                own = group == g
                out[g, j] = said[own].all() or (each.of_people and said[~own].mean() > 0.5)
        things = np.array([not each.of_people for each in lens.concepts], bool)
        if things.any():
            out[:, things] |= self._close_in_meaning(lens.contrasts[things], lens.things, prompts)
        return out

    def _close_in_meaning(self, sides: Floats, every: Floats, prompts: NDArray[np.object_]) -> Mask:
        """Things unusually near to a group's prompts in text space, bool [n_groups, n_things]."""
        texts = []
        for g in range(len(self.units.names)):
            own = np.flatnonzero(self.units.group == g)
            # The same blocks in each group, so that templates cancel.
            own = own[np.argsort(self.units.block[own], kind="stable")][:PROMPTS_EACH]
            texts += [str(prompts[i]) for i in np.resize(own, PROMPTS_EACH)]
        run, encoder, source = self.run, self.options.encoder, self.options.encoder_source
        meaning = text_embeddings(run, encoder, texts, source=source).astype(float)
        meaning = meaning.reshape(len(self.units.names), PROMPTS_EACH, -1).mean(axis=1)
        meaning = meaning - meaning.mean(axis=0)

        def cosines(rows: Floats) -> Floats:
            scale = np.outer(np.linalg.norm(meaning, axis=1), np.linalg.norm(rows, axis=1))
            return np.asarray(meaning @ rows.T / np.maximum(scale, 1e-12))

        return cosines(sides) >= max(NEAR, float(np.quantile(cosines(every), EXPECTED)))

    def _row(self, statistic: str, group: str, *, attribute: str = "embedding", **more: Any) -> Row:
        if group not in self._bases:
            whole = group == ALL
            self._bases[group] = row(
                "", self.run, version=discovery.version, attribute="", encoder=self.options.encoder, group=group,
                group_by=ALL if whole else self.options.by, reference="" if whole else OTHERS, images=self.images,
                chosen=np.ones(len(self.images), bool) if whole else self.groups[group],
            )  # fmt: skip
        return self._bases[group] | {"measure": f"discovery.{statistic}", "attribute": attribute} | more


@dataclass(frozen=True)
class _Findings:
    """Tests of one family [n_groups, n_values], and the (group, value) pairs found, the largest effect first."""

    effect: Floats
    error: Floats
    df: Floats
    p_value: Floats
    p_holm: Floats
    p_bh: Floats
    found: list[tuple[int, int]]

    @classmethod
    def of(cls, tests: Contrasts, spread: Floats, columns: slice) -> _Findings:
        with np.errstate(invalid="ignore", divide="ignore"):
            effect, error = (np.nan_to_num(a[:, columns] / spread[columns]) for a in (tests.difference, tests.error))
        p = tests.p_value[:, columns]
        p_bh, p_holm = benjamini_hochberg(p.ravel()).reshape(p.shape), holm(p.ravel()).reshape(p.shape)
        found = np.argwhere((p_bh <= LEVEL) & (abs(effect) >= SMALLEST_EFFECT))
        order = sorted(((int(g), int(j)) for g, j in found), key=lambda at: -abs(effect[at]))
        return cls(effect, error, tests.df[:, columns], p, p_holm, p_bh, order)

    @property
    def tests(self) -> int:
        return int(self.p_value.size)

    @property
    def found_under_dependence(self) -> int:
        """Findings that stay at the level whatever the tests' dependence (Benjamini and Yekutieli 2001)."""
        factor = (1 / np.arange(1, max(self.tests, 1) + 1)).sum()
        return sum(self.p_bh[at] * factor <= LEVEL for at in self.found)

    def numbers(self, g: int, j: int) -> Row:
        """Effect, interval and p-values.

        The interval's confidence is 1 - .05 x found / tested, so that of the intervals shown, which were chosen for
        being far from 0, 5% on average miss (Benjamini and Yekutieli 2005, JASA 100:71-81).
        """
        confidence = 1 - 0.05 * len(self.found) / self.tests
        half = float(stats.t.ppf(0.5 + confidence / 2, self.df[g, j]) * self.error[g, j])
        effect = float(self.effect[g, j])
        return {
            "estimate": effect,
            "ci_low": effect - half,
            "ci_high": effect + half,
            "ci_method": f"t over prompts, {confidence:.2%} for false coverage 5%",
            "null_value": 0.0,
            "p_value": self.p_value[g, j],
            "p_holm": self.p_holm[g, j],
            "p_bh": self.p_bh[g, j],
            "unit": "effect size",
        }


def _spread(coordinates: Floats, group: NDArray[np.intp], sides: Floats) -> Floats:
    """Standard deviation of each side's scores between images within groups, [n_sides]."""
    sizes = np.bincount(group)
    means = np.stack([np.bincount(group, column) for column in coordinates.T], axis=1) / sizes[:, None]
    within = coordinates.T @ coordinates - (means * sizes[:, None]).T @ means
    variance = np.einsum("ij,jk,ik->i", sides, within, sides) / (len(coordinates) - len(sizes))
    return np.asarray(np.sqrt(np.maximum(variance, 0)))
