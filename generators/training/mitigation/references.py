"""References of image guidance: the mean image embedding of each class, from a folder of images or from the corpus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from auditkit.errors import SpecError
from auditkit.guidance.parts import save_part
from auditkit.guidance.words import shipped
from auditkit.overrides import did_you_mean

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

    from auditkit.clip.encoders import Encoder

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
PAPER = 128
"""Pixels a side of the paper that drawings of the corpus are put on."""


def in_folder(folder: Path, attribute: str) -> dict[str, list[Path]]:
    """Class to its images: FOLDER/<class>/*.png, .jpg or .webp.

    Raises:
        SpecError: there is no such folder; one of its folders is no class; or a class has no image.
    """
    classes = shipped().classes(attribute)
    if not folder.is_dir():
        raise SpecError("there is no such folder", where=folder, mend=f"put images into FOLDER/{classes[0]}/ and so on")
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name not in classes:
            raise SpecError(
                f"'{path.name}' is no class of {attribute}" + did_you_mean(path.name, classes), where=path,
                mend=f"use folders {', '.join(classes)}",
            )  # fmt: skip
    found = {
        name: sorted(path for path in (folder / name).glob("*") if path.suffix.lower() in ENDINGS) for name in classes
    }
    for name, paths in found.items():
        if not paths:
            raise SpecError(
                f"there are no images of '{name}'", where=folder / name, mend="put some there (.png, .jpg, .webp)"
            )
    return found


def in_corpus(table: pd.DataFrame, attribute: str) -> dict[str, list[Image]]:
    """Class to the corpus's training drawings of people with an occupation, on plain paper."""
    import torch
    from PIL import Image

    from generators.training import pixels

    rows = table[(table["split"] == "train") & (table["occupation"] != "")]
    found: dict[str, list[Image.Image]] = {}
    for name in shipped().classes(attribute):
        chosen = rows[rows[attribute] == name].reset_index(drop=True)
        papers = pixels.on_paper(pixels.load(chosen, "cpu"), PAPER, torch.Generator().manual_seed(0))
        arrays = ((papers / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        found[name] = [Image.fromarray(each) for each in arrays]
    return found


def make(
    images: Mapping[str, Sequence[Image | Path]],
    attribute: str,
    encoder: Encoder,
    out: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Embed the images of each class and write the unit means as a part.

    Raises:
        ImageError: a file that is no readable image.
    """
    import torch

    means = []
    for name in shipped().classes(attribute):
        mean = encoder.embed_images(list(images[name]), progress=progress).mean(0)
        means.append(mean / np.linalg.norm(mean))
    facts = {
        "attribute": attribute, "classes": list(images), "images": {name: len(each) for name, each in images.items()},
        "source": encoder.source, "encoder_sha256": encoder.sha256,
    }  # fmt: skip
    return save_part(out, "references", encoder.name, {"means": torch.from_numpy(np.stack(means))}, **facts)
