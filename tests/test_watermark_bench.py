"""The bench: its numbers, its distances, its going on after a kill, and what it keeps to itself."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage import data
from watermark_bench_helpers import ATTACKS, KEY, Toy, photographs, small_bench

from auditkit.errors import ImageError, WatermarkError
from auditkit.stats.intervals import clopper_pearson
from auditkit.watermark import bench
from auditkit.watermark.base import Evidence
from auditkit.watermark.bench import quality
from auditkit.watermark.payload import Payload

PHOTOGRAPH = data.astronaut()[80:208, 150:278]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bench(tmp_path_factory.mktemp("bench"), forgery=True)


def cells(folder: Path) -> pd.DataFrame:
    return bench.read_table(folder, "results.parquet").set_index(["attack", "strength"])


def test_a_mark_is_found_where_nothing_happened_and_lost_where_the_scheme_cannot_follow(finished: Path) -> None:
    found = cells(finished)
    assert found.loc[("none", 0.0), "tpr"] == 1
    assert found.loc[("none", 0.0), "whole_payload"] == 1
    assert found.loc[("jpeg", 90.0), "tpr"] == 1
    assert found.loc[("crop", 0.5), "tpr"] == 0
    assert 0.3 < found.loc[("crop", 0.5), "bit_accuracy"] < 0.7


def test_images_without_a_mark_are_read_as_a_control(finished: Path) -> None:
    control = cells(finished).loc[("unmarked", 0.0)]
    assert control["n"] == 3
    assert control["tpr"] == 0


def test_every_rate_has_its_exact_interval(finished: Path) -> None:
    for row in bench.read_table(finished, "results.parquet").itertuples():
        low, high = clopper_pearson(round(row.tpr * row.n), row.n)
        assert (row.tpr_low, row.tpr_high) == (pytest.approx(low), pytest.approx(high))
        assert row.fpr == 1e-6


def test_reading_searches_only_where_pixels_were_moved(finished: Path) -> None:
    found = cells(finished)
    assert found.loc[("crop", 0.5), "search"]
    assert not found.loc[("jpeg", 90.0), "search"]


def test_quality_and_times_are_measured_on_the_unattacked_image(finished: Path) -> None:
    row = bench.read_table(finished, "quality.parquet").iloc[0]
    assert row["n"] == 3
    assert row["psnr"] == pytest.approx(36, abs=0.4)
    assert 0.5 < row["ssim"] < 1
    assert row["gmsd"] > 0
    assert min(row["encode_ms"], row["decode_ms"], row["search_ms"]) > 0


def test_a_copied_mark_is_counted_as_a_forgery(finished: Path) -> None:
    found = cells(finished)
    assert found.loc[("forgery-copy", 1.0), "group"] == "forgery"
    assert found.loc[("forgery-remark", 1.0), "n"] == 3
    assert ("forgery-average", 1.0) not in found.index  # three images are too few


def test_a_bench_says_what_it_was_made_of(finished: Path) -> None:
    record = bench.read_record(finished)
    assert record["finished"]
    assert record["commands"] == ["test"]
    assert record["settings"]["keys"] == [KEY.id]
    assert [one["name"] for one in record["images"]["photographs"]] == ["0.png", "1.png", "2.png"]
    assert {"auditkit", "numpy", "python"} <= set(record["versions"])
    assert {(one["attack"], one["strength"]) for one in record["attacks"]} >= {("jpeg", 25.0), ("none", 0.0)}


def test_no_secret_is_in_the_folder(finished: Path) -> None:
    held = b"".join(path.read_bytes() for path in finished.rglob("*") if path.is_file())
    assert KEY.id.encode() in held
    assert KEY.secret not in held
    assert KEY.secret.hex().encode() not in held


def test_the_same_seed_gives_the_same_results(finished: Path, tmp_path: Path) -> None:
    again = small_bench(tmp_path)
    pd.testing.assert_frame_equal(
        bench.read_table(finished, "results.parquet"), bench.read_table(again, "results.parquet")
    )


def test_another_seed_meets_other_attacks(finished: Path, tmp_path: Path) -> None:
    other = cells(small_bench(tmp_path, seed=5, forgery=False))
    assert other.loc[("noise", 10.0), "median_log10_p"] != cells(finished).loc[("noise", 10.0), "median_log10_p"]


def test_a_finished_bench_does_nothing_twice_and_takes_more_attacks(tmp_path: Path) -> None:
    first = cells(small_bench(tmp_path, forgery=False))
    again = Toy()
    small_bench(tmp_path, scheme=again, forgery=False)
    assert again.embedded == 0
    more = cells(small_bench(tmp_path, attacks=[*ATTACKS, "flip"], forgery=False))
    assert len(more) == len(first) + 1
    pd.testing.assert_frame_equal(more.loc[first.index], first)


def test_a_bench_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = small_bench(tmp_path, out="whole", forgery=False)
    code = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from watermark_bench_helpers import small_bench
def progress(done, total):
    if done == 2:
        os.kill(os.getpid(), signal.SIGKILL)
small_bench(Path(sys.argv[1]), out="killed", forgery=False, progress=progress)
"""
    killed = subprocess.run([sys.executable, "-c", code, tmp_path, Path(__file__).parent], env=os.environ, check=False)
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(WatermarkError, match="the table cannot be read"):
        cells(tmp_path / "killed")
    rest = Toy()
    resumed = small_bench(tmp_path, scheme=rest, out="killed", forgery=False)
    assert rest.embedded == 1
    pd.testing.assert_frame_equal(cells(resumed), cells(whole))


def test_a_folder_of_another_bench_is_refused(finished: Path) -> None:
    with pytest.raises(WatermarkError, match="another seed"):
        small_bench(finished.parent, seed=3)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "thesis.txt").write_text("mine")
    with pytest.raises(WatermarkError, match="holds no bench"):
        small_bench(tmp_path)


def test_an_image_that_is_too_small_is_left_out_and_said(tmp_path: Path) -> None:
    images = {"photographs": photographs(tmp_path / "a", n=1), "graphics": [np.zeros((20, 20, 3), np.uint8)]}
    folder = bench.run([Toy()], images, out=tmp_path / "bench", attacks=["none"], key=KEY)
    assert set(cells(folder)["content"]) == {"photographs"}
    (left,) = bench.read_record(folder)["skipped"]
    assert (left["scheme"], left["content"], left["n"]) == ("toy", "graphics", 1)
    assert "too small" in left["why"]


def test_where_no_image_can_be_marked_the_bench_says_so(tmp_path: Path) -> None:
    with pytest.raises(WatermarkError, match="too small for toy"):
        bench.run([Toy()], {"graphics": [np.zeros((20, 20, 3), np.uint8)]}, out=tmp_path / "bench", key=KEY)


def test_a_latent_scheme_cannot_mark_an_image(tmp_path: Path) -> None:
    with pytest.raises(WatermarkError, match="generate images with it"):
        bench.run(
            [SimpleNamespace(name="rings", family="latent")], {"photographs": [PHOTOGRAPH]}, out=tmp_path / "bench"
        )


@pytest.mark.parametrize("what", ["missing", "empty", "text.png"])
def test_images_that_are_not_there_are_named(tmp_path: Path, what: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ImageError) as error:
        bench.run([Toy()], {"photographs": tmp_path / what}, out=tmp_path / "bench")
    assert str(error.value.where) == str(tmp_path / what)


def test_images_that_came_marked_are_attacked_and_read_by_their_reader(tmp_path: Path) -> None:
    def reader(image: np.ndarray, payload: Payload) -> Evidence:
        bright = float(image.mean()) > 100
        return Evidence(1e-9 if bright else 0.4, "exact", payload=payload if bright else None, bits=64, matched=50)

    images = [(Image.new("RGB", (64, 64), (k, k, k)), Payload(1, k)) for k in (90, 120)]
    folder = bench.run([], {}, out=tmp_path / "bench", attacks=["brightness:1.25"], forgery=False,
                       marked=[bench.Marked("tree-ring", reader, images)])  # fmt: skip
    found = cells(folder)
    assert found.loc[("none", 0.0), "tpr"] == 0.5
    assert found.loc[("brightness", 1.25), "tpr"] == 1
    assert found["content"].eq("generated").all()
    assert math.isnan(bench.read_table(folder, "quality.parquet").iloc[0]["psnr"])


def test_only_the_first_images_are_regenerated_and_the_cost_is_told(tmp_path: Path) -> None:
    again = {"diffusion:0.2": lambda image: np.asarray(gaussian_filter(image, (2, 2, 0)))}
    found = cells(small_bench(tmp_path, attacks=["none"], regenerate=again, regenerate_images=2, forgery=False))
    row = found.loc[("regenerate-diffusion", 0.2)]
    assert (row["n"], row["group"]) == (2, "regeneration")
    assert 10 < row["attack_psnr"] < 35
    assert found.loc[("none", 0.0), "n"] == 3


def test_psnr_is_that_of_a_known_error() -> None:
    assert quality.psnr(np.full((9, 9, 3), 100, np.uint8), np.full((9, 9, 3), 110, np.uint8)) == pytest.approx(
        28.1308, abs=1e-3
    )


@pytest.mark.parametrize(("name", "best"), [("psnr", math.inf), ("ssim", 1.0), ("gmsd", 0.0)])
def test_an_image_is_at_no_distance_from_itself(name: str, best: float) -> None:
    assert getattr(quality, name)(PHOTOGRAPH, PHOTOGRAPH) == best


@given(st.integers(0, 100))
def test_gradient_similarity_does_not_depend_on_which_image_is_first(seed: int) -> None:
    noisy = np.clip(PHOTOGRAPH + np.random.default_rng(seed).normal(0, 12, PHOTOGRAPH.shape), 0, 255).astype(np.uint8)
    assert quality.gmsd(PHOTOGRAPH, noisy) == pytest.approx(quality.gmsd(noisy, PHOTOGRAPH))


def test_gradient_similarity_ignores_brightness_and_grows_with_blur() -> None:
    dim = PHOTOGRAPH // 2
    assert quality.gmsd(dim, dim + 40) == pytest.approx(0, abs=1e-6)
    blurred = [gaussian_filter(PHOTOGRAPH, (s, s, 0)) for s in (0.5, 1, 2, 4)]
    distances = [quality.gmsd(PHOTOGRAPH, one) for one in blurred]
    assert distances == sorted(distances)
    assert 0 < distances[0] < distances[-1] < 0.5


def test_gradient_similarity_follows_the_paper_pixel_by_pixel() -> None:
    first, second = PHOTOGRAPH[:10, :10], PHOTOGRAPH[20:30, 20:30]

    def gradients(image: np.ndarray) -> np.ndarray:
        grey = image.astype(float) @ (0.299, 0.587, 0.114)
        half = np.pad(grey.reshape(5, 2, 5, 2).mean(axis=(1, 3)), 1, mode="edge")
        out = np.zeros((5, 5))
        for i in range(5):
            for j in range(5):
                window = half[i : i + 3, j : j + 3]
                across = (window[:, 2] - window[:, 0]).sum() / 3
                down = (window[2] - window[0]).sum() / 3
                out[i, j] = math.hypot(across, down)
        return out

    a, b = gradients(first), gradients(second)
    expected = ((2 * a * b + 170) / (a**2 + b**2 + 170)).std()
    assert quality.gmsd(first, second) == pytest.approx(expected, rel=1e-4)


def test_images_of_two_sizes_have_no_distance() -> None:
    with pytest.raises(WatermarkError, match="one size"):
        quality.psnr(PHOTOGRAPH, PHOTOGRAPH[1:])


def test_a_record_that_is_damaged_is_refused(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(json.dumps({"kind": "something else"}))
    with pytest.raises(WatermarkError, match="no bench"):
        bench.read_record(tmp_path)
