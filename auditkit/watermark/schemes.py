"""Schemes by name, made once a process; and the checks of an image that all of them share."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from auditkit import registry
from auditkit.errors import PluginError, WatermarkError
from auditkit.watermark.base import Reading
from auditkit.watermark.keys import Key

GROUP = "watermarks"


@lru_cache(maxsize=32)
def _made(name: str) -> Any:
    return registry.load(GROUP, name)()


def scheme(named: Any) -> Any:
    """The scheme of that name, or the one given.

    Raises:
        PluginError: no scheme has that name, or it cannot be loaded.
    """
    return _made(named) if isinstance(named, str) else named


def families(*wanted: str) -> list[Any]:
    """Every scheme of these families, by name; one that cannot be loaded is warned of and left out."""
    import warnings

    found = []
    for name in registry.names(GROUP):
        try:
            made = scheme(name)
        except PluginError as error:
            warnings.warn(f"watermarks: {error.what}", stacklevel=2)
            continue
        if made.family in wanted:
            found.append(made)
    return found


def chosen(named: Sequence[Any] | None, *, latent: bool) -> list[Any]:
    """The schemes to detect with: those named, else every word scheme, and every latent one where `latent`.

    Raises:
        WatermarkError: one of them is foreign, or none is left.
    """
    if named is None:
        return families("word", *(("latent",) if latent else ()))
    found = [scheme(one) for one in named]
    for one in found:
        if one.family == "foreign":
            raise WatermarkError(
                f"'{one.name}' reads marks of other tools, which no key of ours whitened: it has no p-value",
                where=f"scheme={one.name}",
                mend="read its bits apart: read_foreign, or 'auditkit watermark detect --foreign'",
            )
    if not found:
        raise WatermarkError("no scheme was named", where="schemes", mend="name one, or leave it out for all")
    return found


def readings(scheme: Any, image: np.ndarray, keys: Sequence[Key], *, search: bool) -> list[Reading]:
    """What a word scheme reads under each key; work on the image that all keys share is done once where it can be."""
    many = getattr(scheme, "read_many", None)
    if many is None:
        return [scheme.read(image, key, search=search) for key in keys]
    if "search" in inspect.signature(many).parameters:
        return list(many(image, keys, search=search))
    return list(many(image, keys))  # a scheme that looks for no geometry


def checked_image(image: np.ndarray) -> np.ndarray:
    """The image, where it is uint8 [h, w, 3].

    Raises:
        WatermarkError: it is of another shape or type.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise WatermarkError(
            "an image is an array of 8-bit RGB values, [height, width, 3]",
            where=f"{image.dtype} {list(image.shape)}",
            mend="open it with auditkit.images.open_image, then np.asarray",
        )
    return image
