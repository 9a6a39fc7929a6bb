"""`auditkit train adapter` and `auditkit score --adapter`, as people use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import training_helpers as tiny
from PIL import Image
from tiny_clip import save_tiny
from typer.testing import CliRunner, Result

from app.cli import app
from auditkit.clip.calibration import load_calibration
from auditkit.clip.domain import load_domain
from auditkit.clip.folder import weights_sha256
from auditkit.clip.zero_shot import UNCALIBRATED_THRESHOLD
from auditkit.runs import Run

COLORS = {"female": (200, 40, 40), "male": (40, 40, 200)}


def call(*arguments: object, code: int = 0) -> Result:
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    assert "unexpected" not in done.stderr
    return done


def labelled(folder: Path, n: int = 240) -> Path:
    """Red images are female, blue ones male; those of pilots are dark."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    lines = ["file_name,gender,occupation"]
    for i in range(n):
        gender, job = ("female", "male")[i % 2], ("nurse", "pilot")[i // 2 % 2]
        noise = rng.normal(0, 10, (24, 24, 3)) + np.array(COLORS[gender]) * (0.5 if job == "pilot" else 1.0)
        Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / f"{i}.png")
        lines.append(f"{i}.png,{gender},{job}")
    (folder / "metadata.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """An encoder, labelled images, and an adapter that the command line trained on them."""
    home = tmp_path_factory.mktemp("adapter")
    encoder, images = save_tiny(home / "tiny")[0], labelled(home / "images")
    done = call(
        "train", "adapter", images, "--encoder", encoder, "--out", home / "fair", "--lr", 0.01, "--device", "cpu"
    )
    return {"encoder": encoder, "images": images, "adapter": home / "fair", "said": done.stdout}


def test_the_command_says_what_it_did_on_images_that_were_held_out(made: dict[str, Any]) -> None:
    facts = json.loads((made["adapter"] / "adapter.json").read_text())
    without, with_it = facts["facts"]["results"]
    assert with_it["worst"] > without["worst"]
    assert with_it["average"] > 0.9
    assert 0 < without["n"] < 120
    assert "without" in made["said"]
    assert "Uncalibrated" not in made["said"]


def test_scores_with_a_calibrated_adapter_say_so(made: dict[str, Any], tiny_run: Run) -> None:
    options = ("--encoder", made["encoder"], "--adapter", made["adapter"], "--device", "cpu")
    answer = json.loads(call("score", tiny_run.path, *options, "--json").stdout)
    assert answer["adapter"]["calibrated"] is True
    facts = json.loads((made["adapter"] / "adapter.json").read_text())
    assert answer["adapter"]["sha256"] == facts["sha256"]
    assert list(tiny_run.scores()) == ["gender@fair"]
    assert tiny_run.embeddings_fingerprint("fair") == f"{facts['encoder_sha256']}+{facts['sha256']}"
    named = json.loads(call("score", tiny_run.path, "--encoder", made["adapter"], "--device", "cpu", "--json").stdout)
    assert named["scores"] == answer["scores"]  # the folder is an encoder's name too


def test_whether_an_image_is_of_the_known_kind_is_judged_before_the_adapter(
    made: dict[str, Any], tiny_run: Run
) -> None:
    call("score", tiny_run.path, "--encoder", made["encoder"], "--adapter", made["adapter"], "--device", "cpu")
    found, domain = (
        tiny_run.embeddings("tiny", fingerprint=weights_sha256(made["encoder"])),
        load_domain(str(made["adapter"])),
    )
    assert found is not None
    assert domain is not None
    distance, inside = domain.assess(found[1])
    table = tiny_run.scores()["gender@fair"].set_index("id").loc[found[0]]
    assert np.allclose(table["domain_distance"], distance, atol=1e-5)
    assert (table["in_domain"].to_numpy(bool) == inside).all()


def test_without_its_own_calibration_the_scores_are_uncalibrated(
    made: dict[str, Any], tiny_run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in ("adapter.json", "adapter.safetensors"):
        (folder / name).write_bytes((made["adapter"] / name).read_bytes())
    done = call("score", tiny_run.path, "--encoder", made["encoder"], "--adapter", folder, "--device", "cpu")
    assert "uncalibrated" in done.stdout
    assert load_calibration(str(folder), "gender") is None
    table = tiny_run.scores()["gender@bare"]
    assert (table["label"].eq("unknown") == (table["confidence"] < UNCALIBRATED_THRESHOLD)).all()


def test_measuring_takes_the_adapters_folder_as_the_encoder(made: dict[str, Any], tiny_run: Run) -> None:
    call("score", tiny_run.path, "--encoder", made["encoder"], "--adapter", made["adapter"], "--device", "cpu")
    found = json.loads(
        call("measure", tiny_run.path, "--encoder", made["adapter"], "--attribute", "gender", "--measure",
             "representation", "--replicates", 20, "--json").stdout
    )  # fmt: skip
    assert {row["encoder"] for row in found["measurements"]} == {"fair"}


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--scorer", "skin_tone"], ["skin_tone", "gender"]),
        (["--encoder", "personas-clip"], ["personas-clip", "not for"]),
    ],
)
def test_what_the_adapter_is_not_for_is_refused(
    made: dict[str, Any], tiny_run: Run, options: list[str], names: list[str]
) -> None:
    given = ["--encoder", made["encoder"], *options]
    said = call("score", tiny_run.path, "--adapter", made["adapter"], "--device", "cpu", *given, code=1).stderr
    assert all(name in said for name in names)
    assert tiny_run.scores() == {}


def test_a_folder_without_an_adapter_is_named(made: dict[str, Any], tiny_run: Run, tmp_path: Path) -> None:
    said = call("score", tiny_run.path, "--encoder", made["encoder"], "--adapter", tmp_path, code=1).stderr
    assert "adapter.json" in said.replace("\n", "")
    assert "auditkit train adapter" in said


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ("file_name,gender\n0.png,female", ["occupation", "line 2"]),
        ("file_name,gender,occupation\n0.png,woman,nurse", ["woman", "female"]),
        ("file_name,gender,occupation\n../0.png,female,nurse", ["outside", "line 2"]),
        ("file_name,gender,occupation\nnone.png,female,nurse", ["none.png", "line 2"]),
        ("file_name,gender,occupation,split\n0.png,female,nurse,holdout", ["holdout", "calibration"]),
        ("file_name,gender,occupation\n0.png,female,nurse", ["no images for"]),
    ],
)
def test_a_table_that_does_not_hold_is_named(
    made: dict[str, Any], tmp_path: Path, table: str, names: list[str]
) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (24, 24)).save(tmp_path / "in" / "0.png")
    (tmp_path / "in" / "metadata.csv").write_text(table)
    said = call(
        "train", "adapter", tmp_path / "in", "--encoder", made["encoder"], "--out", tmp_path / "out", code=1
    ).stderr
    assert all(name in said for name in names), said
    assert not (tmp_path / "out").exists()


def test_an_encoders_folder_is_never_written_into(made: dict[str, Any]) -> None:
    said = call(
        "train", "adapter", made["images"], "--encoder", made["encoder"], "--out", made["encoder"], code=1
    ).stderr
    assert "--out" in said
    assert not (made["encoder"] / "adapter.json").exists()


def test_it_learns_from_the_corpus_and_is_uncalibrated_where_drawings_are_few(
    made: dict[str, Any], tmp_path: Path
) -> None:
    tiny.table(occupations=("judge", "pilot")).to_parquet(tmp_path / "corpus.parquet")
    done = call("train", "adapter", "--corpus", tmp_path, "--style", "openmoji", "--encoder", made["encoder"],
                "--steps", 2, "--out", tmp_path / "out", "--device", "cpu")  # fmt: skip
    assert "Uncalibrated: Too few source images" in done.stdout
    assert not (tmp_path / "out" / "calibration").exists()


def test_a_style_that_the_corpus_has_not_is_named(made: dict[str, Any], tmp_path: Path) -> None:
    tiny.table(occupations=("judge",)).to_parquet(tmp_path / "corpus.parquet")
    said = call("train", "adapter", "--corpus", tmp_path, "--style", "oil", "--encoder", made["encoder"], code=1).stderr
    assert "oil" in said
    assert "openmoji" in said
