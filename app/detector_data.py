"""The Python verbs of detectors' data: aligned pairs, one encoding for both sides, the shortcut audit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app import output
from app.autoencoders import autoencoder

if TYPE_CHECKING:
    from detectors.examples import Examples
    from detectors.shortcuts import Audit


def make_detector_pairs(
    reals: str | Path,
    autoencoders: Sequence[str | Path],
    out: str | Path,
    *,
    crop: int | None = None,
    crops: int = 1,
    seed: int = 0,
    device: str = "auto",
    skip_bad: bool = False,
    progress: bool | output.Progress = False,
) -> Examples:
    """Pairs of real images and their reconstructions, with nothing between them but the autoencoder. Resumes.

    Args:
        reals: a folder of real images, or data whose real ones are taken.
        autoencoders: bundled generators, or folders that hold an autoencoder.
        out: the folder for the pairs and their table.
        crop, crops, seed: as for `detectors.pairs.make_pairs`.
        skip_bad: leave out files that are no images.

    Raises:
        DetectorError, ImageError: as `detectors.pairs.make_pairs` and `detectors.autoencoders.load_autoencoder`.
    """
    from detectors.pairs import make_pairs

    found = _reals(Path(reals), skip_bad)
    loaded = [autoencoder(name, device=device) for name in autoencoders]
    with output.progress_bar("pairs", progress) as show:
        return make_pairs(found, loaded, out, crop=crop, crops=crops, seed=seed, progress=show)


def make_detector_data_alike(
    sources: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    side: int | None = None,
    seed: int = 0,
    skip_bad: bool = False,
    progress: bool | output.Progress = False,
) -> Examples:
    """Data copied with both sides in one encoding and one size; see `detectors.alike.write_alike`."""
    from detectors.alike import write_alike
    from detectors.reading import read_examples

    examples = read_examples(*_several(sources), skip_bad=skip_bad)
    with output.progress_bar("alike", progress) as show:
        return write_alike(examples, out, seed=seed, side=side, progress=show)


def audit_shortcuts(
    sources: str | Path | Sequence[str | Path],
    *,
    seed: int = 0,
    skip_bad: bool = False,
    progress: bool | output.Progress = False,
) -> Audit:
    """Whether the classes can be told by format, quantisation, size, resampling, content or metadata alone.

    Args:
        sources: folders, tables or runs, as for `detectors.reading.read_examples`.
    """
    from detectors.reading import read_examples
    from detectors.shortcuts import audit

    examples = read_examples(*_several(sources), skip_bad=skip_bad)
    with output.progress_bar("shortcuts", progress) as show:
        return audit(examples, seed=seed, progress=show)


def _several(sources: str | Path | Sequence[str | Path]) -> list[str | Path]:
    return [sources] if isinstance(sources, (str, Path)) else list(sources)


def _reals(folder: Path, skip_bad: bool) -> Examples:
    from detectors.reading import read_examples, read_folder

    if folder.is_dir() and not any((folder / name).exists() for name in ("real", "table.csv", "table.parquet")):
        return read_folder(folder, label="real", skip_bad=skip_bad)
    examples = read_examples(folder, skip_bad=skip_bad, both=False)
    return examples.where(examples.labels == 0)
