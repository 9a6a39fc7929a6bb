"""What a contrastive adapter does to the bundled encoder's reading of gender, on drawings it was not trained on.

    python -m benchmarks.adapter corpus

Drawings of people with an occupation, of the style that no bundled model saw (openmoji) and of the five that they did.
Five folds, each held out once, results pooled: by skin tone (another tone of each held-out drawing was trained on,
so every occupation and gender is known), and by drawing (none was). A worst group is the worst of the 40 combinations
of gender and occupation.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd

from auditkit.clip.adapter import fit_adapter, worst_group
from auditkit.clip.attributes import attribute
from auditkit.clip.encoders import load_encoder
from auditkit.clip.posteriors import class_embeddings
from generators import corpus
from generators.training.mitigation.adapter import in_corpus

FOLDS, SEEDS = 5, 2


def main(folder: str) -> None:
    encoder, wanted = load_encoder("personas-clip", device="cpu"), attribute("gender")
    words, names = class_embeddings(encoder, wanted), list(wanted.classes)
    table = corpus.read(folder)
    rows = []
    for styles in (["openmoji"], ["noto", "twemoji", "fluent", "flat", "classic"]):
        held = table[(table["split"] != "train") & table["style"].isin(styles)]
        found = in_corpus(held, "gender", "occupation", styles, "label")
        embeddings = encoder.embed_images(found.images)
        classes, groups = found.table["class"].tolist(), found.table["group"].tolist()
        chosen = held[(held["kind"] == "person") & held["gender"].isin(names) & (held["occupation"] != "")]
        plain = embeddings @ words.T
        rows.append(
            [
                "openmoji" if len(styles) == 1 else "the five",
                "-",
                "without",
                *worst_group(plain, classes, groups, names, fewest=3),
            ]
        )
        for by, keys in (("tone", chosen["skin_tone"]), ("drawing", found.table["source"])):
            for contrast in (0.5, 0.0):
                told = [
                    _folds(embeddings, found.table, words, names, keys, contrast, seed, encoder.logit_scale)
                    for seed in range(SEEDS)
                ]
                scored = [worst_group(one, classes, groups, names, fewest=3) for one in told]
                average, worst = np.mean([one[0] for one in scored]), np.mean([one[1] for one in scored])
                rows.append(
                    [
                        "openmoji" if len(styles) == 1 else "the five",
                        by,
                        f"contrast {contrast}",
                        average,
                        worst,
                        scored[0][2],
                    ]
                )
    shown = pd.DataFrame(rows, columns=["style", "held out by", "adapter", "average", "worst", "worst group"])
    print(shown.to_string(index=False, float_format=lambda value: f"{value:.3f}"))


def _folds(
    embeddings: np.ndarray, table: pd.DataFrame, words: np.ndarray, names: list[str], keys: pd.Series, contrast: float,
    seed: int, scale: float,
) -> np.ndarray:  # fmt: skip
    """Cosines [n, K] of every image, by the adapter of the fold that held it out."""
    numbers = pd.factorize(keys)[0]
    fold = np.random.default_rng(seed).permutation(numbers.max() + 1)[numbers] % FOLDS
    cosines = np.empty((len(table), len(names)), np.float32)
    for each in range(FOLDS):
        learn = table[fold != each]
        adapter = fit_adapter(
            embeddings[fold != each], learn["class"].tolist(), learn["group"].tolist(), words, names,
            logit_scale=scale, contrast=contrast, seed=seed,
        )  # fmt: skip
        cosines[fold == each] = adapter.apply(embeddings[fold == each]) @ words.T
    return cosines


if __name__ == "__main__":
    main(*sys.argv[1:])
