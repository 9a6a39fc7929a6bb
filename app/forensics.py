"""Python verbs for traces of an image's history: camera fingerprints and JPEG compressions.

    import auditkit as ak
    ak.camera_fingerprint(["a.jpg", "b.jpg", ...], out="cam.safetensors")
    ak.match_camera("upload.jpg", camera="cam.safetensors").verdict
    ak.jpeg_history("upload.jpg").as_dict()

They tell where an image has been, not whether a generator made it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.output import Progress, progress_bar
from auditkit.errors import ImageError
from auditkit.files import write_atomic

if TYPE_CHECKING:
    import numpy as np

    from detectors.forensics.double_jpeg import Double
    from detectors.forensics.jpeg_ghosts import Ghosts
    from detectors.forensics.jpeg_quality import Quality
    from detectors.forensics.prnu import Fingerprint, Match

NEAR = 5
"""A part that changes least at so nearly the image's own last quality is no ghost."""
HISTORY = "This is the image's history: it does not say whether a generator made it."


@dataclass(frozen=True)
class JpegHistory:
    """What JPEG left in an image.

    Attributes:
        last: the last compression; of a JPEG from its tables, else from the pixels.
        earlier: whether there was one before, on the same grid.
        ghosts: parts that were compressed otherwise; None for an image too small for a map.
        map: the file of the ghosts' maps, where one was asked for.
    """

    last: Quality
    earlier: Double
    ghosts: Ghosts | None
    map: Path | None

    def sentences(self) -> list[str]:
        """What is said of it, for people."""
        said = [self.last.why]
        if self.earlier.verdict == "twice":
            said.append(f"Compressed before, at about quality {self.earlier.first:.0f}, on the same grid.")
        elif self.earlier.verdict == "once":
            said.append("No sign of an earlier compression; one at a much higher quality leaves none.")
        if self.ghosts is not None and self.ghosts.candidate < self.last.quality - NEAR:
            said.append(
                f"A part of {self.ghosts.share:.0%} changes least at quality {self.ghosts.candidate:.0f}, unlike the "
                "rest: pasted from another JPEG, or flat, dark or saturated. Look at the map."
            )
        return [*said, HISTORY]

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        ghosts = self.ghosts and {name: getattr(self.ghosts, name) for name in ("candidate", "share", "contrast")}
        return {
            "last": vars(self.last) | {"grid": list(self.last.grid)}, "earlier": vars(self.earlier), "ghosts": ghosts,
            "map": self.map, "sentences": self.sentences(),
        }  # fmt: skip


def camera_fingerprint(
    images: Sequence[str | Path], *, out: str | Path, progress: bool | Progress = False
) -> Fingerprint:
    """The fingerprint of the camera that took `images` (files, or folders of them), written to `out`.

    Raises:
        DetectorError: too few images, or sizes that differ.
        ImageError: a file that is no image.
        RunError: `out` cannot be written.
    """
    from detectors.forensics.prnu import fingerprint

    files = _files(images)
    with progress_bar("fingerprint", progress) as update:

        def opened() -> Iterator[np.ndarray]:
            for done, file in enumerate(files):
                yield _pixels(file)
                if update:
                    update(done + 1, len(files))

        made = fingerprint(opened())
    made.save(Path(out))
    return made


def match_camera(image: str | Path, *, camera: str | Path, search: bool = False) -> Match:
    """Whether `image` holds the fingerprint in the file `camera`.

    Args:
        search: the image may be a crop, of any position.

    Raises:
        DetectorError: no fingerprint.
        ImageError: no image.
    """
    from detectors.forensics.prnu import Fingerprint, match

    return match(_pixels(image), Fingerprint.load(Path(camera)), search=search)


def jpeg_history(image: str | Path, *, map: str | Path | None = None) -> JpegHistory:
    """What JPEG left in an image file.

    Args:
        map: a PNG to write the ghosts' maps to.

    Raises:
        ImageError: no image, or one too small for the map that was asked for.
        RunError: the map cannot be written.
    """
    from detectors.forensics.double_jpeg import double_compression
    from detectors.forensics.jpeg_ghosts import ghosts
    from detectors.forensics.jpeg_quality import quality_of_file, quality_of_pixels

    pixels = _pixels(image)
    last = quality_of_file(Path(image).read_bytes()) or quality_of_pixels(pixels)
    earlier = double_compression(pixels, last.quality, last.grid)
    try:
        found = ghosts(pixels)
    except ImageError:
        if map is not None:
            raise
        found = None
    if map is not None and found is not None:
        stream = io.BytesIO()
        found.map_image().save(stream, "PNG")
        write_atomic(Path(map), stream.getvalue())
    return JpegHistory(last, earlier, found, None if map is None else Path(map))


def _pixels(file: str | Path) -> np.ndarray:
    import numpy as np

    from auditkit.images import open_image

    return np.asarray(open_image(file))


def _files(images: Sequence[str | Path]) -> list[Path]:
    """The files, and those in the folders."""
    found: list[Path] = []
    for each in map(Path, images):
        inside = sorted(file for file in each.iterdir() if file.is_file()) if each.is_dir() else [each]
        if not inside:
            raise ImageError("the folder holds no files", where=each, mend="give a folder of images")
        found += inside
    return found
