"""Setting: what a place name brings is told from the same prompts without it, and from nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from presence_helpers import ScoredRun, images_table, scores_table
from tiny_clip import random_images, save_tiny

from auditkit.bias.base import Options
from auditkit.bias.counter_prompts import counter_prompts, left_out
from auditkit.bias.setting import setting
from auditkit.clip.attributes import attribute
from auditkit.clip.calibration import Domain
from auditkit.clip.encoders import load_encoder
from auditkit.clip.zero_shot import ZeroShot
from auditkit.prompts import expand
from auditkit.runs import Run, create
from auditkit.schemas import MEASUREMENTS, check
from auditkit.spec import RunSpec, load_spec

WEALTH = list(attribute("wealth").classes)
PLACES = ["Avalon", "Cockaigne", "Lilliput"]
THINGS = ["house", "street", "school", "market", "kitchen", "garden", "shop", "farm", "bridge", "park", "bus", "dog"]


def templates(things: list[str] = THINGS, *, counter: bool = True) -> list[str]:
    named = [f"a {thing} in {{place}}" for thing in things]
    return named + ([f"a {thing}" for thing in things] if counter else [])


def made(
    shift: dict[str, float] | None = None,
    *,
    seed: int = 0,
    things: list[str] = THINGS,
    counter: bool = True,
    per: int = 4,
) -> ScoredRun:
    """Scores of wealth whose log-posterior of `poor` is raised by `shift` where the prompt names that place."""
    images = images_table(templates(things, counter=counter), {"place": PLACES}, per)
    rng = np.random.default_rng(seed)
    prompt = images["prompt_id"].to_numpy()
    logits = rng.normal(size=(len(images), 3)) + 0.5 * rng.normal(size=(prompt.max() + 1, 3))[prompt]
    for place, more in (shift or {}).items():
        logits[images["axis_place"].eq(place).to_numpy(bool), WEALTH.index("poor")] += more
    posterior = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    sure = posterior.max(axis=1) >= 0.5
    labels = np.where(sure, np.array(WEALTH)[posterior.argmax(axis=1)], "unknown").tolist()
    table = scores_table(images, "wealth", WEALTH, labels, posterior=posterior, inside=None)
    return ScoredRun(images, {"wealth@tiny": table})


def measured(run: ScoredRun | Run, **more) -> pd.DataFrame:
    return check(setting.measure(run, Options(**({"by": "place", "encoder": "tiny"} | more))), MEASUREMENTS, "a test")


def rows(table: pd.DataFrame, statistic: str, group: str, category: str = "poor") -> pd.Series:
    chosen = table["measure"].eq(f"setting.{statistic}") & table["group"].eq(group) & table["category"].eq(category)
    assert chosen.sum() == 1
    return table[chosen].iloc[0]


@pytest.mark.parametrize(
    ("template", "without"),
    [
        ("a house in {place}", "a house"),
        ("a house in the {place}", "a house"),
        ("people from {place} at work", "people at work"),
        ("{a place} house", "a house"),
        ("an {place} house", "a house"),
        ("{place} street", "a street"),
        ("a street, {place}", "a street"),
    ],
)
def test_a_counter_prompt_is_the_prompt_without_the_place(template: str, without: str) -> None:
    assert without in left_out(template, "place")


def test_pairs_keep_the_other_axes() -> None:
    axes = {"place": ["Avalon"], "job": ["judge", "artist"]}
    images = images_table(["{a job} in {place}", "{a job}"], axes, 1)
    text = images.set_index("prompt_id")["prompt"]
    assert {text[a]: text[b] for a, b in counter_prompts(images, "place").items()} == {
        "a judge in Avalon": "a judge", "an artist in Avalon": "an artist",
    }  # fmt: skip


def test_every_prompt_of_the_suite_has_its_counter_prompt() -> None:
    spec = load_spec("places")
    images = images_table(spec.templates, spec.axes, 1)
    assert len(counter_prompts(images, "place")) == images["axis_place"].notna().sum()
    assert len([prompt for prompt in expand(spec) if not prompt.axes]) >= 5


def test_a_shift_is_found_where_it_is_and_nowhere_else() -> None:
    table = measured(made({"Avalon": 2.0}))
    moved, same = rows(table, "similarity_shift", "Avalon"), rows(table, "similarity_shift", "Lilliput")
    assert moved["p_holm"] < 0.05 < same["p_holm"]
    assert moved["ci_low"] > 0
    assert moved["reference"] == "counter-prompts"
    assert rows(table, "shift", "Avalon")["estimate"] > 0.2


def test_the_shift_in_similarity_is_recovered_in_standard_deviations() -> None:
    # The centred log-posterior of one class moves by 2/3 of what its logit does; images vary by sqrt(2/3).
    truth = 1.5 * (2 / 3) / np.sqrt(2 / 3)
    options = Options(by="place", encoder="tiny")
    tables = [setting.measure(made({"Avalon": 1.5}, seed=seed), options) for seed in range(30)]
    found = [rows(table, "similarity_shift", "Avalon") for table in tables]
    assert np.mean([each["estimate"] for each in found]) == pytest.approx(truth, abs=0.12)
    assert sum(each["ci_low"] <= truth <= each["ci_high"] for each in found) >= 26


def test_p_values_hold_their_level_where_a_place_changes_nothing() -> None:
    options = Options(by="place", encoder="tiny")
    table = pd.concat([setting.measure(made(seed=seed), options) for seed in range(40)])
    p = {kind: table.loc[table["measure"] == f"setting.{kind}", "p_value"] for kind in ("shift", "similarity_shift")}
    assert np.mean(p["similarity_shift"] <= 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean(p["similarity_shift"] <= 0.5) == pytest.approx(0.5, abs=0.1)
    # Shares take few values, and ties count against a difference.
    assert np.mean(p["shift"] <= 0.05) <= 0.06


def test_all_places_together_are_the_mean_of_their_shifts() -> None:
    table = measured(made({"Avalon": 1.0}))
    for statistic in ("shift", "similarity_shift"):
        each = [rows(table, statistic, place)["estimate"] for place in PLACES]
        assert rows(table, statistic, "all")["estimate"] == pytest.approx(np.mean(each))


def test_shares_are_counted_and_called_uncalibrated() -> None:
    run = made()
    table = measured(run)
    shares = table[table["measure"] == "setting.share"]
    assert set(shares["status"]) == {"uncalibrated"}
    assert set(shares["group"]) == {*PLACES, "no place"}
    assert shares.groupby("group")["estimate"].sum().round(9).eq(1).all()
    assert set(table.loc[table["measure"] == "setting.shift", "status"]) == {"uncalibrated"}
    images = run.images()
    avalon = run.scores()["wealth@tiny"].loc[images["axis_place"].eq("Avalon").to_numpy(bool), "label"]
    assert rows(table, "share", "Avalon")["estimate"] == pytest.approx((avalon == "poor").mean())


def test_prompts_without_a_counter_prompt_are_left_out_and_counted() -> None:
    images = images_table([*templates(), "the harbour of {place} by night"], {"place": PLACES}, 4)
    labels = ["poor"] * len(images)
    run = ScoredRun(images, {"wealth@tiny": scores_table(images, "wealth", WEALTH, labels, inside=None)})
    found = rows(measured(run), "shift", "Avalon")
    assert "1 prompts without a counter-prompt" in found["note"]
    assert found["n_prompts"] == 2 * len(THINGS)
    assert found["estimate"] == 0
    assert found["ci_low"] < 0 < found["ci_high"]


def test_few_pairs_or_images_are_insufficient() -> None:
    few = measured(made(things=THINGS[:4], per=8))
    shifts = few[few["measure"] != "setting.share"]
    assert set(shifts["status"]) == {"insufficient"}
    assert shifts[["estimate", "p_value", "ci_low"]].isna().all(axis=None)
    assert "4 prompts have a counter-prompt" in shifts["note"].iloc[0]
    assert "images" in rows(measured(made(per=1)), "shift", "Avalon")["note"]


def test_images_that_do_not_vary_have_no_spread_to_measure_in() -> None:
    images = images_table(templates(), {"place": PLACES}, 4)
    run = ScoredRun(images, {"wealth@tiny": scores_table(images, "wealth", WEALTH, ["poor"] * len(images))})
    found = rows(measured(run), "similarity_shift", "Avalon")
    assert found["status"] == "insufficient"
    assert np.isnan(found["estimate"])


def test_one_image_a_prompt_gives_no_spread() -> None:
    found = rows(measured(made(per=1), min_n=5), "similarity_shift", "Avalon")
    assert "spread" in found["note"]


@pytest.mark.parametrize(
    ("run", "encoder", "reason"),
    [
        (made(), "tiny", ""),
        (made(counter=False), "tiny", "nothing to compare"),
        (made(), "another", "no scores of surroundings or wealth"),
        (made(), "personas-clip", "knows no surroundings, wealth"),
    ],
)
def test_it_says_why_it_does_not_apply(run: ScoredRun, encoder: str, reason: str) -> None:
    found = setting.applies(run, Options(by="place", encoder=encoder))
    assert (reason in found) if reason else found == ""


def test_a_run_without_places_is_left_out() -> None:
    images = images_table(["{a job}"], {"job": ["judge", "artist"]}, 2)
    assert "auditkit generate places" in setting.applies(ScoredRun(images, {}), Options(by="job", encoder="tiny"))


def test_another_axis_with_counter_prompts_will_do() -> None:
    run = made({"Avalon": 2.0})
    images = run.images().rename(columns={"axis_place": "axis_town"})
    images["template"] = images["template"].str.replace("{place}", "{town}")
    renamed = ScoredRun(images, run.scores())
    assert setting.applies(renamed, Options(by="town", encoder="tiny")) == ""
    assert "no town" in set(measured(renamed, by="town")["group"])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A run on disk, scored by a random encoder."""
    folder = tmp_path_factory.mktemp("setting")
    things = THINGS[:6]
    spec = RunSpec(name="places", templates=templates(things), axes={"place": PLACES[:2]}, images_per_prompt=4)
    writer = create(folder / "runs", spec, {"name": "noise", "kind": "test", "resolution": 40})
    for shard in writer.pending():
        images = random_images(len(shard.tasks), seed=shard.tasks[0].prompt.prompt_id)
        writer.write_shard(shard, images, [1.0] * len(images), {"sampler": "none", "steps": 1, "guidance": 1.0})
    run, encoder = writer.finish(), save_tiny(folder / "tiny")[0]
    for name in ("surroundings", "wealth"):
        run.write_scores(ZeroShot(name).score(run, load_encoder(str(encoder), device="cpu")))
    return run, encoder


def test_a_run_on_disk_is_measured_from_its_scores(pictures: tuple[Run, Path]) -> None:
    run, encoder = pictures
    options = {"encoder": "tiny", "encoder_source": str(encoder)}
    assert setting.applies(run, Options(by="place", **options)) == ""
    table = measured(run, **options)
    assert set(table["attribute"]) == {"surroundings", "wealth"}
    told = table[table["measure"] == "setting.similarity_shift"]
    assert (told["p_value"] > 0.001).all()


def test_an_encoder_calibrated_on_its_own_kind_of_image_only_is_not_asked(pictures: tuple[Run, Path]) -> None:
    run, folder = pictures
    encoder = load_encoder(str(folder), device="cpu")
    ids, embeddings = run.embeddings("tiny", fingerprint=encoder.sha256) or ([], np.zeros((0, 16)))
    saved = Domain.fit(embeddings, ids, encoder=encoder, source="a test").save(folder)
    options = Options(by="place", encoder="tiny", encoder_source=str(folder))
    assert "knows no surroundings" in setting.applies(run, options)
    saved.unlink()
