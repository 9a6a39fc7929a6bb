"""How far raters agree, and what they say of each image together: the labels that an estimate may rest on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from auditkit.annotations.records import NOBODY, SAMPLES, UNKNOWN, Annotation, ratings, samples
from auditkit.errors import TableError
from auditkit.stats.agreement import Agreement, Level, krippendorff_alpha

if TYPE_CHECKING:
    from auditkit.runs import Run

ORDERED = ("skin_tone", "age", "wealth")
"""Attributes whose classes have an order, from one end of a scale to the other."""

TIE, UNRATED = "tie", "unrated"
"""Why an image has no label, beside UNKNOWN and NOBODY."""


@dataclass(frozen=True)
class RaterAgreement:
    """Agreement on one attribute.

    Attributes:
        raters: how many images each labelled.
        labels: how often each label was given.
        found: alpha with its interval; NaN where `status` is `insufficient`.
        status: `ok` or `insufficient`. note: why, or what was left out.
    """

    attribute: str
    level: Level
    raters: dict[str, int]
    labels: dict[str, int]
    found: Agreement
    status: str
    note: str


@dataclass(frozen=True)
class Adjudication:
    """What the raters say together of the images of the attribute's random sample.

    Attributes:
        labels: by image id, the class that most raters gave it; images where none has most are not in it.
        left_out: by image id, why: `tie`, `unknown`, `none` or `unrated`.
        inclusion: by image id of the sample, its probability of having been drawn.
        by: the axis of the strata; None where the sample is a simple random one.
        note: counts, and how far raters agree, in words.
    """

    labels: dict[str, str]
    left_out: dict[str, str]
    inclusion: dict[str, float] = field(repr=False)
    by: str | None
    note: str


def agreement(
    run: Run,
    attribute: str,
    *,
    level: Level | None = None,
    replicates: int = 2000,
    seed: int = 0,
    min_n: int = 20,
) -> RaterAgreement:
    """Krippendorff's alpha of an attribute, with a bootstrap interval over images.

    On a nominal level `unknown` and `none` are answers like others; on an ordinal one they have no place
    in the order and are left out.

    Args:
        level: by default ordinal for attributes whose classes have an order.
        min_n: fewest images with two labels.

    Raises:
        TableError: the attribute was never sampled, or a record is damaged.
    """
    drawn = samples(run, attribute)
    if not drawn:
        raise _never_sampled(run, attribute)
    level = level or ("ordinal" if attribute in ORDERED else "nominal")
    given = ratings(run, attribute)
    categories = list(drawn[0].classes) + ([] if level == "ordinal" else [UNKNOWN, NOBODY])
    counted = [a for a in given if a.label in categories]
    found = krippendorff_alpha(_counts(counted, categories), level=level, replicates=replicates, seed=seed)
    found, why = enough(found, len({a.rater for a in given}), min_n=min_n)
    left = len(given) - len(counted)
    note = why or (f"{left} labels 'unknown' or 'none' have no place in the order and are left out" if left else "")
    return RaterAgreement(
        attribute,
        level,
        dict(sorted(Counter(a.rater for a in given).items())),
        dict(Counter(a.label for a in given).most_common()),
        found,
        "insufficient" if why else "ok",
        note,
    )


def adjudicated(run: Run, attribute: str) -> dict[str, str]:
    """The class that most raters gave each image of the random sample, by id; empty where none was drawn.

    `adjudicate` tells what is left out. Raises as it does, where the run has a sample.
    """
    return adjudicate(run, attribute).labels if samples(run, attribute) else {}


def adjudicate(run: Run, attribute: str) -> Adjudication:
    """Put the raters' labels of each sampled image together, by the most votes.

    Raises:
        TableError: the attribute was never sampled, the run has grown since, or a record is damaged.
    """
    drawn = samples(run, attribute)
    if not drawn:
        raise _never_sampled(run, attribute)
    frame = run.images()["id"].nunique()
    if drawn[-1].frame != frame:
        raise TableError(
            f"the sample was drawn of {drawn[-1].frame} images, and the run has {frame} now",
            where=run.path / SAMPLES,
            mend="draw samples of a run that is whole",
        )
    votes: dict[str, Counter[str]] = {id: Counter() for one in drawn for id in one.ids}
    for each in ratings(run, attribute):
        votes[each.id][each.label] += 1
    verdicts = {id: _verdict(count) for id, count in votes.items()}
    classes = set(drawn[0].classes)
    labels = {id: verdict for id, verdict in verdicts.items() if verdict in classes}
    left_out = {id: verdict for id, verdict in verdicts.items() if verdict not in classes}
    # The last sample's probabilities are those of all samples together.
    chances = {name: p for one in drawn for name, p in one.inclusion.items()}
    inclusion = {id: chances[stratum] for one in drawn for id, stratum in zip(one.ids, one.strata, strict=True)}
    return Adjudication(labels, left_out, inclusion, drawn[0].by, _note(run, attribute, votes, left_out))


def _verdict(count: Mapping[str, int]) -> str:
    most = [label for label, n in count.items() if n == max(count.values())]
    return UNRATED if not most else TIE if len(most) > 1 else most[0]


def _note(run: Run, attribute: str, votes: Mapping[str, Counter[str]], left_out: Mapping[str, str]) -> str:
    words = {
        TIE: "raters disagreed",
        UNKNOWN: "they could not tell",
        NOBODY: "nothing of the kind is shown",
        UNRATED: "nobody labelled it",
    }
    reasons = Counter(left_out.values())
    parts = [f"{len(votes) - len(left_out)} of {len(votes)} images of the random sample have a label by people"]
    if reasons:
        told = ", ".join(f"{reasons[key]} where {text}" for key, text in words.items() if reasons[key])
        parts.append(f"left out, and taken to be like the rest: {told}")
    found = agreement(run, attribute)
    if found.status == "ok":
        interval = f" [{found.found.low:.2f}, {found.found.high:.2f}]" if math.isfinite(found.found.low) else ""
        parts.append(f"Krippendorff's alpha {found.found.alpha:.2f}{interval}")
    else:
        parts.append(f"agreement insufficient: {found.note}")
    return "; ".join(parts)


def _counts(given: Sequence[Annotation], categories: Sequence[str]) -> np.ndarray:
    rows = {id: i for i, id in enumerate(dict.fromkeys(a.id for a in given))}
    columns = {name: j for j, name in enumerate(categories)}
    table = np.zeros((len(rows), len(columns)))
    for a in given:
        table[rows[a.id], columns[a.label]] += 1
    return table


def enough(
    found: Agreement, raters: int, *, min_n: int, who: str = "raters", labels: str = "labels"
) -> tuple[Agreement, str]:
    """An agreement that may be told, and why not where it is withheld: its numbers are NaN then.

    Args:
        raters: people who labelled anything.
        min_n: fewest images with two labels.
    """
    few = ""
    if raters < 2:
        few = f"fewer than two {who}"
    elif found.n_units < min_n:
        held = "1 image has" if found.n_units == 1 else f"{found.n_units} images have"
        few = f"{held} two {labels}; {min_n} are needed"
    if not few and math.isfinite(found.alpha):
        return found, ""
    nan = math.nan
    silent = Agreement(nan, nan, nan, found.n_units, found.n_pairable, nan if few else found.observed)
    return silent, few or f"all {labels} are of one class, so that there is nothing to agree about"


def _never_sampled(run: Run, attribute: str) -> TableError:
    return TableError(
        f"no sample of {attribute} was drawn for labelling",
        where=run.path,
        mend=f"auditkit annotate export {run.id} --attribute {attribute} --out FOLDER",
    )
