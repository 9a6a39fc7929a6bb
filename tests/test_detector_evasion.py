"""What attacks do to a detector as a whole: the suite's rows, laundering, regeneration, the cost of evasion."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from attack_helpers import data, network, scores
from PIL import Image

from auditkit.errors import DetectorError
from auditkit.watermark.attacks.valuemetric import jpeg
from detectors.attacks.distortion import distortion
from detectors.attacks.evasion import cost_of_evasion, kaplan_meier_median
from detectors.attacks.laundering import launder, laundering
from detectors.attacks.regeneration import false_accusations, regenerated
from detectors.attacks.suite import Digital, Remade, attack

N = 12


def brightness(images: Sequence[np.ndarray]) -> np.ndarray:
    """A detector whose every answer is known beforehand: the mean grey level less 100."""
    return np.array([image.mean() - 100 for image in images], np.float64)


def brightness_of(x: Any) -> Any:
    return x.flatten(1).mean(1) * 255 - 100


def flat(*levels: int, side: int = 8) -> list[np.ndarray]:
    return [np.full((side, side, 3), level, np.uint8) for level in levels]


def sources(n: int) -> np.ndarray:
    return np.array([f"source {k}" for k in range(n)])


def suite(attacks: Sequence[Any], images: Sequence[np.ndarray], labels: Sequence[int], **options: Any) -> list[Any]:
    given = {"scores": brightness, "score": brightness_of, "threshold": 0.0, **options}
    return attack(attacks, images, labels, sources(len(images)), **given)


def test_both_directions_are_attacked_and_counted():
    images = [*flat(*range(88, 100)), *flat(*range(101, 113))]
    evasion, framing = suite([Digital("pgd", eps=4.4 / 255)], images, [0] * N + [1] * N)
    assert (evasion.direction, framing.direction) == ("evasion", "framing")
    # At 104 the change of four grey levels that survives saving leaves an image at the threshold: called generated.
    assert (evasion.fooled, framing.fooled) == pytest.approx((3 / N, 4 / N))
    assert evasion.fooled_unsaved == pytest.approx(4 / N)
    assert evasion.low < evasion.fooled < evasion.high
    assert (evasion.called_before, framing.called_before) == (1, 0)
    assert evasion.auroc_before == 1
    assert evasion.auroc_after < 1
    assert evasion.linf == framing.linf == 4
    assert evasion.psnr == pytest.approx(20 * math.log10(255 / 4), abs=0.01)


def test_images_judged_wrongly_before_are_not_counted_as_fooled():
    images = [*flat(*[50] * 5, *[150] * 10), *flat(*[150] * N)]
    (framing,) = suite([Digital("pgd")], images, [0] * 15 + [1] * N, directions=["framing"])
    assert framing.n_images == 15
    assert framing.n_right == 5
    assert framing.status == "insufficient"  # five sources carry no interval
    assert math.isnan(framing.fooled)


def test_with_one_class_there_is_one_direction_and_no_auroc():
    (evasion,) = suite([Digital("pgd")], flat(*[120] * N), [1] * N)
    assert evasion.direction == "evasion"
    assert math.isnan(evasion.auroc_before)


def test_images_of_many_sizes_are_attacked_and_come_back_in_order():
    images = [*flat(110, 111, side=8), *flat(112, side=12), *flat(113, side=8)]
    (evasion,) = suite([Digital("pgd", eps=1 / 255, steps=3)], images, [1] * 4)
    assert [image.shape for image in evasion.images] == [image.shape for image in images]
    assert [int(image.mean().round()) for image in evasion.images] == [109, 110, 111, 112]


def test_a_detector_without_gradients_is_attacked_by_scores_alone():
    images = flat(*[101] * N)
    (found,) = suite([Digital("square", eps=4 / 255, queries=20)], images, [1] * N, score=None)
    assert found.fooled == 1
    with pytest.raises(DetectorError, match="gradients do not go through"):
        suite([Digital("pgd")], images, [1] * N, score=None)


def test_an_image_that_cannot_be_scored_is_in_no_row():
    def picky(images: Sequence[np.ndarray]) -> np.ndarray:
        return np.where([image.shape[0] > 8 for image in images], brightness(images), np.nan)

    images = [*flat(*[110] * 3), *flat(*[110] * N, side=9)]
    (found,) = suite([Digital("pgd", steps=2)], images, [1] * (N + 3), scores=picky)
    assert found.n_images == N
    with pytest.raises(DetectorError, match="can score none"):
        suite([Digital("pgd")], flat(110), [1], scores=picky)


def test_no_image_of_the_class_that_is_attacked_is_an_error():
    with pytest.raises(DetectorError, match="no image to attack"):
        suite([Digital("pgd")], flat(110), [1], directions=["framing"])


@pytest.mark.parametrize("wrong", [{"method": "cw"}, {"method": "pgd", "steps": 0}, {"method": "square", "queries": 0}])
def test_an_attack_that_cannot_be_is_refused(wrong: dict[str, Any]):
    with pytest.raises(DetectorError):
        Digital(**wrong)


def test_laundering_is_what_the_steps_say_and_depends_on_the_image_alone():
    images, _, _ = data(2)
    (step,) = laundering(["jpeg:50"])
    assert np.array_equal(launder(images, step)[1], jpeg(images[1], 50, np.random.default_rng(0)))
    (noise,) = laundering(["noise:5"])
    together, alone = launder(images, noise, seed=3), launder(images[2:3], noise, seed=3)
    assert np.array_equal(together[2], alone[0])
    assert not np.array_equal(launder(images[2:3], noise, seed=4)[0], alone[0])


def test_laundering_that_is_not_there_is_refused_with_its_near_match():
    with pytest.raises(DetectorError, match="did you mean jpeg"):
        laundering(["jpg:50"])


def test_laundering_and_regeneration_stand_in_the_same_table():
    images = flat(*[101] * N)
    darker = Remade("a model", lambda image: image - np.uint8(5))
    rows = suite([*laundering(["brightness:0.5", "downscale:0.5"]), darker], images, [1] * N)
    assert [(row.attack, row.budget, row.fooled) for row in rows] == [
        ("Brightness", "times 0.5", 1), ("Left smaller", "scale 0.5", 0), ("a model", "once", 1),
    ]  # fmt: skip
    assert math.isnan(rows[1].psnr)
    assert math.isnan(rows[2].fooled_unsaved)


def test_a_model_that_gives_no_image_of_the_same_size_is_refused():
    with pytest.raises(DetectorError, match="the model made float32"):
        regenerated(flat(100), lambda image: image.astype(np.float32))
    with pytest.raises(DetectorError, match="the model made uint8"):
        regenerated(flat(100), lambda image: image[1:])


def test_false_accusations_are_counted_among_real_images_with_an_interval_by_source():
    reals = flat(*[50] * 9, *[98] * 3)
    found = false_accusations(
        brightness, reals, sources(N), lambda image: image + np.uint8(4), threshold=0.0, model="brighter"
    )
    assert (found.rate_before, found.rate) == (0, 0.25)
    assert found.low < 0.25 < found.high
    assert (found.n_images, found.n_sources, found.status) == (N, N, "ok")


def test_false_accusations_of_few_sources_are_no_number():
    found = false_accusations(brightness, flat(*[50] * N), ["one"] * N, np.copy, threshold=0.0, model="copy")
    assert found.status == "insufficient"
    assert math.isnan(found.rate)
    with pytest.raises(DetectorError, match="no real image"):
        false_accusations(brightness, [], [], np.copy, threshold=0.0, model="copy")


def test_the_cost_of_evasion_is_the_least_whole_grey_level_that_crosses_the_threshold():
    # An image at 100 + k grey levels is called generated until it has lost k + 1 of them.
    found = cost_of_evasion(brightness_of, flat(*range(100, 100 + N)), sources(N), threshold=0.0, steps=3)
    assert found.images["linf"].tolist() == [k + 1 for k in range(N)]
    linf = found.costs[0]
    assert (linf.measure, linf.median, linf.fooled, linf.status) == ("linf", 6, N, "ok")
    assert linf.low < 6 < linf.high
    psnr = next(cost for cost in found.costs if cost.measure == "psnr")
    assert psnr.median == pytest.approx(20 * math.log10(255 / 6), abs=0.01)
    assert psnr.low < psnr.median < psnr.high


def test_framing_costs_what_brings_a_real_image_up_to_the_threshold():
    found = cost_of_evasion(
        brightness_of, flat(*range(99, 99 - N, -1)), sources(N), direction="framing", threshold=0.0, steps=3
    )
    assert found.images["linf"].tolist() == [k + 1 for k in range(N)]


def test_images_that_resist_are_censored_at_the_budget():
    images = flat(*[101] * 8, *[200] * 4)
    found = cost_of_evasion(brightness_of, images, sources(N), threshold=0.0, most=4 / 255, steps=3)
    assert found.costs[0].fooled == 8
    assert found.costs[0].median == 2
    assert found.images["linf"].tolist() == [2] * 8 + [4] * 4


def test_a_median_beyond_the_budget_is_said_to_be_not_reached():
    found = cost_of_evasion(brightness_of, flat(*[200] * N), sources(N), threshold=0.0, most=2 / 255, steps=2)
    linf = found.costs[0]
    assert (linf.status, linf.median, linf.low, linf.high) == ("not reached", math.inf, 2, math.inf)


def test_images_that_are_wrong_already_cost_nothing_and_are_counted_apart():
    found = cost_of_evasion(brightness_of, flat(*[50] * 3, *[103] * N), sources(N + 3), threshold=0.0, steps=2)
    assert found.wrong_already == 3
    assert found.costs[0].n_images == N
    assert found.costs[0].median == 4


def test_the_cost_of_few_sources_is_no_number():
    found = cost_of_evasion(brightness_of, flat(101, 102), sources(2), threshold=0.0, steps=2)
    assert {cost.status for cost in found.costs} == {"insufficient"}
    assert math.isnan(found.costs[0].median)


def test_in_l2_the_cost_grows_with_the_distance_from_the_threshold():
    found = cost_of_evasion(
        brightness_of, flat(*range(101, 101 + N)), sources(N), threshold=0.0, norm="l2", most=1.0, steps=4
    )
    assert found.images["fooled"].all()
    assert found.images["l2"].is_monotonic_increasing
    # All 192 values down by 2 grey levels is the least that lowers a flat image at 101 under 100 after saving.
    assert 1 / 255 * math.sqrt(192) < found.images["l2"][0] <= 2 / 255 * math.sqrt(192) + 1e-6


def test_a_budget_under_one_grey_level_is_refused():
    with pytest.raises(DetectorError, match="lost in saving"):
        cost_of_evasion(brightness_of, flat(101), sources(1), threshold=0.0, most=0.5 / 255)


def test_the_median_of_kaplan_and_meier_uses_what_censored_images_were_at_risk():
    # Worked by hand: S(2) = 4/5, S(4) = 4/5 x 2/3 = .53, S(5) = .53 x 1/2 = .27.
    values, reached = [2, 3, 4, 5, 6], [True, False, True, True, False]
    assert float(kaplan_meier_median(values, reached)) == 5
    assert float(kaplan_meier_median(values, [False] * 5)) == math.inf
    doubled = kaplan_meier_median(values, reached, np.array([[1, 1, 1, 1, 1], [8, 1, 1, 1, 1]]))
    assert doubled.tolist() == [5, 2]


def test_the_median_without_censoring_is_the_plain_one_and_ties_do_no_harm():
    rng = np.random.default_rng(0)
    for n in (5, 20, 21):
        values = rng.integers(0, 6, n)
        plain = np.sort(values)[math.ceil(n / 2) - 1]
        assert float(kaplan_meier_median(values, np.ones(n, bool))) == plain


def test_distortion_of_equal_images_is_none_and_of_other_sizes_untold():
    image = flat(100)[0]
    same = distortion(image, image)
    assert (same.linf, same.l2, same.psnr, same.ssim) == (0, 0, math.inf, 1)
    other = distortion(image, image[1:])
    assert all(math.isnan(value) for value in vars(other).values())


class Blind:
    """The CNN of the benchmark in the shape of a family that shows no gradients."""

    name, version, title, paper, min_side = "blind", 1, "", "", 8

    def scores(self, images: Sequence[np.ndarray]) -> np.ndarray:
        return scores(images)


class FakeFamily(Blind):
    name = "fake"

    def logits(self, images: Any) -> Any:
        return network()(images)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images, labels, _ = data(N)
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = tmp_path / "data" / ("generated/tiny" if label else "real/synthetic") / f"{row:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return tmp_path


class FakeDetector:
    """What the verb asks of a trained detector."""

    name, family = "fake", FakeFamily()

    def scores(self, images: Sequence[np.ndarray]) -> np.ndarray:
        return scores(images)

    def threshold(self, fpr: float | None = None) -> Any:
        if fpr not in (None, 0.01):
            raise DetectorError("no threshold was frozen at that rate", where=self.name)
        return SimpleNamespace(score=0.0, fpr=0.01)


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.trained.load", lambda name, device="auto": FakeDetector())


def command(*arguments: object, code: int = 0) -> Any:
    from typer.testing import CliRunner

    from app.cli import app

    done = CliRunner().invoke(app, ["detector", "attack", *(str(each) for each in arguments)])
    assert done.exit_code == code, done.output
    return done


@pytest.mark.usefixtures("detector")
def test_the_verb_shows_both_directions_the_cost_and_leaves_tables_and_a_sheet(folder: Path):
    out = folder / "out"
    told = command(
        folder / "data", "--detector", "fake", "--eps", "2/255", "--eps", "3/255", "--steps", 5, "--launder", "jpeg:75",
        "--autoencoder", "none", "--keep", "--out", out,
    ).stdout  # fmt: skip
    for said in ("linf 2/255, 5 steps", "linf 3/255, 5 steps", "quality 75", "evasion", "framing", "half at"):
        assert said in told
    report = json.loads((out / "report.json").read_text())
    assert len(report["attacks"]) == 6
    assert len(pd.read_csv(out / "attacks.csv")) == 6
    assert set(pd.read_csv(out / "evasion.csv")["measure"]) == {"linf", "l2", "psnr", "ssim"}
    assert Image.open(out / "sheet.png").height == 6 * 256
    assert len(list((out / "images").rglob("*.png"))) == 6 * N


@pytest.mark.usefixtures("detector")
def test_the_verb_launders_real_images_through_a_generators_autoencoder(folder: Path):
    from tiny_checkpoints import tiny_sd_checkpoint

    checkpoint = tiny_sd_checkpoint(folder / "checkpoint")
    answer = json.loads(
        command(
            folder / "data", "--detector", "fake", "--attack", "none", "--launder", "none", "--no-cost",
            "--autoencoder", f"path:{checkpoint}", "--regenerate", f"path:{checkpoint}", "--images", 10, "--device",
            "cpu", "--out", folder / "out", "--json",
        ).stdout
    )  # fmt: skip
    (accused,) = answer["false_accusations"]
    assert accused["n_images"] == 10
    assert 0 <= accused["low"] <= accused["rate"] <= accused["high"] <= 1
    remade = {row["attack"].rpartition(" ")[2] for row in answer["attacks"]}
    assert remade == {"autoencoder", "diffusion:0.05", "diffusion:0.1", "diffusion:0.2"}


@pytest.mark.usefixtures("detector")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--eps", "two"], "a budget is a number above 0"),
        (["--eps", "0/255"], "a budget is a number above 0"),
        (["--attack", "cw"], "there is no attack 'cw'"),
        (["--norm", "l1"], "linf or l2"),
        (["--direction", "both"], "evasion or a framing"),
        (["--launder", "jpg"], "there is no attack 'jpg'"),
        (["--fpr", "0.5"], "no threshold was frozen"),
    ],
)
def test_bad_options_get_one_error_and_write_nothing(folder: Path, options: list[str], said: str):
    done = command(folder / "data", "-d", "fake", "--out", folder / "out", *options, code=1)
    assert said in " ".join(done.output.split())
    assert "Traceback" not in done.output
    assert not (folder / "out").exists()


@pytest.mark.usefixtures("detector")
def test_a_family_without_gradients_is_sent_to_the_black_box(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(FakeDetector, "family", Blind())
    done = command(folder / "data", "-d", "fake", "--out", folder / "out", code=1)
    assert "--attack square" in " ".join(done.output.split())
    told = command(
        folder / "data", "-d", "fake", "--attack", "square", "--queries", 5, "--launder", "none", "--autoencoder",
        "none", "--out", folder / "out",
    ).stdout  # fmt: skip
    assert "5 queries" in told
    assert not (folder / "out" / "evasion.csv").exists()


@pytest.mark.usefixtures("detector")
def test_a_folder_that_holds_something_is_not_written_into(folder: Path):
    done = command(folder / "data", "-d", "fake", "--out", folder / "data", code=1)
    assert "holds something" in " ".join(done.output.split())


def test_images_are_drawn_over_sources_first(folder: Path):
    from app.detector_attacks import some_of
    from detectors.examples import COLUMNS, Examples

    rows = [("real", "a")] * 8 + [("real", "b"), ("real", "c")] + [("generated", "d")] * 2
    table = pd.DataFrame([dict.fromkeys(COLUMNS, "") | {"label": label, "source": source} for label, source in rows])
    kept = some_of(Examples(table), 3, seed=0)
    assert sorted(kept.table["source"]) == ["a", "b", "c", "d", "d"]
