"""Open-set discovery: what was planted is found, what was not is not, and nothing is dropped in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from embedded_helpers import ENCODER, FINGERPRINT, OPEN, Pictures, embedded_run, images_table, put_embeddings

from auditkit.bias.base import Options
from auditkit.bias.discovery import EXPECTED_NOTE, Discovery, discovery
from auditkit.runs import Run
from auditkit.schemas import MEASUREMENTS, check

JOBS = ["baker", "clerk", "diver", "guide", "miner"]
OPTIONS = Options(by="job", n_boot=200)


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return Pictures()


@pytest.fixture
def audited(tmp_path: Path, pictures: Pictures) -> Callable[..., tuple[Run, pd.DataFrame]]:
    """Makes a run and measures it."""
    made = 0

    def make(
        *,
        seed: int = 0,
        groups: list[str] = JOBS,
        templates: int = 12,
        replicates: int = 5,
        means: dict[str, list[str]] | None = None,
        garbled: tuple[str, ...] = (),
        change: Callable[[pd.DataFrame], pd.DataFrame] = lambda images: images,
        options: Options = OPTIONS,
        **embed: Any,
    ) -> tuple[Run, pd.DataFrame]:
        nonlocal made
        made += 1
        images = change(images_table(groups, templates=templates, replicates=replicates, seed=seed))
        embeddings = pictures.embed(images, np.random.default_rng(seed), **embed)
        asked = images.drop_duplicates("prompt").set_index("prompt")["axis_job"]
        texts = pictures.texts(
            {prompt: (means or {}).get(group, []) for prompt, group in asked.items()}, garbled=garbled
        )
        run = embedded_run(tmp_path / f"run{made}", images, embeddings, texts)
        return run, check(discovery.measure(run, options), MEASUREMENTS, "discovery")

    return make


def concepts(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows["measure"] == "discovery.concept") & rows["estimate"].notna()]


def count(rows: pd.DataFrame, category: str) -> float:
    return float(rows.loc[(rows["measure"] == "discovery.tested") & (rows["category"] == category), "estimate"].iloc[0])


def test_a_planted_shift_is_found_in_its_group_with_its_size(audited):
    _, rows = audited(shifts={("diver", "dog"): 1.5})
    found = concepts(rows)
    top = found.iloc[0]
    assert (top["group"], top["category"], top["attribute"]) == ("diver", "dog", "nature")
    # Between images of a group: within prompts 1, between prompts .5.
    assert top["ci_low"] <= 1.5 / np.sqrt(1.25) <= top["ci_high"]
    assert top["p_bh"] < 0.01
    assert (found["category"] == "dog").all()


def again(run: Run, pictures: Pictures, seed: int, **embed: Any) -> pd.DataFrame:
    """What is found when the same prompts are drawn once more."""
    images = run.images()
    put_embeddings(run, images, pictures.embed(images, np.random.default_rng(seed), **embed))
    return concepts(discovery.measure(run, OPTIONS.but(seed=seed)))


def test_without_planted_shifts_hardly_an_audit_finds_anything_though_images_of_a_prompt_are_alike(audited, pictures):
    run, _ = audited()
    found = [len(again(run, pictures, seed, alike=1.0)) > 0 for seed in range(24)]
    assert np.mean(found) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 24)


def test_intervals_of_what_was_found_cover(audited, pictures):
    run, _ = audited()
    truth = {("diver", "dog"): 1.4, ("miner", "smile"): -1.6}
    covered = []
    for seed in range(10):
        found = again(run, pictures, seed, shifts=truth).set_index(["group", "category"])
        for at in found.index.intersection(list(truth)):
            covered.append(found.loc[at, "ci_low"] <= truth[at] / np.sqrt(1.25) <= found.loc[at, "ci_high"])
    assert len(covered) >= 18
    assert np.mean(covered) >= 0.85


def test_what_prompts_ask_for_is_not_taken_for_a_difference(audited):
    """Groups lie far apart in the whole space (`asked` in the helper), and alike in what prompts leave open."""
    _, rows = audited()
    assert count(rows, "concepts looked for") == len(OPEN)
    assert count(rows, "concepts that prompts do not leave open") == 266 - len(OPEN)
    assert concepts(rows).empty


def test_concepts_that_the_encoder_has_no_words_for_are_counted_and_never_found(audited):
    _, rows = audited(garbled=("dog", "cat"), shifts={("diver", "dog"): 2.0})
    assert count(rows, "concepts not in the encoder's language") == 2
    assert count(rows, "concepts looked for") == len(OPEN) - 1
    assert "dog" not in set(concepts(rows)["category"])
    # It has no name, and is found as a direction.
    nameless = rows[(rows["measure"] == "discovery.direction") & (rows["group"] == "diver")]
    assert len(nameless)


def test_counts_add_up(audited):
    _, rows = audited(shifts={("diver", "dog"): 1.5})
    assert count(rows, "concepts in the vocabulary") == 266
    assert count(rows, "tests of concepts") == 5 * len(OPEN)
    assert count(rows, "differences found") == len(concepts(rows))
    assert count(rows, "differences found under any dependence") <= count(rows, "differences found")
    assert count(rows, "directions found") == (rows["measure"] == "discovery.direction").sum()


def test_a_thing_near_in_meaning_to_the_groups_prompts_is_expected(audited):
    _, rows = audited(means={"diver": ["dog"]}, shifts={("diver", "dog"): 2.0, ("miner", "smile"): 2.0})
    notes = concepts(rows).set_index(["group", "category"])["note"]
    assert notes["diver", "dog"].startswith(EXPECTED_NOTE)
    # The others lie as far from dogs as chance has it, and smiles belong to people.
    assert not notes["miner", "smile"].startswith(EXPECTED_NOTE)


def test_a_trait_of_people_near_in_meaning_is_not_excused(audited):
    """'Nurse' may lie close to 'woman' in an encoder by the very bias that is looked for."""
    _, rows = audited(means={"diver": ["beard"]}, shifts={("diver", "beard"): 2.0})
    notes = concepts(rows).set_index(["group", "category"])["note"]
    assert not notes["diver", "beard"].startswith(EXPECTED_NOTE)


def test_a_trait_that_the_prompts_state_is_expected(audited):
    def rename(images: pd.DataFrame) -> pd.DataFrame:
        mine = images["axis_job"] == "diver"
        return images.assign(prompt=images["prompt"].mask(mine, images["prompt"].str.replace("diver", "bearded diver")))

    _, rows = audited(change=rename, shifts={("diver", "beard"): 2.0})
    notes = concepts(rows).set_index(["group", "category"])["note"]
    assert notes["diver", "beard"].startswith(EXPECTED_NOTE)


def test_rows_do_not_hang_on_the_order_of_images(audited, tmp_path, pictures):
    run, before = audited(shifts={("diver", "dog"): 1.5})
    images, order = run.images(), np.random.default_rng(3).permutation(300)
    ids, embeddings = run.embeddings(ENCODER, fingerprint=FINGERPRINT)
    texts = pictures.texts({prompt: [] for prompt in images["prompt"].unique()})
    shuffled = embedded_run(tmp_path / "shuffled", images.iloc[order].reset_index(drop=True), embeddings[order], texts)
    rows = discovery.measure(shuffled, OPTIONS)
    found, same = (concepts(each).set_index(["group", "category"])["estimate"] for each in (before, rows))
    assert found["diver", "dog"] == pytest.approx(same["diver", "dog"])
    assert ids == images["id"].tolist()


def test_prompts_of_one_image_give_no_verdict(audited):
    _, rows = audited(replicates=1)
    row = rows.iloc[-1]
    assert (row["status"], row["measure"]) == ("insufficient", "discovery.tested")
    assert np.isnan(row["estimate"])
    assert "too few images each" in row["note"]


def test_a_group_with_too_few_images_or_prompts_is_told_and_not_tested(audited):
    def fewer(images: pd.DataFrame) -> pd.DataFrame:
        few = (images["axis_job"] == "clerk") & (images["replicate"] > 0)
        one = (images["axis_job"] == "miner") & (images["template"] > images["template"].min())
        return images[~few & ~one].reset_index(drop=True)

    _, rows = audited(change=fewer, replicates=20)
    silent = rows[rows["status"] == "insufficient"].set_index("group")["note"]
    assert silent["clerk"] == "12 images; 20 are needed"
    assert silent["miner"] == "1 prompt; 3 are needed to compare groups"
    assert count(rows, "tests of concepts") == 3 * len(OPEN)


def test_it_applies_where_there_are_groups_and_embeddings(audited, tiny_run):
    run, _ = audited()
    assert Discovery().applies(run, OPTIONS) == ""
    assert "one group only" in discovery.applies(run, OPTIONS.but(by="all"))
    assert "auditkit score" in discovery.applies(tiny_run, OPTIONS.but(by="occupation"))
