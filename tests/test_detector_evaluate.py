"""`auditkit detector evaluate` and its Python verb, tables on disk, the page and the card."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from detector_eval_helpers import examples_of, make_data, make_evaluation
from typer.testing import CliRunner

from app.cli import app
from app.detector_evaluation import evaluate_detector
from auditkit.errors import DetectorError
from detectors import cards, evaluation, outcomes, robustness, trained_outcomes
from detectors.appearance import sight
from detectors.calibration import Calibration
from detectors.evaluation import Evaluation
from detectors.familiarity import Familiarity
from detectors.families.spectrum import Spectrum
from detectors.metrics import threshold_at
from reports import detector_page


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_evaluation(tmp_path_factory.mktemp("made") / "evaluation")


@pytest.fixture(scope="module")
def made(folder) -> Evaluation:
    return evaluation.read(folder)


@pytest.fixture(scope="module")
def data(folder) -> Path:
    return folder / "data"


def test_the_verb_writes_tables_page_and_card_and_answers_json(data, tmp_path) -> None:
    arguments = ["detector", "evaluate", str(data), "--family", "spectrum", "--leave-one-out", "--undegraded", "--json"]
    result = CliRunner().invoke(app, [*arguments, "--device", "cpu", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert {row["held_out"] for row in answer["results"]} >= {"alpha", "beta", "gamma", "camera", "scanner", "(mean)"}
    assert {row["measure"] for row in answer["alarms"]} >= {"false_alarms", "misses", "precision"}
    for name in ("results", "curves", "reliability", "alarms", "accusations", "laundered"):
        for ending in ("parquet", "csv", "json"):
            assert (tmp_path / "out" / f"{name}.{ending}").is_file()
    assert Path(answer["page"]).is_file()
    assert "Shortcut audit" in Path(answer["card"]).read_text("utf-8")


def test_without_json_people_get_the_tables(data, tmp_path) -> None:
    arguments = ["detector", "evaluate", str(data), "--family", "spectrum", "--leave-one-out", "--undegraded"]
    result = CliRunner().invoke(app, [*arguments, "--device", "cpu", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "Expected among 100,000 images of which 1% are generated" in result.stdout
    assert "300 are needed" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "either a trained detector or a family"),
        (["--family", "spectrum"], "a family is not trained yet"),
        (["--detector", "x", "--leave-one-out"], "cannot be left without"),
        (["--detector", "x", "--baselines"], "baselines and options are for families"),
        (["--family", "spectrum", "--leave-one-out", "--base-rate", "1"], "a base rate lies over 0 and under 1"),
        (["--family", "spectrum", "--leave-one-out", "--degradation", "jpg"], "no degradation 'jpg'"),
        (["--family", "spectrum", "--leave-one-out", "--option", "bins"], "an option of a family is name=value"),
        (["--family", "spectrum", "--leave-one-out", "--option", "depth=3"], "does not take these options"),
        (["--family", "spectrum", "--leave-one-out", "--autoencoder", "x"], "laundering is tried on a trained"),
    ],
)
def test_what_cannot_be_is_told_before_the_work(data, tmp_path, arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["detector", "evaluate", str(data), *arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert said in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()


def test_one_generator_and_one_origin_leave_nothing_out(tmp_path) -> None:
    examples = make_data(tmp_path / "data", each=3, reals=3)
    for gone in ("generated/beta", "generated/gamma", "real/scanner"):
        for file in (examples / gone).iterdir():
            file.unlink()
    with pytest.raises(DetectorError, match="none can be left out"):
        evaluate_detector(examples, family="spectrum", out=tmp_path / "out", device="cpu")


def test_an_evaluation_is_read_as_it_was_written(folder, made, tmp_path) -> None:
    evaluation.write(tmp_path, made)
    again = evaluation.read(tmp_path)
    assert again.record == made.record
    pd.testing.assert_frame_equal(again.results, made.results)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop(columns="ci_low"), "no column 'ci_low'"),
        (lambda t: t.assign(estimate="high"), "text where numbers belong"),
        (lambda t: t.assign(status="fine"), "impossible status"),
        (lambda t: t.assign(status="insufficient"), "too little to go by"),
    ],
)
def test_impossible_tables_are_refused(made, tmp_path, change, said) -> None:
    evaluation.write(tmp_path, made)
    change(made.results).to_parquet(tmp_path / "results.parquet")
    with pytest.raises(DetectorError, match=said):
        evaluation.read(tmp_path)


def test_a_folder_without_a_record_is_no_evaluation(tmp_path) -> None:
    with pytest.raises(DetectorError, match="no evaluation of a detector here"):
        evaluation.read(tmp_path)


def test_the_page_has_every_chapter_an_alt_text_for_each_chart_and_a_table_behind_it(folder) -> None:
    text = (folder / "index.html").read_text("utf-8")
    for title in (
        "On what it has not seen", "At low false positive rates", "After everyday changes",
        "What a probability is worth", "At your own volume", "Real images called generated",
    ):  # fmt: skip
        assert f"<h2>{title}</h2>" in text
    images = re.findall(r"<img [^>]*>", text)
    assert len(images) >= 6
    assert all(len(re.search(r'alt="([^"]*)"', image)[1]) > 40 for image in images)
    for section in re.findall(r"<section.*?</section>", text, flags=re.DOTALL):
        assert "<table" in section
    assert "http://" not in re.sub(r"http://www\.w3\.org\S*", "", text)


@pytest.mark.parametrize(("better", "said"), [(0.03, "Not all intervals lie apart"), (0.1, "The intervals lie apart")])
def test_a_baseline_that_lies_higher_is_named_and_whether_the_intervals_lie_apart(made, better, said) -> None:
    numbers = ["estimate", "ci_low", "ci_high"]
    other = made.results.assign(detector="npr", **{name: made.results[name] + better for name in numbers})
    left = other[other["left"] == "generator"]
    both = replace(made, results=pd.concat([made.results, left], ignore_index=True))
    lead = " ".join(detector_page.chapters(both)[0].lead)
    assert "Higher on the same images: npr" in lead
    assert said in lead
    assert "Higher" not in " ".join(detector_page.chapters(made)[0].lead)


def test_a_strangers_name_stays_text_on_page_and_card(made, tmp_path) -> None:
    bad = "<script>alert(1)</script>|x"
    tables = {
        name: getattr(made, name).replace({"alpha": bad}) for name in ("results", "curves", "reliability", "alarms")
    }
    strange = replace(made, record=made.record | {"generators": {bad: 3}}, **tables)
    evaluation.write(tmp_path, strange)
    page = detector_page.write_page(tmp_path).read_text("utf-8")
    card = cards.markdown(cards.facts_of(strange))
    assert "<script>" not in page
    assert "<script>" not in card
    assert "|x" not in card.replace("\\|x", "")


def test_the_card_says_the_worst_and_what_was_not_measured(made) -> None:
    text = cards.markdown(cards.facts_of(made))
    worst = outcomes.worst(made.results).set_index("left").loc["generator"]
    assert f"Lowest AUROC: {worst['estimate']:.3f}" in text
    assert str(worst["held_out"]) in text
    for heading in cards.SECTIONS.values():
        assert f"## {heading}\n" in text
    assert "Not measured." in cards.markdown({"name": "x"})


def test_a_card_takes_no_fact_without_a_place(tmp_path) -> None:
    with pytest.raises(DetectorError, match="no section 'colour'"):
        cards.write_card(tmp_path, {"name": "x", "colour": "red"})
    with pytest.raises(DetectorError, match="needs the detector's name"):
        cards.write_card(tmp_path, {"what": "y"})
    assert not list(tmp_path.iterdir())


def trained(data: Path) -> SimpleNamespace:
    """What an evaluation needs of a trained detector, from half of the images."""
    examples = examples_of(data)
    half = np.arange(len(examples)) % 2 == 0
    train, rest = examples.where(half), examples.where(~half)
    family = Spectrum()
    family.fit(train, seed=0, device="cpu")
    features = [sight(family, list(part.images())) for part in (train, rest)]
    scores = family.scores(list(rest.images()))
    at = SimpleNamespace(score=threshold_at(scores[rest.labels == 0], 0.01), fpr=0.01)
    return SimpleNamespace(
        name="mine", family=family, scores=family.scores, threshold=lambda fpr=None: at, limit=0.99,
        calibration=Calibration.fit(scores, rest.labels, rest.sources), familiarity=Familiarity.fit(*features),
    )  # fmt: skip


def test_a_trained_detector_is_tested_by_generator_and_by_origin(data) -> None:
    examples = examples_of(data)
    found = trained_outcomes.outcomes_of(trained(data), examples, steps=robustness.steps(["blur:1"]))
    assert [(one.left, one.name) for one in found] == [
        ("generator", "alpha"), ("generator", "beta"), ("generator", "gamma"), ("origin", "camera"),
        ("origin", "scanner"),
    ]  # fmt: skip
    alpha = found[0].scored
    assert set(alpha["generator"]) == {"", "alpha"}
    assert (alpha.groupby("degradation").size() == 180).all()
    table = outcomes.results(found)
    assert (table["detector"] == "mine").all()
    assert (table[table["metric"] == "auroc"]["status"] == "ok").all()


def test_a_detector_is_not_tested_on_one_class(data) -> None:
    examples = examples_of(data)
    with pytest.raises(DetectorError, match="one kind only"):
        trained_outcomes.outcomes_of(trained(data), examples.where(examples.labels == 1), steps=robustness.steps([]))
