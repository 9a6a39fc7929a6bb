"""What detectors learn from and are tested on: image files with a label, a source and where they come from.

    data/real/<origin>/...              photographs, scans; the origin is a camera, a site, a collection
    data/generated/<generator>/...      what a generator made

or a table (CSV, parquet) with the columns below, its files relative to its own folder, or a run (its images count as
generated). A *source* is what images share that came from one original: crops, re-encodings and reconstructions carry
the source of the image that they were made from. Splits and intervals go by source, never by file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.images import open_image

COLUMNS = {
    "file": "absolute path of the image",
    "label": "real or generated",
    "source": "the original that it came from: the cluster of splits and intervals",
    "origin": "collection of a real image; of a generated one that of the real image it was made from, '' for none",
    "generator": "what made it; '' for a real image",
    "made": "'' or how it was made of its source: reconstruction, regeneration, jpeg:70",
}


@dataclass(frozen=True)
class Examples:
    """A table of image files; the images are opened when asked for.

    Attributes:
        table: the columns `COLUMNS`, one row a file, index 0..n-1.
    """

    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.table)

    @property
    def labels(self) -> NDArray[np.int8]:
        """[n], 1 for generated."""
        return np.asarray(self.table["label"] == "generated", dtype=np.int8)

    @property
    def sources(self) -> NDArray[np.object_]:
        """[n], the cluster of each row."""
        return self.table["source"].to_numpy(object)

    def where(self, mask: NDArray[np.bool_]) -> Examples:
        """The rows that `mask` [n] names, in order."""
        return Examples(self.table[np.asarray(mask, bool)].reset_index(drop=True))

    def image(self, row: int) -> np.ndarray:
        """uint8 [h, w, 3].

        Raises:
            ImageError: the file is missing, damaged or no image.
        """
        return np.asarray(open_image(self.table["file"].iloc[row]))

    def images(self) -> Iterator[np.ndarray]:
        """Each image in turn."""
        return (self.image(row) for row in range(len(self)))
