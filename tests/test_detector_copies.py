"""Copies: the nearest training picture, thresholds from known truth, and what is said where there is too little."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tiny_clip import save_tiny
from typer.testing import CliRunner

from app.cli import app
from auditkit.clip.encoders import load_encoder
from auditkit.errors import DetectorError
from auditkit.stats.known_negatives import at_size, auroc, cut, p_values, roc
from detectors.copies import calibration as calibrations
from detectors.copies.calibration import Calibration, Copies
from detectors.copies.finding import find
from detectors.copies.index import FILE, Index, build, load
from detectors.copies.planting import calibrate
from detectors.copies.prints import Picture, Prints, take
from detectors.copies.protected import Registry
from detectors.copies.search import FARTHEST, Block, search


def scene(seed: int) -> Image.Image:
    """A picture with structure, so that its hash means something."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((96, 96), Image.Resampling.BICUBIC)


def pictures(seeds: range) -> list[Picture]:
    return [Picture(f"{seed}.png", lambda seed=seed: scene(seed)) for seed in seeds]  # type: ignore[misc]


def original(name: str) -> Image.Image:
    return scene(int(name.removesuffix(".png")))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder, _ = save_tiny(tmp_path_factory.mktemp("clip") / "tiny")
    return load_encoder(str(folder), device="cpu")


@pytest.fixture
def index(tmp_path: Path, encoder: Any) -> Index:
    return build(pictures(range(30)), tmp_path / "index", encoder=encoder)


@pytest.fixture
def calibrated(index: Index, encoder: Any) -> Calibration:
    return calibrate(
        index, pictures(range(100, 145)), encoder=encoder, original=original, changes=["none", "flip"], copies=5
    )


# Known negatives


def test_at_most_the_stated_share_of_new_negatives_exceeds_a_threshold() -> None:
    rng = np.random.default_rng(0)
    cuts = [(cut(rng.normal(size=99), 0.05), rng.normal(size=200)) for _ in range(400)]
    shares = np.array([(new > one.threshold).mean() for one, new in cuts])
    assert abs(shares.mean() - 0.05) < 0.004


def test_the_interval_of_the_share_covers_it() -> None:
    from scipy.stats import norm

    rng = np.random.default_rng(1)
    cuts = [cut(rng.normal(size=199), 0.05) for _ in range(1000)]
    true = norm.sf([one.threshold for one in cuts])
    covered = [one.low <= share <= one.high for one, share in zip(cuts, true, strict=True)]
    assert 0.93 < np.mean(covered) < 0.97


def test_too_few_negatives_for_a_rate_give_no_threshold_but_how_many_are_needed() -> None:
    found = cut(np.arange(98), 0.01)
    assert (found.status, found.needed) == ("insufficient", 99)
    assert np.isnan([found.threshold, found.expected, found.low, found.high]).all()
    assert cut(np.arange(99), 0.01).status == "ok"


def test_a_p_value_is_at_most_the_rate_just_above_its_threshold() -> None:
    known = np.random.default_rng(0).integers(0, 40, 157)
    asked = np.arange(-1, 42)
    for rate in (0.01, 0.05, 0.2):
        assert ((p_values(asked, known) <= rate) == (asked > cut(known, rate).threshold)).all()


def test_a_larger_search_has_more_false_matches_and_one_of_the_same_size_as_many() -> None:
    assert at_size(0.01, 100, 100) == pytest.approx(0.01)
    assert at_size(0.01, 200, 100) == pytest.approx(1 - 0.99**2)


def test_the_area_is_that_under_the_curve() -> None:
    a, b = np.random.default_rng(0).normal(1, 1, 50), np.random.default_rng(1).normal(0, 1, 70)
    assert np.trapezoid(*roc(a, b)[::-1]) == pytest.approx(auroc(a, b))
    assert np.isnan(auroc([], b))


# Search


def test_search_by_blocks_finds_what_one_look_at_everything_finds() -> None:
    rng = np.random.default_rng(0)

    def unit(*shape: int) -> np.ndarray:
        x = rng.normal(size=shape).astype(np.float32)
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    rows, views = unit(57, 8), unit(9, 2, 8)
    pdq, forms = (rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((57, 32), (9, 8, 32)))
    usable = rng.random(57) < 0.8
    queries = Prints(list("abcdefghi"), np.zeros((9, 32), np.uint8), views, forms, np.arange(9) != 4)
    blocks = [
        Block(s, rows[s : s + 10], pdq[s : s + 10], usable[s : s + 10], pdq[s : s + 10]) for s in range(0, 57, 10)
    ]
    found = search(queries, blocks, k=3)

    cosines = np.maximum(views[:, 0] @ rows.T, views[:, 1] @ rows.T)
    assert (found.position == np.argsort(-cosines, axis=1)[:, :3]).all()
    assert (found.mirrored == ((views[:, 1] @ rows.T).max(axis=1) > (views[:, 0] @ rows.T).max(axis=1))).all()
    bits = np.unpackbits(forms[:, :, None] ^ pdq[None, None, usable], axis=-1).sum(axis=-1)
    expected = bits.min(axis=(1, 2)).astype(int)
    expected[4] = FARTHEST  # too flat for PDQ
    assert (found.bits == expected).all()
    assert found.size == 57


def test_an_index_is_read_back_as_it_was_written(index: Index, encoder: Any) -> None:
    blocks = list(load(index.folder).blocks())
    prints = take([scene(seed) for seed in range(30)], [str(seed) for seed in range(30)], encoder)
    assert len(load(index.folder)) == 30
    assert np.abs(np.concatenate([b.embeddings for b in blocks]) - prints.embeddings[:, 0]).max() < 1e-3
    assert (np.concatenate([b.pdq for b in blocks]) == prints.pdq[:, 0]).all()
    assert index.names([0, 29]) == {0: "0.png", 29: "29.png"}


def test_an_index_holds_no_picture(index: Index) -> None:
    assert pq.read_schema(index.folder / FILE).names == ["name", "pixels", "pdq", "usable", "embedding"]


def test_a_damaged_index_is_one_clear_error(index: Index) -> None:
    data = (index.folder / FILE).read_bytes()
    (index.folder / FILE).write_bytes(data[: len(data) // 2])
    with pytest.raises(DetectorError, match="damaged"):
        load(index.folder)


def test_no_pictures_make_no_index(tmp_path: Path, encoder: Any) -> None:
    with pytest.raises(DetectorError, match="no images"):
        build([], tmp_path / "none", encoder=encoder)
    assert not list((tmp_path / "none").iterdir())


def test_another_encoder_is_refused(index: Index, tmp_path: Path) -> None:
    other = load_encoder(str(save_tiny(tmp_path / "other", seed=1)[0]), device="cpu")
    with pytest.raises(DetectorError, match="another encoder"):
        find(pictures(range(1)), index, encoder=other, calibration=None)


# Calibration and verdicts


def test_an_untouched_copy_is_found_and_a_mirrored_one_too(calibrated: Calibration) -> None:
    found = calibrated.found(0.1).set_index("change")
    assert found.loc["No attack", "found"] == found.loc["Mirrored", "found"] == 1
    assert found.loc["No attack", "right"] == 1


def test_unrelated_pictures_are_called_copies_no_more_often_than_stated(calibrated: Calibration) -> None:
    at = calibrated.thresholds(0.1)
    called = (calibrated.cosine > at.cosine.threshold) | (-calibrated.bits > at.bits.threshold)
    assert called.mean() <= 0.1
    assert at.low < at.expected <= 0.1 <= at.high


def test_a_verdict_is_copy_just_where_the_thresholds_are_passed() -> None:
    rng = np.random.default_rng(0)
    nothing = Copies([], np.zeros((0, 0)), np.zeros((0, 0), int), np.zeros((0, 0), bool))
    made = Calibration("i", "s", 1000, rng.random(300), rng.integers(0, 257, 300), nothing)
    cosine, bits = rng.random(500), rng.integers(0, 257, 500)
    for size in (500, 1000):
        at = made.thresholds(0.05, size=size)
        passed = (cosine > at.cosine.threshold) | (-bits > at.bits.threshold)
        assert ((made.p_values(cosine, bits, size=size) <= 0.05 + 1e-12) == passed).all()


def test_a_threshold_rises_with_the_size_of_the_search_until_the_data_cannot_support_it() -> None:
    nothing = Copies([], np.zeros((0, 0)), np.zeros((0, 0), int), np.zeros((0, 0), bool))
    made = Calibration("i", "s", 100, np.linspace(0, 1, 399), np.arange(399) % 257, nothing)
    small, large = made.thresholds(0.05, size=100), made.thresholds(0.05, size=800)
    assert small.cosine.threshold < large.cosine.threshold
    assert made.thresholds(0.05, size=10_000).status == "insufficient"


def test_too_few_held_out_pictures_call_nothing_a_copy_but_the_very_same_pixels(
    calibrated: Calibration, index: Index, encoder: Any
) -> None:
    asked = [*pictures(range(1)), *pictures(range(200, 203))]
    found = find(asked, index, encoder=encoder, calibration=calibrated, rate=0.01)
    assert found.status == "insufficient"
    assert found.table["verdict"].to_list() == ["copy", *["insufficient"] * 3]
    assert np.isnan(found.expected_false).all()


def test_an_uncalibrated_index_tells_the_nearest_and_no_verdict(index: Index, encoder: Any) -> None:
    found = find(pictures(range(200, 203)), index, encoder=encoder, calibration=None)
    assert set(found.table["verdict"]) == {"uncalibrated"}
    assert found.table["p"].isna().all()
    assert (found.table["nearest"] != "").all()


def test_expected_false_matches_are_the_rate_times_the_images(
    calibrated: Calibration, index: Index, encoder: Any
) -> None:
    found = find(pictures(range(200, 220)), index, encoder=encoder, calibration=calibrated, rate=0.1)
    assert found.expected_false[0] == pytest.approx(20 * calibrated.thresholds(0.1).expected)


def test_a_calibration_is_read_back_and_belongs_to_its_index(calibrated: Calibration, index: Index) -> None:
    calibrated.save(index.folder)
    again = calibrations.load(index.folder, index=index.about.id)
    assert again is not None
    assert again.thresholds(0.1).as_dict() == calibrated.thresholds(0.1).as_dict()
    with pytest.raises(DetectorError, match="another index"):
        calibrations.load(index.folder, index="0" * 64)


def test_a_held_out_picture_that_was_trained_on_is_refused(index: Index, encoder: Any) -> None:
    with pytest.raises(DetectorError, match="are training images, pixel for pixel"):
        calibrate(index, pictures(range(25, 60)), encoder=encoder, original=original, copies=2)


def test_a_held_out_picture_that_comes_twice_is_refused(index: Index, encoder: Any) -> None:
    with pytest.raises(DetectorError, match="come twice"):
        calibrate(index, [*pictures(range(100, 110))] * 2, encoder=encoder, original=original, copies=2)


def test_a_training_picture_that_changed_since_is_refused(index: Index, encoder: Any) -> None:
    with pytest.raises(DetectorError, match="no longer the one"):
        calibrate(index, pictures(range(100, 110)), encoder=encoder, original=lambda name: scene(999), copies=2)


# Protected works


def test_a_registered_work_is_recognised_and_its_owner_named(tmp_path: Path, encoder: Any) -> None:
    registry = Registry(tmp_path / "works.sqlite")
    registry.add(pictures(range(3)), encoder=encoder, owner="A. Painter", licence="all rights reserved")
    registry.add_unrelated(pictures(range(100, 140)), encoder=encoder)
    found = registry.check([*pictures(range(1, 2)), *pictures(range(200, 210))], encoder=encoder, rate=0.1)
    first = found.table.iloc[0]
    assert (first["verdict"], first["nearest"], first["owner"]) == ("near match", "1.png", "A. Painter")
    assert found.expected_false[0] == pytest.approx(11 * found.thresholds.expected)  # type: ignore[union-attr]
    assert set(found.table["verdict"]) <= {"near match", "possible match", "no match"}


def test_a_registry_keeps_no_picture_and_only_its_owner_reads_it(tmp_path: Path, encoder: Any) -> None:
    registry = Registry(tmp_path / "works.sqlite")
    registry.add(pictures(range(1)), encoder=encoder, owner="me")
    assert registry.path.stat().st_mode & 0o777 == 0o600
    assert np.asarray(scene(0)).tobytes()[:64] not in registry.path.read_bytes()


def test_an_uncalibrated_registry_says_so(tmp_path: Path, encoder: Any) -> None:
    registry = Registry(tmp_path / "works.sqlite")
    registry.add(pictures(range(2)), encoder=encoder, owner="me")
    assert set(registry.check(pictures(range(200, 202)), encoder=encoder).table["verdict"]) == {"uncalibrated"}


def test_a_work_is_registered_once_and_forgotten_on_request(tmp_path: Path, encoder: Any) -> None:
    registry = Registry(tmp_path / "works.sqlite")
    assert registry.add(pictures(range(2)), encoder=encoder, owner="me").added == [1, 2]
    assert registry.add(pictures(range(2)), encoder=encoder, owner="me").known == ["0.png", "1.png"]
    assert registry.remove([1]) == 1
    assert [work.id for work in registry.works()] == [2]
    with pytest.raises(DetectorError, match="there is no work 1"):
        registry.remove([1, 2])
    assert [work.id for work in registry.works()] == [2]


def test_a_work_cannot_stand_among_the_unrelated_pictures(tmp_path: Path, encoder: Any) -> None:
    registry = Registry(tmp_path / "works.sqlite")
    registry.add(pictures(range(2)), encoder=encoder, owner="me")
    with pytest.raises(DetectorError, match="is a registered work"):
        registry.add_unrelated(pictures(range(1, 5)), encoder=encoder)
    assert registry.unrelated() == 0


def test_a_file_that_is_no_registry_is_refused(tmp_path: Path) -> None:
    (tmp_path / "works.sqlite").write_bytes(b"something else" * 100)
    with pytest.raises(DetectorError, match="no registry"):
        Registry(tmp_path / "works.sqlite").works()


def test_a_check_without_works_says_how_to_add_some(tmp_path: Path, encoder: Any) -> None:
    with pytest.raises(DetectorError, match="no works") as caught:
        Registry(tmp_path / "works.sqlite").check(pictures(range(1)), encoder=encoder)
    assert "auditkit protected add" in str(caught.value.mend)


# Command line


def invoke(*arguments: Any) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_commands_index_calibrate_find_and_draw_a_sheet(tmp_path: Path, encoder: Any) -> None:
    for folder, seeds in (("train", range(12)), ("held", range(100, 145)), ("made", [3, 300])):
        (tmp_path / folder).mkdir()
        for seed in seeds:
            scene(seed).save(tmp_path / folder / f"{seed}.png")
    index, sheet = tmp_path / "index", tmp_path / "sheet.html"
    made = invoke("copies", "index", tmp_path / "train", "--out", index, "--encoder", encoder.folder)
    assert made["images"] == 12
    told = invoke(
        "copies", "calibrate", index, "--held-out", tmp_path / "held", "--copies", 3, "--change", "jpeg:75",
        "--rate", 0.1,
    )  # fmt: skip
    assert told["thresholds"]["status"] == "ok"
    found = invoke("copies", "find", tmp_path / "made", "--index", index, "--rate", 0.1, "--sheet", sheet)
    rows = {row["image"]: row for row in found["rows"]}
    assert (rows["3.png"]["verdict"], rows["3.png"]["same_pixels"]) == ("copy", "3.png")
    assert sheet.read_text().count("data:image/webp") == 4
    shown = CliRunner().invoke(app, ["copies", "find", str(tmp_path / "made"), "--index", str(index), "--rate", "0.1"])
    assert shown.exit_code == 0
    assert "false matches would be expected" in shown.stdout


def test_the_commands_of_protected_works(tmp_path: Path, encoder: Any) -> None:
    (tmp_path / "works").mkdir()
    scene(1).save(tmp_path / "works" / "1.png")
    registry = ("--registry", tmp_path / "works.sqlite")
    added = invoke("protected", "add", tmp_path / "works", "--owner", "me", "--encoder", encoder.folder, *registry)
    assert added == {"added": [1], "known": []}
    assert invoke("protected", "list", *registry)["works"][0]["owner"] == "me"
    checked = invoke("protected", "check", tmp_path / "works", *registry)
    assert checked["rows"][0]["verdict"] == "near match"
    assert invoke("protected", "remove", 1, *registry) == {"removed": 1}


def test_a_missing_index_exits_with_one_error(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["copies", "find", str(tmp_path), "--index", str(tmp_path), "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["error"] == "DetectorError"
