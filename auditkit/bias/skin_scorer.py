"""The scorer `skin_pixels`: an image's skin tone on Monk's scale from its pixels alone, without any model.

It needs no encoder; its rows carry `pixels` in the column `encoder`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from auditkit.bias.skin_color import MONK, Floats, ita, monk_distances
from auditkit.bias.skin_region import SIDE, Skin, find_skin
from auditkit.errors import RunError

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from auditkit.runs import Run

ENCODER = "pixels"
LEAST_FRACTION = 0.01
"""Of the image's pixels; fewer are no skin to speak of."""
LEAST_CENTRE = 0.2
"""Of the centre's weight: below it the middle shows something else, or too many things."""
SOFTNESS = 5.0
"""CIEDE2000 that stands for one standard deviation in the soft classes."""
_CHUNK = 64


class SkinPixels:
    """Scorer of displayed skin tone.

    The label is the nearest of Monk's ten swatches by CIEDE2000; `p_<tone>` is proportional to
    exp(-(dE / 5)^2 / 2). `unknown` is said where the skin-coloured region holds less than 1% of the image or less
    than a fifth of its centre, or where the centre shows more of the yellow that drawings use for 'no tone stated'.

    Tone is taken as displayed: light, exposure and white balance are part of it, since one image does not tell them
    from the skin.
    """

    name = "skin_pixels"
    needs_encoder = False
    version = 1

    def score(
        self, run: Run, encoder: object = None, progress: Callable[[int, int], None] | None = None
    ) -> pd.DataFrame:
        """A row for each distinct image of the run (schema SCORES).

        Beside label and posteriors: `v_ita` in degrees, `v_lightness` (L*), `v_delta_e` (CIEDE2000 to the nearest
        swatch), NaN where the tone is unknown; `v_fraction` and `v_centre`, the region's shares of the image and of
        its centre.

        Args:
            encoder: not used. progress: called with (images done, images in all).

        Raises:
            RunError: the run has no images. ImageError: an image cannot be read.
        """
        from auditkit.images import open_image

        ids = [str(value) for value in run.images()["id"].drop_duplicates()]
        if not ids:
            raise RunError("The run has no images to score.", where=run.path, mend="Generate or import some first.")
        parts = []
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            parts.append(find_skin(shrunk([open_image(run.image_path(value)) for value in chunk])))
            if progress is not None:
                progress(min(start + _CHUNK, len(ids)), len(ids))
        return scores(ids, parts)


def shrunk(images: list[Image.Image]) -> NDArray[np.uint8]:
    """RGB images as uint8 [n, 96, 96, 3], each pixel the mean of those it covers; other shapes are squashed."""
    from PIL import Image

    return np.stack([np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX)) for image in images])


def tone_known(skin: Skin) -> NDArray[np.bool_]:
    """Whether the region is skin enough for a label, bool [n]."""
    enough = (skin.fraction >= LEAST_FRACTION) & (skin.centre >= LEAST_CENTRE)
    return enough & (skin.centre >= skin.yellow) & np.isfinite(skin.lab[:, 0])


def scores(ids: list[str], parts: list[Skin]) -> pd.DataFrame:
    """The scores table (schema SCORES) of images whose skin was found in `parts`."""
    import pandas as pd

    from auditkit.schemas import SCORES, check

    whole = Skin(*(np.concatenate([getattr(part, name) for part in parts]) for name in Skin.__dataclass_fields__))
    known = tone_known(whole)
    distance = monk_distances(whole.lab)
    posterior = soft_tones(distance)
    label = np.array([*MONK, "unknown"], dtype=object)[np.where(known, posterior.argmax(axis=1), len(MONK))]
    columns: dict[str, Any] = {
        "id": ids,
        "scorer": SkinPixels.name,
        "scorer_version": SkinPixels.version,
        "encoder": ENCODER,
        "label": label,
        "confidence": posterior.max(axis=1),
        "in_domain": pd.array([None] * len(ids), dtype="boolean"),
        "domain_distance": np.nan,
        "v_ita": np.where(known, ita(whole.lab), np.nan),
        "v_lightness": np.where(known, whole.lab[:, 0], np.nan),
        "v_delta_e": np.where(known, distance.min(axis=1), np.nan),
        "v_fraction": whole.fraction,
        "v_centre": whole.centre,
    }
    columns |= {f"p_{tone}": column for tone, column in zip(MONK, posterior.T, strict=True)}
    return check(pd.DataFrame(columns), SCORES, f"{SkinPixels.name}@{ENCODER}")


def soft_tones(distance: Floats) -> Floats:
    """CIEDE2000 to the swatches, float64 [n, 10], as shares that sum to 1; even where the colour is NaN.

    >>> soft_tones(np.array([[0.0] + [20.0] * 9])).round(3)[0, :2].tolist()
    [0.997, 0.0]
    """
    logits = -((np.asarray(distance, np.float64) / SOFTNESS) ** 2) / 2
    logits = np.where(np.isfinite(logits), logits, 0.0)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


skin_pixels = SkinPixels()
