"""Prompts that name a place, each beside its counter-prompt: the same one with the place left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.bias.base import Mask
from auditkit.prompts import article, fields, fill

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_SAID = r"(?:\s+(?:in|from|of|at|near|around|to|outside|inside)(?:\s+the)?)?"


def counter_prompts(images: pd.DataFrame, axis: str) -> dict[int, int]:
    """prompt_id of each prompt that names the axis -> that of the same prompt without it, where the run has one.

    Args:
        images: the images table; a prompt that leaves the axis out has null in its column.
    """
    column = f"axis_{axis}"
    if column not in images:
        return {}
    prompts = images.drop_duplicates("prompt_id")
    without = prompts[prompts[column].isna()]
    counters = dict(zip(without["prompt"], without["prompt_id"], strict=True))
    found: dict[int, int] = {}
    for each in prompts[prompts[column].notna()].to_dict("records"):
        rest = {name: str(each[f"axis_{name}"]) for name in fields(each["template"]) if name != axis}
        texts = (fill(one, rest) for one in left_out(each["template"], axis))
        text = next((text for text in texts if text in counters), None)
        if text is not None:
            found[int(each["prompt_id"])] = int(counters[text])
    return found


def left_out(template: str, axis: str) -> Iterator[str]:
    """How the template may read without the axis.

    >>> "a house" in left_out("a house in {place}", "place"), "a house" in left_out("{a place} house", "place")
    (True, True)
    """
    field = re.compile(rf"{_SAID}\s*\{{(an? )?{re.escape(axis)}\}}")
    if field.search(template) is None:
        return
    bare = " ".join(field.sub(" ", template).replace(" ,", ",").strip(" ,").split())
    yield bare
    yield f"{article(bare)} {bare}"
    yield re.sub(r"\ban? (\w+)", lambda found: f"{article(found[1])} {found[1]}", bare)


@dataclass(frozen=True)
class Paired:
    """Which prompts of a run are pairs, by value of the axis.

    Attributes:
        prompts: int [n_images], the number of the image's prompt, 0 to P - 1. sizes: [P], its images.
        places: value -> which images name it. counters: images of the counter-prompts that are part of a pair.
        pairs: value -> int [n_pairs, 2], the prompts with the value and without.
    """

    prompts: Indices
    sizes: Floats
    places: dict[str, Mask]
    counters: Mask
    pairs: dict[str, Indices]

    @classmethod
    def read(cls, images: pd.DataFrame, axis: str) -> Paired:
        names, first, prompts = np.unique(images["prompt_id"].to_numpy(), return_index=True, return_inverse=True)
        place = images[f"axis_{axis}"]
        named = place.iloc[first].astype(object).to_numpy()
        matched = counter_prompts(images, axis)
        number = {int(prompt): i for i, prompt in enumerate(names)}
        both = np.array([[number[a], number[b]] for a, b in matched.items()], np.intp).reshape(-1, 2)
        values = list(place.dropna().unique())
        return cls(
            np.asarray(prompts, np.intp),
            np.bincount(prompts).astype(float),
            {str(value): (place == value).to_numpy(bool) for value in values},
            np.isin(prompts, both[:, 1]),
            {str(value): both[named[both[:, 0]] == value] for value in values},
        )

    def means(self, values: Floats) -> Floats:
        """Mean over each prompt's images, [P, m], of values [n_images, m]."""
        sums = np.stack([np.bincount(self.prompts, column, len(self.sizes)) for column in values.T], axis=1)
        return sums / self.sizes[:, None]

    def spread(self, values: Floats) -> tuple[Floats, int]:
        """Standard deviation among images of one counter-prompt, [m], pooled over them, and its degrees of freedom."""
        rest = (values - self.means(values)[self.prompts])[self.counters]
        df = len(rest) - len(np.unique(self.prompts[self.counters]))
        return np.sqrt((rest**2).sum(axis=0) / df) if df > 0 else np.zeros(values.shape[1]), df

    def blocks(self, means: Floats) -> list[Floats]:
        """For each counter-prompt, its mean and then those of its prompts with a place: [n_members, m]."""
        both = np.concatenate(list(self.pairs.values()))
        return [means[np.append(counter, both[both[:, 1] == counter, 0])] for counter in np.unique(both[:, 1])]
