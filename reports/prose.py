"""The report's own paragraphs: summary, how to read it, methods, limits."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import pandas as pd

from reports import tables, words
from reports.origin import Origin
from reports.tables import WHOLE, View

if TYPE_CHECKING:
    from auditkit.runs import Run

CLASSIFIER = (
    "Each image is compared with sets of descriptions in the CLIP space of {encoder} (zero-shot, prompt "
    "ensembles). When no class is probable enough the outcome is ‘unknown’, which is counted, never dropped."
)
ESTIMATOR = (
    "The shares of the classifier’s outcomes are corrected with its confusion matrix: the estimate is the "
    "set of shares, none negative and summing to one, whose expected outcomes are nearest to those seen. "
    "Plain shares carry Wilson intervals."
)
TESTS = (
    "p-values are adjusted over all cells of an attribute by Holm’s method; adjustments by Benjamini and "
    "Hochberg are in measurements.csv."
)
DOMAIN = (
    "An image lies within the domain of the calibration when it is as near to the calibration images in CLIP "
    "space as 99% of those are to each other. {share} of the images here do. Where clearly more than a tenth "
    "of a group’s images lie outside, the calibration is not used and the group is marked ‘uncalibrated’."
)
NO_CALIBRATION = "No calibration was found for this encoder, so the errors of the classifier are not known."
LIMITS = [
    "Classes describe perceived presentation in pictures of people who do not exist. They are not anyone’s "
    "gender, ethnicity or identity, and a short list of classes hides much of what people are.",
    "An interval covers other seeds of these prompts and another calibration set of the same kind. Other "
    "wordings, languages, samplers or guidance scales may give other shares.",
    "The correction assumes that the classifier errs on these images as it did on the calibration images. "
    "The domain check notices images that look unlike those; it cannot notice every change.",
    "Where no difference was found, one may exist that is smaller than this number of images can show.",
    "Differences in who is drawn do not by themselves say what harm, if any, follows from use.",
]


def summary(run: Run, views: list[View], matched: list[str], recovered: list[str]) -> list[list[str]]:
    """Paragraphs of sentences: findings first, what could not be told next, then what was looked at."""
    images = run.images()
    prompts = words.plural(int(images["prompt_id"].nunique()), "prompt")
    single = [view for view in views if "+" not in view.attribute]
    looked_at = f"All this describes {words.plural(len(images), 'image')} made from {prompts}."
    paragraphs = [
        *(words.headline(view) for view in views),
        words.silences(single),
        *(list(chain.from_iterable(map(part, single))) for part in (words.uncorrected, words.not_proof, words.overall)),
        [looked_at, *matched],
        recovered,
    ]
    return [part for part in paragraphs if part]


def key_figures(views: list[View], recoverable: list[View]) -> list[dict[str, str]]:
    """The few numbers that stand large at the top."""
    out = []
    for view in views:
        tested, differ = len(words.tested_groups(view)), len(tables.differing(view))
        if view.by != WHOLE and tested:
            noun = words.plural(tested, words.group_noun(view.by))
            target = f"{words.target_name(view.target)} of perceived {words.name(view.attribute)}"
            verb = "differs" if differ == 1 else "differ"
            out.append({"number": str(differ), "words": f"of {noun} tested {verb} from {target}"})
        whole = view.whole[view.whole["corrected"].notna() & view.whole["category"].isin(view.shown)]
        for row in tables.rows(whole) if len(view.shown) == 1 else ():
            text = f"of all images perceived as {words.name(row['category'])}"
            low_high = words.interval(row["low"], row["high"])
            out.append({"number": words.percent(row["corrected"]), "words": f"{text} {low_high}"})
    covered = [view.shares[view.shares["category"].isin(view.shown)]["covered"].dropna() for view in recoverable]
    if cells := sum(map(len, covered)):
        text = f"of {words.plural(cells, 'interval')} cover the planted share"
        out.append({"number": str(sum(int(one.sum()) for one in covered)), "words": text})
    return out


def how_to_read(by: str, target: str) -> list[str]:
    """Three sentences."""
    group = "all images" if by == WHOLE else f"each {words.group_noun(by)}"
    return [
        f"For {group}, the report estimates the share of images in which a classifier perceives each class, "
        "corrected for the errors that the classifier is known to make.",
        "The numbers in brackets are a 95% interval: the shares that the images are compatible with.",
        f"A group ‘differs’ when its images would be surprising if the generator met "
        f"{words.target_name(target)}, after allowing for the number of comparisons (Holm, 5%); the target "
        "is a yardstick to measure from, not a claim about how things should be.",
    ]


def chart_caption(view: View) -> str:
    """What the marks mean, for those that are there."""
    text = (
        "Dots are corrected shares, bars their 95% intervals. A filled dot differs from the target after "
        "Holm’s correction; with an open dot no difference was found, which is not proof of equality."
    )
    if view.shares["planted"].notna().any():
        text += " Diamonds mark the shares that were planted in the generator."
    if view.groups_with("insufficient") or view.groups_with("uncalibrated"):
        text += " A row without a dot carries the reason in its label."
    if view.groups_with("uncalibrated"):
        text += " A cross is a share as classified, uncorrected."
    return text


def why_no_truth(run: Run) -> str:
    return "" if run.planted is None else " under these prompts"


def methods(views: list[View], origin: Origin) -> list[tuple[str, str]]:
    """Heading and paragraph of each method used."""
    encoders = ", ".join(dict.fromkeys(origin.encoders.values())) or "the encoder"
    out = [
        ("Classifier", CLASSIFIER.format(encoder=encoders)),
        ("Estimator", ESTIMATOR),
        ("Intervals and tests", f"{_intervals(views)} {TESTS}"),
    ]
    if origin.in_domain is not None:
        out.append(("Domain check", DOMAIN.format(share=words.percent(origin.in_domain, 1))))
    if not origin.confusions:
        out.append(("Calibration", NO_CALIBRATION))
    return out


def _intervals(views: list[View]) -> str:
    """Which intervals the corrected shares carry; a row's method ends with its design effect."""
    texts = pd.concat([view.shares.loc[view.shares["corrected"].notna(), "ci_method"] for view in views])
    if texts.empty:
        return "No share could be corrected in this run, so there are no intervals of corrected shares."
    parts = texts.str.partition(", design effect ")
    out = (
        f"Intervals of corrected shares ({'; '.join(sorted(set(parts[0])))}) hold the uncertainty of the "
        "images and of the calibration set."
    )
    effects = pd.to_numeric(parts[2], errors="coerce").dropna()
    if len(effects):
        out += (
            " Images of one prompt may be more alike than others, so the prompt is the cluster: the largest "
            f"design effect is {effects.max():.2f}."
        )
    return out


def limits(by: str, origin: Origin) -> list[str]:
    """What the numbers cannot say."""
    out = list(LIMITS)
    if by == WHOLE:
        out.append("All prompts are pooled here: opposite tendencies of single prompts can cancel out.")
    if not origin.confusions:
        out.append("Without a calibration, plain shares mix what is drawn with the classifier’s errors.")
    return out


def reproduce(run: Run) -> str:
    """What the commands below it need and give."""
    if run.spec is None:
        return (
            "The images were imported; with the same folder and the same prompts.csv these commands make the "
            "same run and the same numbers."
        )
    return (
        "Save the resolved specification below as spec.toml. The same specification and weights give the "
        "same images on the same kind of device, and the same images give the same numbers."
    )
