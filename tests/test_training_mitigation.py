"""`auditkit train mitigation-head | slider | image-references`: parts learnt from a run of the model's own images."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny_checkpoints import CHECKPOINTS
from typer.testing import CliRunner, Result

from app.cli import app
from auditkit.guidance import Request, parts, steer
from auditkit.runs import Run
from auditkit.spec import RunSpec
from generators.latent import LatentGenerator
from generators.make import generate

SPEC = RunSpec(
    name="pairs", templates=["a portrait of {a gender} {occupation}", "a picture of {a gender} {occupation}"],
    axes={"gender": ["female", "male"], "occupation": ["judge", "pilot", "artist"]}, images_per_prompt=3, steps=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return CHECKPOINTS["sd"](tmp_path_factory.mktemp("tiny") / "sd")


@pytest.fixture(scope="module")
def run(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """36 images of a tiny model, scored as what their prompts state."""
    made = generate(SPEC, out=tmp_path_factory.mktemp("runs"), generator=LatentGenerator(checkpoint, device="cpu"))
    images = made.images().drop_duplicates("id")
    female = (images["axis_gender"] == "female").to_numpy()
    made.write_scores(
        pd.DataFrame(
            {
                "id": images["id"].to_numpy(), "scorer": "gender", "scorer_version": 1, "encoder": "personas-clip",
                "label": np.where(female, "female", "male"), "confidence": 1.0,
                "in_domain": pd.array([True] * len(images), dtype="boolean"), "domain_distance": 0.0,
                "p_female": female.astype(float), "p_male": 1.0 - female,
            }
        )
    )  # fmt: skip
    return made


def train(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["train", *map(str, arguments), "--device", "cpu"])


def refused(*arguments: object) -> str:
    done = train(*arguments)
    assert done.exit_code == 1
    assert "mend:" in done.stderr
    assert "Traceback" not in done.stderr
    assert "unexpected" not in done.stderr
    return " ".join(done.stderr.split())


def test_a_head_is_trained_that_distribution_guidance_takes(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    done = train("mitigation-head", run.path, "--levels", 1, "--steps", 3, "--batch", 8, "--out", tmp_path)
    assert done.exit_code == 0, done.stderr
    assert "balanced_accuracy" in done.stdout
    facts = json.loads((tmp_path / "export" / parts.FACTS).read_text())
    assert facts["classes"] == {"gender": ["female", "male"]}
    assert {row["attribute"] for row in facts["test"]} == {"gender"}
    model = LatentGenerator(checkpoint, device="cpu").model(1.0)
    request = Request("distribution-guidance", "gender=uniform", {"head": str(tmp_path / "export")})
    assert steer(request, SPEC, model).method.parts()


def test_sliders_learn_the_groups_direction(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    options = ("--steps", 60, "--batch", 8, "--rank", 8, "--lr", 0.005, "--layers", "all")
    done = train("slider", run.path, *options, "--out", tmp_path)
    assert done.exit_code == 0, done.stderr
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    share = [float(row["loss"]) / float(row["of"]) for row in rows]
    assert share[0] == pytest.approx(1, abs=1e-3)  # an adapter begins by doing nothing
    assert sum(share[-10:]) / 10 < 0.9
    model = LatentGenerator(checkpoint, device="cpu").model(1.0)
    request = Request("concept-slider", "gender=uniform", {"sliders": str(tmp_path / "export")})
    assert steer(request, SPEC, model).method.parts()


def test_the_same_training_gives_the_same_part(run: Run, tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        assert train("slider", run.path, "--steps", 2, "--batch", 4, "--out", tmp_path / name).exit_code == 0
        made.append((tmp_path / name / "export" / parts.TENSORS).read_bytes())
    assert made[0] == made[1]


def test_a_run_that_was_not_scored_is_refused_with_the_command_that_scores_it(run: Run, tmp_path: Path) -> None:
    said = refused("mitigation-head", run.path, "-a", "skin_tone", "--out", tmp_path / "out")
    assert "no scores of skin_tone" in said
    assert "auditkit score" in said
    assert not (tmp_path / "out").exists()


def test_unknown_layers_are_named(run: Run, tmp_path: Path) -> None:
    assert "there are no layers 'some'" in refused("slider", run.path, "--layers", "some", "--out", tmp_path / "out")


def test_an_attribute_without_words_is_named(run: Run, tmp_path: Path) -> None:
    assert "no words for the attribute 'age'" in refused("slider", run.path, "-a", "age", "--out", tmp_path / "out")


def test_references_are_the_mean_embeddings_of_each_folder(tmp_path: Path) -> None:
    for place, name in enumerate(("female", "male")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        Image.new("RGB", (96, 96), (200 * place, 60, 90)).save(tmp_path / "pictures" / name / "a.png")
    done = train("image-references", tmp_path / "pictures", "--out", tmp_path / "made")
    assert done.exit_code == 0, done.stderr
    means = parts.read_part(tmp_path / "made", "references").tensors["means"]
    assert means.shape == (2, 256)
    assert means.norm(dim=1).tolist() == pytest.approx([1, 1], abs=1e-2)


def test_references_need_one_source_of_images() -> None:
    assert "one of them" in refused("image-references")
