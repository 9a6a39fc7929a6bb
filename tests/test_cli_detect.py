"""`auditkit train detector`, `detect`, `detectors`, and detectors in `inspect` and `scan`, as people use them."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import detector_helpers as made
import numpy as np
import pandas as pd
import pytest
import synthetic_run
from PIL import Image
from provenance_helpers import isolated  # noqa: F401
from typer.testing import CliRunner

import auditkit
from app.cli import app
from app.commands.detecting import parse_options
from auditkit import registry
from auditkit.errors import DetectorError
from auditkit.provenance.detecting import Detectors
from auditkit.provenance.inspection import Inspector, Settings
from auditkit.provenance.scan_table import read_scan
from detectors import training
from detectors.base import Judgement

PLAIN = Settings(store="", keys="", banks=())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a detector, trained by the command line."""
    folder = tmp_path_factory.mktemp("cli")
    made.write(folder / "data", 120)
    with pytest.MonkeyPatch.context() as patch:  # the shortcut audit takes seconds
        patch.setattr(training, "_shortcuts", lambda *_: {"warnings": ["Sizes differ."], "kinds": []})
        said = answer("train", "detector", folder / "data", "--family", "spectrum", "--option", "bins=40",
                      "--out", folder / "grid-detector", "--device", "cpu")  # fmt: skip
    assert said["name"] == "grid-detector"
    assert said["card"]["options"] == {"bins": 40}
    return folder / "grid-detector"


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    folder = tmp_path / "uploads"
    (folder / "more").mkdir(parents=True)
    for name, image in {
        "a.png": made.real(9003), "b.png": made.generated(9000), "more/c.png": made.foreign(1),
        "more/d.png": made.real(1, 20),
    }.items():  # fmt: skip
        Image.fromarray(image).save(folder / name)
    return folder


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """The plugins of the group `detectors`: at first the one that opens folders alone."""
    found = [EntryPoint("path", "detectors.trained:from_folder", "auditkit.detectors")]
    known = registry.entry_points
    monkeypatch.setattr(
        registry, "entry_points", lambda group: found if group == "auditkit.detectors" else known(group=group)
    )
    return found


def run(*arguments: object, code: int = 0) -> Any:
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == code, done.output
    return done


def answer(*arguments: object, code: int = 0) -> Any:
    return json.loads(run(*arguments, "--json", code=code).stdout)


# --- detect -------------------------------------------------------------------------------------------------------


def test_every_picture_gets_a_verdict_with_its_reason(trained: Path, uploads: Path) -> None:
    said = answer("detect", uploads, "--detector", f"path:{trained}")
    rows = {Path(row["file"]).name: row for row in said["judgements"]}
    assert [rows[name]["verdict"] for name in ("a.png", "b.png", "c.png", "d.png")] == [
        "no sign", "generated", "abstain", "not applicable",
    ]  # fmt: skip
    assert all(row["why"].endswith(".") for row in rows.values())
    assert rows["c.png"]["probability"] is None
    assert (said["images"], said["unreadable"]) == (4, 0)


def test_people_read_what_the_verdicts_mean(trained: Path, uploads: Path) -> None:
    text = run("detect", uploads / "a.png", uploads / "b.png", "--detector", trained).stdout
    assert "no sign" in text
    assert "No sign is no proof of a real picture." in text
    assert "would be called generated (1%;" in text


def test_files_that_are_no_images_are_named_and_the_others_judged(trained: Path, uploads: Path) -> None:
    (uploads / "notes.txt").write_text("hello")
    (uploads / "torn.png").write_bytes((uploads / "a.png").read_bytes()[:200])
    (uploads / ".hidden").write_text("left out")
    table = uploads.parent / "rows.csv"
    done = run("detect", uploads, "--detector", f"path:{trained}", "--csv", table, code=1)
    assert "2 of 6 files could not be read" in done.stdout
    assert "notes.txt" in done.stdout
    rows = pd.read_csv(table)
    assert len(rows) == 6
    assert set(rows["file"][rows["error"].notna()].map(lambda file: Path(file).name)) == {"notes.txt", "torn.png"}
    assert rows["verdict"][rows["error"].isna()].notna().all()


def test_a_missing_file_and_an_empty_folder_are_errors(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for wrong, what in (("none.png", "does not exist"), ("empty", "holds no file")):
        said = answer("detect", tmp_path / wrong, "--detector", f"path:{trained}", code=1)
        assert what in said["what"]
        assert said["mend"]


def test_without_any_detector_it_says_how_to_get_one(uploads: Path) -> None:
    said = answer("detect", uploads, code=1)
    assert said["error"] == "DetectorError"
    assert "auditkit train detector" in said["mend"]
    assert "path:FOLDER" in answer("detect", uploads, "--detector", "nobody", code=1)["mend"]


def test_a_rate_without_a_threshold_is_an_error_before_any_picture_is_opened(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    said = answer("detect", tmp_path, "--detector", f"path:{trained}", "--fpr", "0.3", code=1)
    assert "no threshold" in said["what"]


def test_python_asks_the_same(trained: Path, uploads: Path) -> None:
    table = auditkit.detect(uploads, detectors=[trained], device="cpu")
    assert table["verdict"].tolist() == ["no sign", "generated", "abstain", "not applicable"]
    twice = auditkit.detect(uploads / "a.png", uploads / "b.png", detectors=[f"path:{trained}"], device="cpu")
    np.testing.assert_allclose(twice["score"], table["score"].iloc[:2], rtol=1e-6)


# --- train and list -----------------------------------------------------------------------------------------------


def test_a_run_keeps_what_is_said_of_its_images(trained: Path, tmp_path: Path) -> None:
    made_run = synthetic_run.make_run(tmp_path, images_per_prompt=1, measured=False)
    said = answer("detect", made_run.path, "--detector", f"path:{trained}")
    kept = made_run.detections()
    assert kept is not None
    assert sorted(kept["id"]) == sorted(set(made_run.images()["id"]))
    assert [row["verdict"] for row in said["judgements"]] == kept["verdict"].tolist()


def test_a_run_beside_other_targets_is_an_error(trained: Path, uploads: Path, tmp_path: Path) -> None:
    made_run = synthetic_run.make_run(tmp_path, images_per_prompt=1, measured=False)
    said = answer("detect", made_run.path, uploads, "--detector", f"path:{trained}", code=1)
    assert "a run is asked about alone" in json.dumps(said)
    assert made_run.detections() is None


def test_the_card_is_shown_with_its_warnings_and_limits(trained: Path) -> None:
    text = " ".join(run("detectors", f"path:{trained}").stdout.split())
    assert "Sizes differ." in text
    assert "AUROC" in text
    assert "not a proof" in text
    assert answer("detectors", f"path:{trained}")["knows"] == ["grid"]


def test_installed_detectors_are_listed_and_a_missing_one_with_its_error(plugins: list[EntryPoint]) -> None:
    assert answer("detectors") == []
    plugins.append(EntryPoint("personas-detector", "detectors.bundled:photographs", "auditkit.detectors"))
    plugins.append(EntryPoint("other", "no_such_module:thing", "auditkit.detectors"))
    rows = answer("detectors")
    assert [row["name"] for row in rows] == ["other", "personas-detector"]
    assert "no_such_module" in rows[0]["error"]


def test_training_on_one_class_says_which_is_missing(trained: Path, tmp_path: Path) -> None:
    data = made.write(tmp_path / "data", 12, labels=["real"])
    said = answer("train", "detector", data, "--family", "spectrum", "--out", tmp_path / "no", code=1)
    assert "generated" in said["what"]
    assert not (tmp_path / "no").exists()


def test_pairs_are_made_of_real_images_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_shortcuts", lambda *_: {"warnings": [], "kinds": []})
    data = made.write(tmp_path / "data", 60, labels=["real"])
    card = answer("train", "detector", data, "--family", "spectrum", "--reconstruct", "personas", "--out",
                  tmp_path / "mine", "--device", "cpu")["card"]  # fmt: skip
    assert card["generators"] == {"personas": 36}
    assert card["parts"]["test"] == {"real": 12, "generated": 12, "sources": 12}  # a pair stays on one side
    assert (tmp_path / "mine-pairs" / "table.csv").exists()


def test_options_are_json_where_they_are_json() -> None:
    assert parse_options(["steps=20", "inputs=[1]", "kind=a=b", "mix=.5"]) == {
        "steps": 20, "inputs": [1], "kind": "a=b", "mix": ".5",
    }  # fmt: skip
    with pytest.raises(DetectorError, match="key=value"):
        parse_options(["steps"])


# --- inspect and scan ---------------------------------------------------------------------------------------------


def asked(path: Path, *named: str) -> dict[str, Any]:
    settings = Settings(store="", keys="", banks=(), detectors=tuple(named))
    return Inspector(settings).inspect(path).as_dict()["detector"]


def test_an_inspection_asks_the_detector_that_is_named(trained: Path, uploads: Path) -> None:
    found = asked(uploads / "b.png", f"path:{trained}")
    assert found["verdict"] == "generated"
    assert "grid-detector calls the image generated. It knows grid." in found["sentence"]
    assert "not a proof" in found["sentence"]
    quiet = asked(uploads / "a.png", f"path:{trained}")
    assert quiet["verdict"] == "no sign"
    assert "No sign is no proof of a real picture" in quiet["sentence"]
    assert asked(uploads / "more/c.png", f"path:{trained}")["verdict"] == "abstain"
    small = asked(uploads / "more/d.png", f"path:{trained}")
    assert small["verdict"] == "not applicable"
    assert small["judgements"][0]["probability"] is None


def test_the_card_shows_each_detector_with_its_numbers(trained: Path, uploads: Path) -> None:
    text = run("inspect", uploads / "b.png", "--detector", f"path:{trained}").stdout
    assert "Detector  generated" in text
    assert "grid-detector: generated, score" in text


def test_what_is_no_picture_is_not_asked_about(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    found = asked(tmp_path / "notes.txt", f"path:{trained}")
    assert (found["verdict"], found["judgements"]) == ("not readable", [])


def test_a_named_detector_that_is_missing_is_an_error_and_an_installed_one_is_told(
    uploads: Path, tmp_path: Path, plugins: list[EntryPoint]
) -> None:
    assert answer("inspect", uploads / "a.png", "--detector", f"path:{tmp_path}", code=1)["error"] == "DetectorError"
    assert "path:FOLDER" in answer("inspect", uploads / "a.png", "--detector", "path:", code=1)["mend"]
    plugins.append(EntryPoint("lost", "no_such_module:thing", "auditkit.detectors"))
    found = answer("inspect", uploads / "a.png")["detector"]
    assert found["verdict"] == "not asked"
    assert "lost could not be asked" in found["sentence"]
    assert "Nothing is said about whether the image was generated." in found["sentence"]


def test_no_detector_is_asked_where_that_is_wished(uploads: Path, plugins: list[EntryPoint]) -> None:
    plugins.append(EntryPoint("lost", "no_such_module:thing", "auditkit.detectors"))
    assert answer("inspect", uploads / "a.png", "--no-detector")["detector"]["sentence"] == "No detector was asked."


class _Says:
    """A detector of someone else's."""

    def __init__(self, name: str, verdict: Any):
        self.name, self.verdict = name, verdict

    def judge(self, images: Any) -> list[Judgement]:
        if self.verdict == "breaks":
            raise RuntimeError("out of order")
        details = {"knows": [f"{self.name}-generator"]}
        return [Judgement(self.name, self.verdict, 1.0, 0.5, 2.0, 0.01, 0.1, "It says so.", details) for _ in images]


@pytest.mark.parametrize(
    ("verdicts", "whole", "says"),
    [
        (["no sign", "generated"], "generated", "d1 calls the image generated. It knows d1-generator."),
        (["abstain", "no sign"], "no sign", "d0 abstains"),
        (["abstain", "not applicable"], "abstain", "Nothing is said about whether the image was generated."),
        (["breaks", "no sign"], "no sign", "d0 could not be asked: RuntimeError: out of order."),
    ],
)
def test_several_detectors_are_told_apart_each_with_its_own_verdict(
    monkeypatch: pytest.MonkeyPatch, verdicts: list[str], whole: str, says: str
) -> None:
    named = {f"d{number}": _Says(f"d{number}", verdict) for number, verdict in enumerate(verdicts)}
    monkeypatch.setattr("auditkit.provenance.detecting.load", lambda name: named[name])
    found = Detectors(list(named)).part(lambda: Image.new("RGB", (64, 64)))
    assert found["verdict"] == whole
    assert says in found["sentence"]
    kept = [(row["detector"], row["verdict"]) for row in found["judgements"]]
    assert kept == [(name, each.verdict) for name, each in named.items() if each.verdict != "breaks"]
    if whole == "generated":
        assert "the 2 detectors asked call up to 2% generated" in found["sentence"]


def test_a_scan_has_a_column_of_verdicts_and_counts_them(trained: Path, uploads: Path, tmp_path: Path) -> None:
    from auditkit.provenance import scanning

    looking = Inspector(Settings(store="", keys="", banks=(), detectors=(f"path:{trained}",)))
    row = scanning._looked_at(looking, str(uploads / "b.png"))
    assert (row["detector"], row["detector_name"]) == ("generated", "grid-detector")
    before = scanning._identity(uploads, looking)
    assert before != scanning._identity(uploads, Inspector(PLAIN))  # another detector, another table


def test_tables_of_scans_that_knew_no_detector_can_still_be_read(uploads: Path, tmp_path: Path) -> None:
    out = tmp_path / "verdicts.parquet"
    said = answer("scan", uploads, "--out", out, "--no-detector", "--workers", "1")
    assert said["detector"] == {"not asked": 4}
    table = pd.read_parquet(out)
    table.drop(columns="detector_name").to_parquet(out)
    assert read_scan(out)["detector_name"].isna().all()
