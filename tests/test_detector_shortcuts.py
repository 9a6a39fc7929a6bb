from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from app.cli import app
from detectors.reading import read_examples
from detectors.shortcut_features import KINDS, Features, extract
from detectors.shortcuts import Audit, audit, judge
from tests.detector_data_helpers import noise, write

SIDE = 96


def audited(folder: Path, real: dict[str, object], generated: dict[str, object], *, each: int = 40) -> Audit:
    """The audit of `each` images a side; the two sides differ in what is named: a suffix, options of saving, a side."""
    for label, part, start in (("real/x", real, 0), ("generated/g", generated, 1000)):
        side, suffix = int(str(part.get("side", SIDE))), str(part.get("suffix", ".jpg"))
        options = {key: value for key, value in part.items() if key not in ("side", "suffix", "make")}
        for number in range(each):
            image = noise(start + number, SIDE, blocks=6)
            make = part.get("make")
            image = make(image) if callable(make) else image[:side, :side]
            write(folder / label / f"{number}{suffix}", image, **{"quality": 90, **options})
    return audit(read_examples(folder), seed=0)


def software(name: str) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0131] = name
    return exif


def enlarged(image: np.ndarray) -> np.ndarray:
    small = Image.fromarray(image[:74, :74])
    return np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def was_jpeg(image: np.ndarray) -> np.ndarray:
    import io

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=40)
    return np.asarray(Image.open(buffer))


def test_clean_data_give_no_sign_of_any_shortcut(tmp_path: Path) -> None:
    found = audited(tmp_path, {}, {})
    assert [each.verdict for each in found.shortcuts] == ["no sign"] * 6
    assert [each.kind for each in found.shortcuts] == list(KINDS)
    assert not found.aligned


@pytest.mark.parametrize(
    ("kind", "real", "generated"),
    [
        ("format", {"suffix": ".webp", "lossless": True}, {"suffix": ".png"}),
        ("quantisation", {"quality": 90}, {"quality": 80}),
        ("quantisation", {"suffix": ".png", "make": was_jpeg}, {"suffix": ".png"}),
        ("size", {"side": 96}, {"side": 88}),
        ("resampling", {}, {"make": enlarged}),
        ("content", {"make": lambda image: image // 2}, {}),
        ("metadata", {}, {"exif": software("Editor")}),
    ],
    ids=["format", "tables", "an earlier JPEG", "size", "resampling", "content", "metadata"],
)
def test_a_planted_shortcut_is_warned_of_under_its_name(
    tmp_path: Path, kind: str, real: dict[str, object], generated: dict[str, object]
) -> None:
    found = audited(tmp_path, real, generated)
    shortcut = next(each for each in found.shortcuts if each.kind == kind)
    assert shortcut.verdict == "warning"
    assert shortcut.p_holm <= found.alpha
    assert shortcut.ci_low > 0.5
    assert shortcut.meaning


def test_a_tag_warns_of_metadata_and_of_nothing_that_it_does_not_touch(tmp_path: Path) -> None:
    found = audited(tmp_path, {}, {"exif": software("Editor")})
    assert not {"format", "quantisation", "resampling", "content"} & set(found.warnings)


def test_too_few_sources_are_insufficient_and_have_no_numbers(tmp_path: Path) -> None:
    found = audited(tmp_path, {}, {"suffix": ".png"}, each=10)
    assert {each.verdict for each in found.shortcuts} == {"insufficient"}
    assert all(np.isnan([each.auroc, each.p_value, each.p_holm]).all() for each in found.shortcuts)
    assert "a class has 10 sources, and 20 are needed" in found.shortcuts[0].meaning


def test_images_of_one_source_do_not_count_as_many(tmp_path: Path) -> None:
    for number in range(80):
        label = "real/x" if number < 40 else "generated/g"
        write(tmp_path / label / f"{number}.png", noise(number % 40 // 20))
    found = read_examples(tmp_path)
    found.table["source"] = [f"{label}{number // 20}" for number, label in enumerate(found.table["label"])]
    assert {each.verdict for each in audit(found, seed=0).shortcuts} == {"insufficient"}


def aligned(folder: Path, change: object) -> Audit:
    """The audit of 40 pairs, the generated member of which is `change` of the real one."""
    for number in range(40):
        image = noise(number, SIDE, blocks=6)
        write(folder / f"real/x/{number}.png", image)
        write(folder / f"generated/g/{number}.png", change(image))  # type: ignore[operator]
    data = read_examples(folder)
    data.table["source"] = [Path(file).stem for file in data.table["file"]]
    return audit(data, seed=0)


def smoothed(image: np.ndarray) -> np.ndarray:
    padded = np.pad(image.astype(float), ((1, 1), (1, 1), (0, 0)), mode="edge")
    return ((padded[:-2, 1:-1] + padded[2:, 1:-1] + 2.0 * image) / 4).round().astype(np.uint8)


def test_aligned_pairs_are_at_chance_in_content_and_not_judged_by_what_the_autoencoder_leaves(tmp_path: Path) -> None:
    found = aligned(tmp_path, smoothed)
    verdict = {each.kind: each for each in found.shortcuts}
    assert found.aligned
    assert verdict["content"].verdict == "no sign"
    assert abs(verdict["content"].auroc - 0.5) < 0.1
    assert verdict["size"].verdict == "no sign"
    assert verdict["size"].parts["bytes"] > 0.7
    assert verdict["resampling"].verdict == "not judged"


def test_a_colour_shift_in_aligned_pairs_is_warned_of_as_content(tmp_path: Path) -> None:
    found = aligned(tmp_path, lambda image: (image.astype(float) * 0.7).astype(np.uint8))
    content = next(each for each in found.shortcuts if each.kind == "content")
    assert content.verdict == "warning"
    assert "the autoencoder shifts them" in content.meaning


def test_pairs_encoded_unlike_are_not_taken_for_aligned(tmp_path: Path) -> None:
    for number in range(20):
        write(tmp_path / f"real/x/{number}.jpg", noise(number))
        write(tmp_path / f"generated/g/{number}.png", noise(number))
    data = read_examples(tmp_path)
    data.table["source"] = [Path(file).stem for file in data.table["file"]]
    assert not audit(data, seed=0).aligned


def random_features(n: int, seed: int) -> Features:
    rng = np.random.default_rng(seed)
    parts = [("format", "file", 3), ("quantisation", "header", 5), ("quantisation", "history", 6), ("size", "bytes", 2)]
    parts += [("resampling", "grid", 4), ("content", "thumbnail", 12), ("metadata", "file", 2)]
    return {(kind, part): rng.normal(size=(n, d)) for kind, part, d in parts}


def test_p_values_without_any_shortcut_are_uniform() -> None:
    n = 80
    labels, sources = np.arange(n) % 2, np.array([f"s{number}" for number in range(n)], object)
    p_values = [
        each.p_value
        for seed in range(25)
        for each in judge(
            random_features(n, seed), labels, sources, aligned=False, seed=seed, permutations=599, intervals=False
        ).shortcuts
    ]
    from scipy.stats import kstest

    assert kstest(p_values, "uniform").pvalue > 0.001
    assert np.mean(np.array(p_values) <= 0.1) < 0.2


def test_the_same_data_and_seed_give_the_same_audit() -> None:
    n = 60
    labels, sources = np.arange(n) % 2, np.array([f"s{number}" for number in range(n)], object)
    one, again = (
        judge(random_features(n, 0), labels, sources, aligned=False, seed=3, intervals=False).table for _ in range(2)
    )
    assert one.equals(again)


def test_too_few_permutations_to_ever_warn_are_refused() -> None:
    with pytest.raises(ValueError, match="100 permutations cannot reach"):
        judge({}, np.zeros(0), np.zeros(0, object), aligned=False, seed=0, permutations=100)


def test_features_use_no_label(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"real/x/{number}.png", noise(number))
        write(tmp_path / f"generated/g/{number}.png", noise(10 + number))
    data = read_examples(tmp_path)
    before = extract(data)
    data.table["label"] = data.table["label"].iloc[::-1].to_numpy()
    assert all((before[key] == x).all() for key, x in extract(data).items())


def test_tiny_images_have_features_too(tmp_path: Path) -> None:
    for side in (1, 7, 9, 33):
        write(tmp_path / f"real/x/{side}.png", noise(side, side))
    assert all(np.isfinite(x).all() for x in extract(read_examples(tmp_path, both=False)).values())


def test_the_command_answers_a_row_a_kind_as_json(tmp_path: Path) -> None:
    audited(tmp_path, {"quality": 90}, {"quality": 70}, each=24)
    answer = json.loads(CliRunner().invoke(app, ["detector", "shortcuts", str(tmp_path), "--json"]).stdout)
    assert [each["kind"] for each in answer["shortcuts"]] == list(KINDS)
    assert "quantisation" in answer["warnings"]
    assert (answer["n_real"], answer["n_generated"]) == (24, 24)


def test_the_table_names_every_kind_and_says_what_a_warning_means(tmp_path: Path) -> None:
    audited(tmp_path, {}, {"exif": software("Editor")}, each=24)
    result = CliRunner().invoke(app, ["detector", "shortcuts", str(tmp_path)])
    assert result.exit_code == 0
    assert all(kind in result.stdout for kind in KINDS)
    assert "remove them" in result.stderr


def test_one_class_alone_is_one_clear_error_and_no_traceback(tmp_path: Path) -> None:
    write(tmp_path / "real/x/a.png", noise(1))
    result = CliRunner().invoke(app, ["detector", "shortcuts", str(tmp_path)])
    assert result.exit_code == 1
    assert "there are no generated images" in result.stderr
    assert "Traceback" not in result.stderr
