from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from auditkit.errors import DetectorError
from detectors.encoding import check_alike, read_header
from detectors.examples import Examples
from detectors.pairs import make_pairs
from detectors.reading import read_examples, read_folder
from detectors.shortcuts import is_aligned
from tests.detector_data_helpers import noise, write


@dataclass
class Darker:
    """In place of an autoencoder: every pixel eight steps darker."""

    name: str = "darker"
    factor: int = 12
    sha256: str = "0" * 64
    seen: list[np.ndarray] = field(default_factory=list)

    def reconstruct(self, image: np.ndarray) -> np.ndarray:
        self.seen.append(image)
        return image - np.minimum(image, 8)


def photographs(folder: Path, *, count: int = 3, suffix: str = ".png", side: int = 100, **options: object) -> Examples:
    for number in range(count):
        write(folder / f"{number}{suffix}", noise(number, side), **options)
    return read_folder(folder, label="real")


def couples(made: Examples) -> list[tuple[np.ndarray, np.ndarray]]:
    """The real and the reconstructed of each pair, by the names of their files."""
    stems = [Path(file).stem for file in made.table["file"]]
    real = {stem: row for row, stem in enumerate(stems) if made.labels[row] == 0}
    return [(made.image(real[stem]), made.image(row)) for row, stem in enumerate(stems) if made.labels[row] == 1]


def test_both_members_of_a_pair_show_the_same_place(tmp_path: Path) -> None:
    made = make_pairs(photographs(tmp_path / "in"), [Darker()], tmp_path / "out", crop=60, crops=2)
    pairs = couples(made)
    assert len(pairs) == 6
    assert all((other == real - np.minimum(real, 8)).all() for real, other in pairs)


def test_crops_lie_on_the_grid_of_the_autoencoder_and_of_jpeg(tmp_path: Path) -> None:
    reals = photographs(tmp_path / "in")
    made = make_pairs(reals, [Darker(factor=12)], tmp_path / "out", crop=60, crops=3)
    for row in np.flatnonzero(made.labels == 0):
        cut = made.image(row)
        whole = reals.image(list(reals.sources).index(made.sources[row]))
        assert cut.shape == (48, 48, 3)
        places = [(whole[top : top + 48, left : left + 48] == cut).all() for top in (0, 24, 48) for left in (0, 24, 48)]
        assert any(places)


def test_whole_images_lose_only_what_is_off_the_grid(tmp_path: Path) -> None:
    made = make_pairs(photographs(tmp_path / "in"), [Darker(factor=8)], tmp_path / "out")
    assert {image.shape for image in made.images()} == {(96, 96, 3)}


def test_pairs_share_the_source_and_name_origin_generator_and_how_they_were_made(tmp_path: Path) -> None:
    made = make_pairs(photographs(tmp_path / "camera"), [Darker("a"), Darker("b")], tmp_path / "out", crop=48).table
    assert made.groupby("source")["generator"].apply(sorted).tolist() == [["", "a", "b"]] * 3
    assert set(made["origin"]) == {"camera"}
    assert set(made["made"][made["label"] == "generated"]) == {"reconstruction"}


def test_a_reconstruction_is_encoded_as_its_own_real_file_was(tmp_path: Path) -> None:
    for number, quality in enumerate((60, 75, 90)):
        write(tmp_path / f"in/{number}.jpg", noise(number, 64), quality=quality, subsampling=number)
    reals = read_folder(tmp_path / "in", label="real")
    made = make_pairs(reals, [Darker(factor=8)], tmp_path / "out")
    assert check_alike(made) == []
    assert is_aligned(made)
    for row in range(len(made)):
        before = read_header(reals.table["file"][list(reals.sources).index(made.sources[row])])
        after = read_header(made.table["file"][row])
        assert (after.tables, after.subsampling) == (before.tables, before.subsampling)


def test_a_stopped_call_goes_on_and_gives_the_same(tmp_path: Path) -> None:
    reals = photographs(tmp_path / "in")

    class Stops(Darker):
        def reconstruct(self, image: np.ndarray) -> np.ndarray:
            if len(self.seen) == 2:
                raise KeyboardInterrupt
            return super().reconstruct(image)

    with pytest.raises(KeyboardInterrupt):
        make_pairs(reals, [Stops()], tmp_path / "out", crop=48)
    with pytest.raises(DetectorError, match="unfinished"):
        read_examples(tmp_path / "out")
    second = Darker()
    resumed = make_pairs(reals, [second], tmp_path / "out", crop=48)
    whole = make_pairs(reals, [Darker()], tmp_path / "again", crop=48)
    assert len(second.seen) == 1
    assert [image.tobytes() for image in resumed.images()] == [image.tobytes() for image in whole.images()]


def test_other_settings_do_not_go_on_in_the_same_folder(tmp_path: Path) -> None:
    reals = photographs(tmp_path / "in")
    make_pairs(reals, [Darker()], tmp_path / "out", crop=48)
    with pytest.raises(DetectorError, match=r"made in another way \(seed\)"):
        make_pairs(reals, [Darker()], tmp_path / "out", crop=48, seed=1)
    with pytest.raises(DetectorError, match=r"made in another way \(autoencoders\)"):
        make_pairs(reals, [Darker(sha256="1" * 64)], tmp_path / "out", crop=48)


def test_pairs_are_not_written_among_other_files(tmp_path: Path) -> None:
    reals = photographs(tmp_path / "in")
    with pytest.raises(DetectorError, match="not empty"):
        make_pairs(reals, [Darker()], tmp_path / "in")


def test_images_smaller_than_the_crop_are_left_out_with_a_warning(tmp_path: Path) -> None:
    write(tmp_path / "in/small.png", noise(9, 30))
    reals = photographs(tmp_path / "in")
    with pytest.warns(UserWarning, match=r"1 images are smaller than the crop and left out: small\.png"):
        made = make_pairs(reals, [Darker()], tmp_path / "out", crop=48)
    assert len(made) == 6


def test_no_image_as_large_as_the_crop_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match="no image has 240 pixels a side"):
        make_pairs(photographs(tmp_path / "in"), [Darker()], tmp_path / "out", crop=240)


def test_generated_rows_and_equal_names_are_refused(tmp_path: Path) -> None:
    reals = photographs(tmp_path / "in")
    generated = Examples(pd.concat([reals.table.assign(label="generated")]))
    with pytest.raises(DetectorError, match="real images alone"):
        make_pairs(generated, [Darker()], tmp_path / "out")
    with pytest.raises(DetectorError, match="two autoencoders have one name"):
        make_pairs(reals, [Darker("x/vae"), Darker("y/vae")], tmp_path / "out")
    assert not (tmp_path / "out").exists()
