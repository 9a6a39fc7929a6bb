"""`bench samplers` and `bench energy`: the same prompts by each sampler, what each gives and what it takes."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest
from tiny_checkpoints import tiny_sd_checkpoint
from typer.testing import CliRunner

import auditkit
from app import sampling
from app.cli import app
from auditkit.energy import Site
from auditkit.errors import GeneratorError, RunError, SpecError
from auditkit.runs import open_run
from auditkit.spec import RunSpec
from reports import sampler_page

SPEC = RunSpec(
    name="tiny",
    templates=["a portrait of a {gender} {occupation}"],
    axes={"gender": ["female", "male"], "occupation": ["judge", "pilot"]},
    images_per_prompt=5,
    by="occupation",
)
SETTINGS = [("ddim", 1), ("ddim", 2), ("euler-a", 1), ("euler-a", 2)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(tiny_sd_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny"))


@pytest.fixture(scope="module")
def bench(checkpoint, tmp_path_factory):
    """(folder, table) of a small bench."""
    out = tmp_path_factory.mktemp("bench")
    table = sampling.bench_samplers(
        out, generator=checkpoint, spec=SPEC, samplers=["ddim", "euler-a"], steps=[1, 2], images_per_prompt=5,
        device="cpu", site=Site.given(1.2, 300),
    )  # fmt: skip
    return out, table


def test_there_is_a_row_for_each_sampler_and_number_of_steps(bench):
    _, table = bench
    assert list(zip(table["sampler"], table["steps"], strict=True)) == SETTINGS
    assert (table["images"] == 20).all()
    assert (table["seconds"] > 0).all()


def test_all_settings_are_of_the_same_prompts_and_seeds(bench):
    out, table = bench
    runs = [open_run(out / "runs" / name).images() for name in table["run"]]
    assert all((run[["prompt", "seed"]] == runs[0][["prompt", "seed"]]).all(axis=None) for run in runs)
    assert [(run["sampler"].iloc[0], run["steps"].iloc[0]) for run in runs] == SETTINGS
    assert len({tuple(run["id"]) for run in runs}) == 4


def test_every_estimate_lies_in_its_interval(bench):
    _, table = bench
    for name in ("joules", "wh_per_1000", "g_co2e_per_1000", "fidelity", "fidelity_gender", "diversity"):
        assert table[name].notna().all(), name
        assert (table[f"{name}_low"] <= table[name]).all(), name
        assert (table[name] <= table[f"{name}_high"]).all(), name


def test_units_fit_each_other(bench):
    _, table = bench
    assert table["wh_per_1000"].to_numpy() == pytest.approx(table["joules"].to_numpy() * 1000 / 3600, rel=1e-4)
    grams = table["wh_per_1000"].to_numpy() / 1000 * 1.2 * 300
    assert table["g_co2e_per_1000"].to_numpy() == pytest.approx(grams, rel=1e-4)


def test_bias_is_not_told_of_what_the_prompts_state_and_silence_says_why(bench):
    _, table = bench
    assert "bias_gender" not in table
    # Most images of a random network show nobody, and too few labels are left.
    assert table["bias_skin_tone"].isna().all()
    assert table["bias_skin_tone_note"].str.startswith("insufficient").all()


def test_tables_and_page_are_written(bench):
    out, table = bench
    assert len(pd.read_csv(out / "samplers.csv")) == len(table)
    assert json.loads((out / "samplers.json").read_text())[0]["sampler"] == "ddim"
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "euler-a" in page
    assert "data:image/svg+xml" in page
    assert "insufficient" in page


def test_a_bench_that_was_stopped_goes_on_and_looks_at_nothing_twice(bench, checkpoint, monkeypatch):
    out, table = bench
    monkeypatch.setattr(sampling, "score", lambda *_, **__: pytest.fail("scored again"))
    again = sampling.bench_samplers(
        out, generator=checkpoint, spec=SPEC, samplers=["ddim", "euler-a"], steps=[1, 2], images_per_prompt=5,
        device="cpu", site=Site.given(1.2, 300),
    )  # fmt: skip
    pd.testing.assert_frame_equal(again, table)


def test_scores_kept_for_other_questions_are_not_taken(bench):
    out, table = bench
    run = open_run(out / "runs" / table["run"][0])
    asked = {
        "version": sampling.VERSION,
        "target": "None",
        "encoder": "personas-clip",
        "attributes": ["gender", "skin_tone"],
    }
    kept = out / "rows" / f"samplers-{run.id}.json"
    before = kept.read_bytes()
    assert sampling._kept(out, "samplers", run, lambda _: pytest.fail("scored again"), asked)["fidelity"] >= 0
    assert sampling._kept(out, "samplers", run, lambda _: {"x": math.nan}, asked | {"encoder": "y"}).keys() == {"x"}
    kept.write_text("{")
    with pytest.raises(RunError, match="damaged"):
        sampling._kept(out, "samplers", run, lambda _: {}, asked)
    kept.write_bytes(before)


def test_the_energy_bench_scores_nothing(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "score", lambda *_, **__: pytest.fail("scored"))
    table = sampling.bench_energy(
        tmp_path, generator=checkpoint, spec=SPEC, samplers=["ddim"], steps=[1, 8], images_per_prompt=2, device="cpu"
    )
    assert "fidelity" not in table
    assert table["g_co2e_per_1000"].isna().all()  # no site was given
    assert table["joules"].notna().all()
    assert (tmp_path / "energy.csv").is_file()
    made = sampler_page.table(table)
    assert "g CO2e per 1,000" not in made.columns
    assert "Occupation as asked" not in made.columns


def test_by_default_every_sampler_that_fits_is_in_it(checkpoint, tmp_path):
    table = sampling.bench_energy(
        tmp_path, generator=checkpoint, spec=SPEC, steps=[1], images_per_prompt=1, device="cpu"
    )
    assert set(table["sampler"]) == {
        "ddpm", "ddim", "dpm++2m", "dpm++2m-karras", "unipc", "euler", "euler-a", "lcm",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("samplers", "steps", "kind", "what"),
    [
        (["flow-euler", "ddim"], [2], GeneratorError, "flow-euler does not fit the generator"),
        (["dimm"], [2], GeneratorError, "did you mean ddim"),
        (["ddim"], [2, 0], GeneratorError, "steps must be from 1 to 1000"),
        (["ddim"], [], SpecError, "no number of steps"),
    ],
)
def test_what_cannot_be_made_is_one_clear_error_before_the_first_image(
    checkpoint, tmp_path, samplers, steps, kind, what
):
    with pytest.raises(kind, match=what) as caught:
        sampling.bench_samplers(
            tmp_path / "out", generator=checkpoint, spec=SPEC, samplers=samplers, steps=steps, device="cpu"
        )
    assert caught.value.mend
    assert not (tmp_path / "out").exists()


def test_the_command_answers_in_json_and_with_a_table(checkpoint, tmp_path):
    (tmp_path / "spec.toml").write_text(
        'name = "tiny"\ntemplates = ["a {job}"]\nimages_per_prompt = 1\n[axes]\njob = ["judge", "pilot"]\n'
    )
    line = [
        "bench",
        "energy",
        str(tmp_path / "spec.toml"),
        "-g",
        checkpoint,
        "--samplers",
        "ddim,unipc",
        "--steps",
        "1",
    ]
    line += ["--device", "cpu", "--pue", "1", "--grid-intensity", "100-200", "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*line, "--json"])
    assert done.exit_code == 0
    answer = json.loads(done.stdout)
    assert [row["sampler"] for row in answer["table"]] == ["ddim", "unipc"]
    assert answer["table"][0]["g_co2e_per_1000"] > 0
    shown = CliRunner().invoke(app, line)
    assert "unipc" in shown.stdout
    assert "Joules at the device" in shown.stdout


def test_steps_that_are_no_numbers_are_one_clear_error():
    done = CliRunner().invoke(app, ["bench", "energy", "--steps", "4,many"])
    assert done.exit_code == 1
    assert "whole numbers" in done.stderr


def test_the_verbs_are_in_the_facade():
    assert auditkit.bench_samplers is sampling.bench_samplers
    assert auditkit.bench_energy is sampling.bench_energy
