"""Importing a folder without a CSV, or with one that says less than the images do."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imported_files import GRAPH, INVOKEAI, PARAMETERS, save_exif, save_png
from typer.testing import CliRunner

from app.cli import app
from auditkit.errors import AuditkitError, ImageError, TableError
from auditkit.runs import Run, seal, verify
from auditkit.runs.journal import read_journal
from auditkit.spec import RunSpec
from generators.folder import import_folder
from generators.importing.facts import MAX_PROMPT
from generators.importing.matching import Matcher
from generators.importing.metadata import facts_of

SPEC = RunSpec(
    name="jobs",
    templates=["a portrait of {a occupation}", "{a occupation} at work, {mood}"],
    axes={"mood": ["happy", "sad"], "occupation": ["judge", "pilot", "police officer", "police"]},
    images_per_prompt=1,
    by="occupation",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An image of each of three tools, one with a caption beside it."""
    folder = tmp_path / "renders"
    (folder / "deep").mkdir(parents=True)
    save_png(folder / "a.png", {"parameters": PARAMETERS}, seed=1)
    save_png(folder / "b.png", {"prompt": GRAPH}, seed=2)
    save_png(folder / "deep" / "c.png", {"invokeai_metadata": INVOKEAI}, seed=3)
    save_png(folder / "d.png", {}, seed=4)
    (folder / "d.txt").write_text("A Portrait of  a Police Officer\n")
    return folder


def bring(folder: Path, **options: Any) -> Run:
    return import_folder(folder, out=folder.parent / "runs", **options)


def test_prompts_come_from_metadata_and_files_beside_and_are_counted_by_source(folder: Path) -> None:
    run = bring(folder)
    images = run.images()
    assert list(images["prompt"]) == [
        "a portrait of a judge, (8k:1.2)",
        "a portrait of a pilot",
        "A Portrait of  a Police Officer",
        "a teacher",
    ]
    assert images["seed"].tolist() == [235284042, 156680208700286, pd.NA, 356120443]
    assert images["sampler"].tolist()[:2] == ["DPM++ 2M Karras", "euler karras"]
    assert images["steps"].tolist()[:2] == [20, 30]
    details = run.record["generator"]["details"]
    assert details["prompt_sources"] == {"a1111": 1, "comfyui": 1, "sidecar": 1, "invokeai": 1}
    assert details["models"] == {"realistic_v20 (c0d1994c73)": 1, "base_1.0": 1, "unknown": 1, "mix_v3": 1}
    lines = read_journal(run.path / "imports.jsonl")
    assert [line["file"] for line in lines] == ["a.png", "b.png", "d.png", "deep/c.png"]
    assert [line["negative"] for line in lines] == ["blurry, low quality", "watermark", None, "ugly"]
    assert [line["id"] for line in lines] == list(images["id"])
    seal(run)
    assert verify(run) == []


def test_a_csv_wins_over_metadata_which_fill_in_what_it_leaves_open(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("file,prompt,seed,Model,occupation\na.png,a judge,7,,judge\nb.png,a pilot,,mine,\n")
    run = bring(folder, prompts_csv=tmp_path / "p.csv")
    images = run.images()
    assert run.axes == ["occupation"]
    assert list(images["prompt"]) == ["a judge", "a pilot"]
    assert list(images["seed"]) == [7, 156680208700286]
    assert list(images["steps"]) == [20, 30]
    assert run.record["generator"]["details"]["prompt_sources"] == {"csv": 2}
    assert run.record["generator"]["details"]["models"] == {"realistic_v20 (c0d1994c73)": 1, "mine": 1}


def test_a_column_with_a_meaning_is_an_axis_again_when_it_is_called_so(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("file,prompt,steps,axis_model,axis_steps\na.png,a judge,9,x,few\n")
    run = bring(folder, prompts_csv=tmp_path / "p.csv")
    assert run.axes == ["model", "steps"]
    assert list(run.images()["axis_steps"]) == ["few"]
    assert list(run.images()["steps"]) == [9]


@pytest.mark.parametrize(("column", "cell"), [("seed", "-1"), ("seed", "many"), ("steps", "0"), ("guidance", "nan")])
def test_a_cell_of_a_csv_out_of_range_is_named(folder: Path, tmp_path: Path, column: str, cell: str) -> None:
    (tmp_path / "p.csv").write_text(f"file,prompt,{column}\na.png,a judge,1\nb.png,a pilot,{cell}\n")
    with pytest.raises(TableError, match=f"the {column} '{cell}' is not a"):
        bring(folder, prompts_csv=tmp_path / "p.csv")


def test_axes_come_from_the_spec_whose_prompt_it_is(folder: Path) -> None:
    run = bring(folder, spec=SPEC)
    images = run.images()
    assert run.axes == ["occupation", "mood"]
    assert images["axis_occupation"].tolist()[:3] == ["judge", "pilot", "police officer"]
    assert images["axis_occupation"].isna().tolist() == [False, False, False, True]
    assert images["axis_mood"].isna().all()
    assert images["template"].iloc[1] == "a portrait of {a occupation}"
    assert run.record["generator"]["details"]["spec"] == {"name": "jobs", "equal": 2, "within": 1, "none": 1}


@pytest.mark.parametrize(
    ("said", "occupation"),
    [
        ("A PORTRAIT of a judge.", "judge"),
        ("(masterpiece), ((a portrait of a judge)), 8k", "judge"),
        ("a judge at work, sad, film grain", "judge"),
        ("a portrait of a judge at sea", None),
        ("a portrait of a judge's dog", None),
        ("a portrait of a judge, a portrait of a pilot", None),
        ("a portrait of a police officer, a portrait of a police", "police officer"),
        ("", None),
    ],
)
def test_a_prompt_of_the_spec_is_known_whatever_stands_around_it(said: str, occupation: str | None) -> None:
    found = Matcher(SPEC).match(said)
    assert (found.prompt.axes["occupation"] if found else None) == occupation


def test_json_beside_an_image_may_hold_settings_and_axes(folder: Path) -> None:
    (folder / "d.png.json").write_text(json.dumps({"prompt": "a cook", "seed": 3, "axes": {"Job": "cook", "x": 1}}))
    (folder / "a.json").write_text(json.dumps({"axes": {"job": "judge"}}))
    images = bring(folder).images()
    assert list(images["axis_job"].fillna("-")) == ["judge", "-", "cook", "-"]
    assert images["prompt"].iloc[0] == "a portrait of a judge, (8k:1.2)"
    assert images["prompt"].iloc[2] == "a cook"
    assert images["seed"].iloc[2] == 3


def test_images_without_a_prompt_are_one_error_that_names_some_and_the_mend(folder: Path) -> None:
    (folder / "d.txt").unlink()
    for name in ("e", "f", "g"):
        save_png(folder / f"{name}.png", {})
    with pytest.raises(ImageError, match=r"4 of 7 images have no prompt.*: d\.png, e\.png, f\.png, \.\.\.") as caught:
        bring(folder)
    assert "--skip-unknown" in str(caught.value.mend)
    assert not (folder.parent / "runs").exists()


def test_images_without_a_prompt_are_left_out_on_request_and_counted(folder: Path) -> None:
    (folder / "d.txt").unlink()
    run = bring(folder, skip_unknown=True)
    assert len(run.images()) == 3
    assert run.record["generator"]["details"]["skipped"] == 1


def test_a_folder_in_which_no_image_has_a_prompt_is_an_error_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    save_png(tmp_path / "x" / "a.png", {})
    with pytest.raises(ImageError, match="1 of 1 images have no prompt"):
        bring(tmp_path / "x", skip_unknown=True)
    (tmp_path / "x" / "a.png").unlink()
    with pytest.raises(ImageError, match="holds no images"):
        bring(tmp_path / "x")


def test_links_out_of_the_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    save_png(tmp_path / "secret.png", {"parameters": PARAMETERS})
    (folder / "z.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ImageError, match="outside the folder"):
        bring(folder)
    (folder / "z.png").unlink()
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "a.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(ImageError, match="outside the folder"):
        bring(folder)


def test_the_command_shows_sources_models_and_matches(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(
        'name = "jobs"\ntemplates = ["a portrait of {a occupation}"]\nimages_per_prompt = 1\n'
        '[axes]\noccupation = ["judge", "pilot"]\n'
    )
    command = ["import", str(folder), "--spec", str(tmp_path / "jobs.toml"), "--out", str(tmp_path / "runs")]
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0, shown.output
    for said in ("comfyui", "realistic_v20 (c0d1994c73)", "not among its prompts, no axes", "4 images of 4 prompts"):
        assert said in shown.output
    answer = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert answer["import"]["spec"] == {"name": "jobs", "equal": 1, "within": 1, "none": 2}


GRAPH_KEYS = [
    "3",
    "4",
    "class_type",
    "inputs",
    "positive",
    "text",
    "seed",
    "model",
    "prompt",
    "image",
    "nodes",
    "links",
]
GRAPH_KEYS += ["axes", "id", "type", "widgets_values", "guider"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(GRAPH_KEYS), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def infotexts(draw: st.DrawFn) -> str:
    keys = st.sampled_from(["Seed", "CFG scale", "Model", "Sampler", "Model hash"])
    pairs = draw(st.lists(st.tuples(keys, st.text(max_size=30))))
    said = ", ".join(f"{key}: {value}" for key, value in pairs)
    return draw(st.text(max_size=50)) + "\nSteps: 1, " + said


@st.composite
def graphs(draw: st.DrawFn) -> str:
    """Nodes linked at random, in circles too."""
    kinds = st.sampled_from(["KSampler", "SaveImage", "CLIPTextEncode", "FluxGuidance", "LoraLoader"])
    keys = st.sampled_from(["text", "seed", "model", "guider", "conditioning", "string_a", "cfg"])
    slots = st.one_of(st.integers(), st.text(max_size=3), st.none())
    nodes = draw(st.lists(st.tuples(kinds, keys, st.integers(0, 5), slots), max_size=8))
    return json.dumps(
        {
            str(i): {"class_type": kind, "inputs": {key: [str(to), 0], "positive": [str(to), slot]}}
            for i, (kind, key, to, slot) in enumerate(nodes)
        }
    )


TEXTS = st.one_of(st.text(max_size=200), infotexts(), ANYTHING.map(json.dumps), graphs())
KEYWORDS = ["parameters", "prompt", "workflow", "invokeai_metadata", "sd-metadata", "Dream", "Comment", "Software"]
FOUND = st.dictionaries(st.sampled_from([*KEYWORDS, "Description", "comment", "UserComment"]), TEXTS, max_size=3)


@settings(max_examples=300)
@given(FOUND)
def test_any_texts_give_facts_in_their_range(texts: dict[str, str]) -> None:
    facts = facts_of(texts)
    assert facts.prompt is None or 0 < len(facts.prompt) <= MAX_PROMPT
    assert facts.seed is None or 0 <= facts.seed < 2**63
    assert facts.steps is None or facts.steps >= 1
    assert facts.guidance is None or facts.guidance >= 0
    assert (facts.source == "none") == (facts.prompt is None)


@settings(max_examples=30)
@given(FOUND, st.binary(max_size=60) | TEXTS.map(lambda x: b"UNICODE\0" + x.encode("utf-16-be")), st.none() | TEXTS)
def test_no_metadata_does_more_than_give_an_error_of_ours(
    texts: dict[str, str], comment: bytes, beside: str | None
) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "in"
        folder.mkdir()
        save_png(folder / "a.png", texts)
        save_exif(folder / "b.jpg", comment=comment)
        if beside is not None:
            (folder / "b.json").write_text(beside)
            (folder / "a.txt").write_bytes(beside.encode("utf-16"))
        try:
            run = bring(folder, skip_unknown=True, spec=SPEC)
        except AuditkitError:
            return
        assert run.images()["prompt"].str.len().gt(0).all()
