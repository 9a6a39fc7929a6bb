"""Colour arithmetic for skin: sRGB to CIELAB, typology angle, CIEDE2000, Monk's scale; pure functions, float64.

Nothing here is rounded to 8 bits on the way: a uint8 Lab image holds L in 0..255 and b shifted by 128, and the
formulas for 0..100 then give nonsense without an error.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

MONK_HEX = (
    "f6ede4", "f3e7db", "f7ead0", "eadaba", "d7bd96", "a07e56", "825c43", "604134", "3a312a", "292420",
)  # fmt: skip
"""The ten swatches of the Monk Skin Tone scale, lightest first, as published (Monk 2019; Google 2022)."""

MONK = tuple(f"monk-{i:02d}" for i in range(1, 11))
"""Names of the ten tones, in the order of `MONK_HEX`."""

BANDS = {"light": (1, 3), "medium": (4, 6), "dark": (7, 10)}
"""First and last Monk tone of each band, for tables that ten classes would make unreadable."""

ITA_CLASSES = ("very light", "light", "intermediate", "tan", "brown", "dark")
ITA_EDGES = (55.0, 41.0, 28.0, 10.0, -30.0)
"""Degrees above which the angle falls in the class of that place (Chardon 1991; Del Bino and Bernerd 2013)."""

# IEC 61966-2-1, and the white that its matrix gives to (1, 1, 1), so that greys have a = b = 0 exactly.
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = TO_XYZ.sum(axis=1)


def linear_rgb(srgb: ArrayLike) -> Floats:
    """Light from stored values (IEC 61966-2-1): both float64 [..., 3] in [0, 1]."""
    c = np.asarray(srgb, np.float64)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def stored_rgb(linear: ArrayLike) -> Floats:
    """The inverse of `linear_rgb`; values outside [0, 1] are cut, as a camera or a file would."""
    c = np.clip(np.asarray(linear, np.float64), 0, 1)
    return np.where(c <= 0.0031308, c * 12.92, 1.055 * c ** (1 / 2.4) - 0.055)


def lab(srgb: ArrayLike) -> Floats:
    """CIELAB (CIE 1976, D65, 2 degrees) of sRGB colours.

    Args:
        srgb: [..., 3], in [0, 1], or uint8.

    Returns:
        float64 [..., 3]: L in [0, 100], a and b about -128..128.

    >>> lab([1.0, 0.0, 0.0]).round(2).tolist()
    [53.24, 80.09, 67.2]
    """
    values = np.asarray(srgb)
    # 256 stored values only: the power is looked up, not computed for each pixel.
    light = linear_rgb(np.arange(256) / 255)[values] if values.dtype == np.uint8 else linear_rgb(values)
    t = (light @ TO_XYZ.T) / _WHITE
    d = 6 / 29
    f = np.where(t > d**3, np.cbrt(t), t / (3 * d**2) + 4 / 29)
    return np.stack(
        [116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1
    )


def hex_rgb(code: str) -> Floats:
    """'f6ede4' -> float64 [3], in [0, 1]."""
    return np.array(list(bytes.fromhex(code.removeprefix("#")))) / 255


MONK_LAB: Floats = lab([hex_rgb(code) for code in MONK_HEX])
"""float64 [10, 3], CIELAB of the swatches."""


def ita(lab_values: ArrayLike) -> Floats:
    """Individual typology angle in degrees: atan2(L - 50, b), higher is lighter (Chardon 1991).

    atan2 and not arctan of the quotient, which jumps by 180 degrees where b passes 0, as it does on dark and on
    blue-lit skin.

    Args:
        lab_values: [..., 3].

    Returns:
        float64 [...], in [-180, 180]; of skin about -60..70.

    >>> ita([[75.0, 10.0, 25.0], [50.0, 10.0, 20.0]]).tolist()
    [45.0, 0.0]
    """
    values = np.asarray(lab_values, np.float64)
    return np.asarray(np.degrees(np.arctan2(values[..., 0] - 50, values[..., 2])))


def ita_class(degrees: ArrayLike) -> NDArray[np.intp]:
    """Place in `ITA_CLASSES`, 0 for very light to 5 for dark; 6 where the angle is NaN.

    >>> ita_class([60, 55, 0, -31]).tolist()
    [0, 1, 4, 5]
    """
    angle = np.asarray(degrees, np.float64)
    place = (angle[..., None] <= np.array(ITA_EDGES)).sum(axis=-1)
    return np.asarray(np.where(np.isnan(angle), len(ITA_CLASSES), place), np.intp)


def delta_e(first: ArrayLike, second: ArrayLike) -> Floats:
    """CIEDE2000 colour difference, k_L = k_C = k_H = 1 (Sharma, Wu and Dalal 2005, Color Res. Appl. 30:21-30).

    About 1 is just visible; the swatches of Monk's scale are 2 to 19 from their neighbours.

    Args:
        first, second: CIELAB [..., 3], broadcast against each other.

    Returns:
        float64 [...], >= 0.

    >>> float(delta_e([50, 2.6772, -79.7751], [50, 0, -82.7485]).round(4))
    2.0425
    """
    l1, a1, b1 = np.moveaxis(np.asarray(first, np.float64), -1, 0)
    l2, a2, b2 = np.moveaxis(np.asarray(second, np.float64), -1, 0)
    mean7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    g = 0.5 * (1 - np.sqrt(mean7 / (mean7 + 25.0**7)))
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.degrees(np.arctan2(b1, a1)) % 360, np.degrees(np.arctan2(b2, a2)) % 360

    grey = c1 * c2 == 0
    turn = h2 - h1
    turn = np.where(grey, 0.0, turn - 360 * (turn > 180) + 360 * (turn < -180))
    lightness, chroma = l2 - l1, c2 - c1
    hue = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2))

    total = h1 + h2
    mean_h = np.where(np.abs(h1 - h2) <= 180, total / 2, (total + np.where(total < 360, 360, -360)) / 2)
    mean_h = np.where(grey, total, mean_h)
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    t = (
        1
        - 0.17 * np.cos(np.radians(mean_h - 30))
        + 0.24 * np.cos(np.radians(2 * mean_h))
        + 0.32 * np.cos(np.radians(3 * mean_h + 6))
        - 0.20 * np.cos(np.radians(4 * mean_h - 63))
    )
    s_l = 1 + 0.015 * (mean_l - 50) ** 2 / np.sqrt(20 + (mean_l - 50) ** 2)
    s_c, s_h = 1 + 0.045 * mean_c, 1 + 0.015 * mean_c * t
    rotation = np.sin(np.radians(60 * np.exp(-(((mean_h - 275) / 25) ** 2))))
    r_t = -2 * rotation * np.sqrt(mean_c**7 / (mean_c**7 + 25.0**7))
    parts = lightness / s_l, chroma / s_c, hue / s_h
    return np.asarray(np.sqrt(parts[0] ** 2 + parts[1] ** 2 + parts[2] ** 2 + r_t * parts[1] * parts[2]))


def monk_distances(lab_values: ArrayLike) -> Floats:
    """CIEDE2000 to each of the ten swatches: CIELAB [..., 3] -> float64 [..., 10]."""
    return delta_e(np.asarray(lab_values, np.float64)[..., None, :], MONK_LAB)
