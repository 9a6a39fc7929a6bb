"""What changes images without anyone meaning to protect them: the null that a perturbation is told from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from auditkit.watermark.attacks import geometric, valuemetric
from auditkit.watermark.attacks.valuemetric import rounded

Apply = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def camera_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shot and read noise: variance grows with the signal in linear light, as in a sensor; then gamma."""
    linear = (image / 255.0) ** 2.2
    noisy = linear + np.sqrt(0.0004 * linear + 0.00001) * rng.standard_normal(image.shape)
    return rounded(255 * np.clip(noisy, 0, 1) ** (1 / 2.2))


def film_grain(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Grain of about two pixels, the same in all channels, strongest in the mid-tones."""
    from scipy.ndimage import gaussian_filter

    grain = gaussian_filter(rng.standard_normal(image.shape[:2]), 0.8)
    grain /= max(float(grain.std()), 1e-9)
    middle = 4 * (image / 255.0) * (1 - image / 255.0)
    return rounded(image + 5 * grain[..., None] * (0.3 + 0.7 * middle))


def sharpened(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Unsharp mask as photo software applies it: radius 1.5 px, 120%."""
    from PIL import Image, ImageFilter

    return np.asarray(Image.fromarray(image).filter(ImageFilter.UnsharpMask(1.5, 120, 2)))


def random_signs(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random signs of 4 grey levels: the amplitude of a perturbation without its aim."""
    return rounded(image + 4.0 * rng.choice([-1.0, 1.0], image.shape))


def marked(scheme: str) -> Apply:
    """A watermark of auditkit's own, at its usual strength, under a random key."""

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        from auditkit.watermark.embedding import embed
        from auditkit.watermark.keys import Key
        from auditkit.watermark.payload import Payload

        return embed(image, _scheme(scheme), Key.from_secret(rng.bytes(32)), Payload(1, int(rng.integers(1, 2**31))))

    return apply


@lru_cache
def _scheme(name: str) -> Any:
    from auditkit.watermark import schemes

    return schemes.scheme(name)


def _both(first: Apply, second: Apply) -> Apply:
    return lambda image, rng: second(first(image, rng), rng)


def _attack(apply: Callable[[np.ndarray, float, np.random.Generator], np.ndarray], strength: float) -> Apply:
    return lambda image, rng: apply(image, strength, rng)


CONDITIONS: Mapping[str, Apply] = {
    "as it is": _attack(valuemetric.unchanged, 0),
    "jpeg 50": _attack(valuemetric.jpeg, 50),
    "gaussian noise 5": _attack(valuemetric.noise, 5),
    "camera noise": camera_noise,
    "film grain": film_grain,
    "sharpened": sharpened,
    "noise, then jpeg 80": _both(_attack(valuemetric.noise, 4), _attack(valuemetric.jpeg, 80)),
    "watermark spread": marked("spread"),
    "watermark codec": marked("codec"),
}
"""What the calibration knows, by name: (image uint8 [h, w, 3], rng) to an image of the same shape."""

UNSEEN: Mapping[str, Apply] = {
    "jpeg 80": _attack(valuemetric.jpeg, 80),
    "random signs 4": random_signs,
    "resampled": _attack(geometric.resize, 0.75),
    "blurred": _attack(valuemetric.blur, 0.8),
}
"""What it does not know, to test it with."""
