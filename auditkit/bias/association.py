"""The measure `association`: which groups lie nearer to which pole in CLIP space, in words, sentences and images."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.bias.base import ALL, Mask, Options, Row, adjust, groups, row, table, without_estimate
from auditkit.bias.poles import Poles, all_poles, sentences_of_groups, unknown_to
from auditkit.clip.embedded import has_embeddings, image_embeddings, text_embeddings
from auditkit.errors import EncoderError
from auditkit.stats.association import (
    Clusters,
    Sums,
    effect_size,
    permutation_test,
    single_category,
    student_interval,
    templated_effects,
)
from auditkit.stats.between import Prompts, Stratum, place_between

if TYPE_CHECKING:
    from auditkit.runs import Run

Floats = NDArray[np.float64]

EFFECT = {"unit": "effect size", "null_value": 0.0}
UNKNOWN = "uncalibrated"

PROMPTS = 4
"""Fewest prompts of a group for a verdict: with three the permutation test rejects 6% of true nulls at 5%."""


class Association:
    """Which groups lie nearer to which pole. Rows of each group and pair of poles:

    - `association.weat`: the group's name against the poles' words (text only).
    - `association.seat`: the name in sentences, against the other groups' (text only).
    - `association.ieat`: the group's images against the other groups'.
    - `association.ieat_range`: least and most of that over wordings of the poles and over encoders.
    - `association.t2iat`: where neutral prompts' images lie between images whose prompts state a pole.

    `category` is the pole that a positive effect points to, `reference` the other one.
    """

    name = "association"
    version = 1
    title = "Association: which groups lie nearer to which pole in CLIP space"

    def applies(self, run: Run, options: Options) -> str:
        if not has_embeddings(run, options.encoder):
            return f"no embeddings by {options.encoder}: auditkit score {run.id}"
        if options.by == ALL:
            return f"it compares groups: auditkit measure {run.id} --by AXIS"
        images = run.images()
        if f"axis_{options.by}" in images and images[f"axis_{options.by}"].nunique() < 2:
            return f"it compares groups, and the axis {options.by} has one value only"
        return ""

    def measure(self, run: Run, options: Options) -> pd.DataFrame:
        """Raises: TableError: no such axis, or no embeddings. EncoderError: sentences that have not been embedded
        need the encoder, and it cannot be loaded."""
        audit = _Audit(run, options)
        rows = audit.unknown()
        for rows_of in (audit.weat, audit.seat, audit.ieat, audit.t2iat):
            rows += rows_of()
        return table(adjust(rows))


association = Association()


class _Audit:
    """One run seen with one encoder: the poles that it knows, and everything that the rows are made from."""

    def __init__(self, run: Run, options: Options):
        self.run, self.options = run, options
        self.images = run.images()
        self.groups = groups(run, self.images, options.by)
        asked = {part for name in options.attributes for part in name.split("+")}
        chosen = [p for p in all_poles() if p.axis != options.by and (not p.scorer or p.scorer in asked)]
        self.embeddings = image_embeddings(run, options.encoder, self.images)
        self.texts = self._texts(chosen)
        self.poles: list[Poles] = []
        self.reasons: dict[str, str] = {}
        self.cautions: dict[str, str] = {}
        for poles in chosen:
            reason, caution = self._doubts(poles)
            self.reasons[poles.name], self.cautions[poles.name] = reason, caution
            if not reason:
                self.poles.append(poles)
        self.chosen = chosen

    def unknown(self) -> list[Row]:
        """A row for each pair of poles that the encoder does not know: nothing is said of any group."""
        everyone = np.ones(len(self.images), bool)
        return [
            without_estimate(self._row("ieat", poles, ALL, everyone), UNKNOWN, self.reasons[poles.name])
            for poles in self.chosen
            if self.reasons[poles.name]
        ]

    def weat(self) -> list[Row]:
        """The single-category test of each group's name. No interval: word lists are chosen, not sampled."""
        rows = []
        names = self._embedded(list(self.groups))
        for poles in self.poles:
            words = self._embedded(poles.all_words)
            reason, _ = unknown_to(self.options.encoder, poles, words, self.options, images=False)
            if reason:
                whole = self._row("weat", poles, ALL, self._nobody(), n_prompts=len(words))
                rows.append(without_estimate(whole, UNKNOWN, reason))
                continue
            d, p_values = single_category(
                names @ words.T, poles.sets, self._rng("weat", poles.name), permutations=self.options.n_boot
            )
            for i, group in enumerate(self.groups):
                base = self._row("weat", poles, group, self._nobody(), n_prompts=len(words))
                note = "about the encoder's words, not the images; n_prompts counts the poles' words"
                rows.append(base | EFFECT | {"estimate": d[i], "p_value": p_values[i], "note": note})
        return rows

    def seat(self) -> list[Row]:
        """The groups' names in sentences; the template is the cluster."""
        if not self.poles:
            return []
        sentences = sentences_of_groups(self.run, self.options.by, list(self.groups))
        t, g = len(sentences), len(self.groups)
        flat = self._embedded([s for template in sentences for s in template])
        scores = (flat @ self._directions(self.poles).T).reshape(t, g, len(self.poles))
        found = templated_effects(scores, self._rng("seat", ""), replicates=self.options.n_boot)
        rows = []
        for k, poles in enumerate(self.poles):
            for i, group in enumerate(self.groups):
                base = self._row("seat", poles, group, self._nobody(), n_prompts=t)
                rows.append(
                    base
                    | EFFECT
                    | {
                        "estimate": found.d[i, k],
                        "ci_low": found.low[i, k],
                        "ci_high": found.high[i, k],
                        "ci_method": "bootstrap of templates",
                        "p_value": found.p_value[i, k],
                        "note": "about the encoder's sentences, not the images; n_prompts counts templates",
                    }
                )
        return rows

    def ieat(self) -> list[Row]:
        """Images of a group against those of the others, and the range over wordings and encoders."""
        parts: dict[bytes, list[Poles]] = {}
        for poles in self.poles:
            parts.setdefault(poles.split(self.images)[0].tobytes(), []).append(poles)
        rows = []
        for mask, some in parts.items():
            rows += self._ieat(some, np.frombuffer(mask, bool))
        return rows

    def _ieat(self, some: list[Poles], neutral: Mask) -> list[Row]:
        """Pairs of poles that the same prompts leave open, together: the permutations are drawn once."""
        number = np.full(len(self.images), -1)
        for i, chosen in enumerate(self.groups.values()):
            number[chosen & neutral] = i
        inside = number >= 0
        prompts = self.images["prompt_id"].to_numpy(np.int64)
        # A prompt belongs to one group; an imported folder might cut across, and then counts once for each group.
        key = number[inside] * (int(prompts.max()) + 1) + prompts[inside]
        if not inside.any():
            return [self._stated(poles) for poles in some]
        _, first = np.unique(key, return_index=True)
        group_of = number[inside][first]
        scores = (self.embeddings @ self._directions(some).T.astype(np.float32))[inside].astype(float)
        clusters = Clusters.of(scores - scores.mean(axis=0), key)
        drawn = {
            i: clusters.take(group_of == i).resampled(self._rng("ieat", name), self.options.n_boot)
            for i, name in enumerate(self.groups)
        }
        whole, drawn_whole = clusters.sums(), _added(drawn.values())
        rows = []
        ranges = self._ranges(some, inside, key, group_of)
        for i, (name, chosen) in enumerate(self.groups.items()):
            mine = group_of == i
            status, why = self._enough(chosen & neutral, int(mine.sum()), int((~mine).sum()))
            if status:
                for poles in some:
                    base = self._row("ieat", poles, name, chosen & neutral) | EFFECT
                    rows.append(without_estimate(base, status, why))
                continue
            own = clusters.take(mine).sums()
            d = effect_size(own, whole - own)
            draws = effect_size(drawn[i], drawn_whole - drawn[i])
            low, high = student_interval(d, draws, int(min(mine.sum(), (~mine).sum())))
            # Groups of as many prompts share their permutations; no other group's name enters.
            rng = self._rng("ieat", f"{mine.sum()} of {len(mine)}")
            p_values = permutation_test(clusters, group_of, i, rng, permutations=self.options.n_boot)
            for k, poles in enumerate(some):
                base = self._row("ieat", poles, name, chosen & neutral) | EFFECT
                numbers = {"estimate": d[k], "ci_low": low[k], "ci_high": high[k], "p_value": p_values[k]}
                note = self.cautions[poles.name]
                rows.append(base | numbers | {"ci_method": "bootstrap of prompts", "note": note})
                rows.append(self._range(poles, name, chosen & neutral, ranges[poles.name][:, i]))
        return rows

    def _ranges(
        self, some: list[Poles], inside: Mask, key: NDArray[np.int64], group_of: NDArray[np.intp]
    ) -> dict[str, Floats]:
        """d of each encoder that knows the poles and each wording, by pair of poles: [encoders x wordings, groups]."""
        found: dict[str, list[Floats]] = {poles.name: [] for poles in some}
        for encoder in [self.options.encoder, *self._further()]:
            own = encoder == self.options.encoder
            embeddings = self.embeddings if own else image_embeddings(self.run, encoder, self.images)
            texts = self.texts if own else self._texts(some, encoder)
            for poles in some:
                words = np.array([texts[word] for word in poles.all_words])
                if not own and unknown_to(encoder, poles, words, self.options)[0]:
                    continue
                scores = (embeddings @ poles.directions(texts)[1:].T.astype(np.float32))[inside].astype(float)
                clusters = Clusters.of(scores - scores.mean(axis=0), key)
                whole = clusters.sums()
                sums = [clusters.take(group_of == i).sums() for i in range(len(self.groups))]
                found[poles.name] += list(np.array([effect_size(each, whole - each) for each in sums]).T)
        return {name: np.array(d) for name, d in found.items()}

    def _range(self, poles: Poles, group: str, chosen: Mask, d: Floats) -> Row:
        low, high, wordings = float(d.min()), float(d.max()), len(poles.wordings)
        encoders, asked = len(d) // wordings, len(dict.fromkeys([self.options.encoder, *self.options.encoders]))
        notes = ["the finding depends on the wording or the encoder: the sign changes"] if low < 0 < high else []
        if encoders < asked:
            why = "no embeddings, or the poles unknown to them"
            notes.append(f"{asked - encoders} of {asked} encoders left out: {why}")
        return self._row("ieat_range", poles, group, chosen) | EFFECT | {
            "ci_low": low,
            "ci_high": high,
            "ci_method": f"least and most over {wordings} wordings, {encoders} encoder{'s' if encoders > 1 else ''}",
            "note": "; ".join(notes),
        }

    def t2iat(self) -> list[Row]:
        """Where neutral prompts' images lie between the images of prompts that state a pole."""
        rows = []
        for poles in (p for p in self.chosen if p.axis):
            kinds = poles.split(self.images)
            if not all(kind.any() for kind in kinds):
                what = "state" if kinds[0].any() else "leave open"
                why = f"the run has no prompts that {what} {poles.axis}" + (" at both poles" if kinds[0].any() else "")
                whole = self._row("t2iat", poles, ALL, kinds[0]) | _PLACE
                rows.append(without_estimate(whole, "insufficient", why))
                continue
            strata: dict[str, Stratum] = {}
            for name, chosen in self.groups.items():
                some = [chosen & kind for kind in kinds]
                counts = [len(np.unique(self.images["prompt_id"].to_numpy()[kind])) for kind in some]
                if min(counts) < 2 or some[0].sum() < self.options.min_n:
                    why = (
                        f"{some[0].sum()} images of {counts[0]} neutral prompts, {counts[1]} and {counts[2]} prompts "
                        f"that state a pole; {self.options.min_n} images and 2 prompts of each kind are needed"
                    )
                    base = self._row("t2iat", poles, name, some[0]) | _PLACE
                    rows.append(without_estimate(base, "insufficient", why))
                    continue
                neutral, a, b = (self._prompts(kind) for kind in some)
                strata[name] = (neutral, a, b)
                rows.append(self._placed(poles, name, some[0], [strata[name]]))
            if strata:
                members = np.logical_or.reduce([self.groups[name] for name in strata]) & kinds[0]
                whole = self._placed(poles, ALL, members, list(strata.values()))
                few = len(strata) < len(self.groups) and whole["status"] == "ok"
                rows.append(whole | ({"note": f"over {len(strata)} of {len(self.groups)} groups"} if few else {}))
        return rows

    def _placed(self, poles: Poles, group: str, chosen: Mask, strata: Sequence[Stratum]) -> Row:
        base = self._row("t2iat", poles, group, chosen) | _PLACE
        place = place_between(strata, self._rng(f"t2iat/{poles.name}", group), replicates=self.options.n_boot)
        if not place.apart:
            a, b = poles.poles
            why = f"the images of prompts that state {a} and {b} cannot be told apart by {self.options.encoder}"
            return without_estimate(base, "insufficient", why)
        # The test flips the signs of prompts: n of them have 2^n combinations.
        least = 2.0 ** (1 - base["n_prompts"])
        few = least > 0.01 and f"with {base['n_prompts']} neutral prompts the p-value cannot fall far below {least:.2g}"
        return base | {
            "note": few or "",
            "estimate": place.position,
            "ci_low": place.low,
            "ci_high": place.high,
            "ci_method": "bootstrap of prompts",
            "p_value": place.p_value,
        }

    def _enough(self, chosen: Mask, mine: int, others: int) -> tuple[str, str]:
        least = max(self.options.min_n, 1)
        if not chosen.any() and mine == 0:
            return "insufficient", "no images of prompts that leave the pole open"
        if chosen.sum() < least:
            return "insufficient", f"{chosen.sum()} images; {least} are needed"
        if min(mine, others) < PROMPTS:
            who, number = ("the group has", mine) if mine < PROMPTS else ("the other groups have", others)
            many = "prompt" if number == 1 else "prompts"
            return "insufficient", (
                f"{who} {number} {many}; {PROMPTS} are needed to tell the group from the wording of its prompts"
            )
        return "", ""

    def _stated(self, poles: Poles) -> Row:
        base = self._row("ieat", poles, ALL, self._nobody()) | EFFECT
        return without_estimate(base, "insufficient", f"every prompt states {poles.axis}: what is shown was asked for")

    def _row(self, statistic: str, poles: Poles, group: str, chosen: Mask, **more: object) -> Row:
        return row(
            f"association.{statistic}",
            self.run,
            version=Association.version,
            attribute=poles.name,
            group_by=ALL if group == ALL else self.options.by,
            group=group,
            chosen=chosen,
            images=self.images,
            encoder=self.options.encoder,
            category=poles.poles[0],
            reference=poles.poles[1],
            unit="effect size",
            **more,
        )

    def _doubts(self, poles: Poles) -> tuple[str, str]:
        return unknown_to(self.options.encoder, poles, self._embedded(poles.all_words), self.options)

    def _further(self) -> list[str]:
        """Encoders to look with beside the main one: those asked for that the run has embeddings by."""
        asked = dict.fromkeys(name for name in self.options.encoders if name != self.options.encoder)
        return [name for name in asked if has_embeddings(self.run, name)]

    def _texts(self, some: Iterable[Poles], encoder: str = "") -> dict[str, NDArray[np.float32]]:
        said = dict.fromkeys(s for poles in some for s in [*poles.all_words, *poles.sentences()])
        return dict(zip(said, self._embedded(list(said), encoder), strict=True))

    def _embedded(self, texts: list[str], encoder: str = "") -> NDArray[np.float32]:
        name = encoder or self.options.encoder
        source = self.options.encoder_source if name == self.options.encoder else ""
        try:
            return text_embeddings(self.run, name, texts, source=source)
        except EncoderError as error:
            raise EncoderError(
                f"The association needs {name} for sentences that it has not embedded yet: {error.what}",
                where=error.where,
                mend=error.mend,
            ) from error

    def _directions(self, some: Sequence[Poles]) -> Floats:
        """Of the mean over wordings, [pairs of poles, dim]."""
        return np.array([poles.directions(self.texts)[0] for poles in some])

    def _prompts(self, chosen: Mask) -> Prompts:
        return Prompts.of(self.embeddings[chosen], self.images["prompt_id"].to_numpy()[chosen])

    def _nobody(self) -> Mask:
        return np.zeros(len(self.images), bool)

    def _rng(self, what: str, group: str) -> np.random.Generator:
        """A source of its own for each row, so that its numbers do not hang on the order of the others."""
        return np.random.default_rng([self.options.seed, zlib.crc32(f"association/{what}/{group}".encode())])


_PLACE = {"unit": "position", "null_value": 0.5}


def _added(sums: Iterable[Sums]) -> Sums:
    first, *rest = sums
    for each in rest:
        first = first + each
    return first
