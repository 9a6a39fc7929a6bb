"""What the dashboard asks of a run's tables through DuckDB, held to pandas on the same run."""

from __future__ import annotations

import threading

import numpy as np
import pyarrow.parquet as parquet
import pytest
import synthetic_run

from app.dashboard.index import SURE, UNSURE, Index, Wish, connect
from auditkit.errors import TableError
from auditkit.runs import Run

GENDER = "gender@personas-clip"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return synthetic_run.make_run(tmp_path_factory.mktemp("it's [a] folder"), images_per_prompt=12, measured=False)


@pytest.fixture(scope="module")
def index(run) -> Index:
    return Index(run)


@pytest.fixture(scope="module")
def table(run):
    """The images with their perceived gender, by pandas."""
    scores = run.scores("gender")[GENDER].set_index("id")
    images = run.images()
    return images.assign(label=images["id"].map(scores["label"]), sure=images["id"].map(scores["confidence"]))


def test_it_counts_images_prompts_and_names_values_and_classes(run, index):
    assert (index.n_images, index.n_prompts) == (60, 5)
    assert index.axis_values == {"occupation": sorted(synthetic_run.FEMALE)}
    assert index.keys == [GENDER, "skin_tone@personas-clip"]
    assert index.classes(GENDER) == ["female", "male", "unknown"]


@pytest.mark.parametrize(
    ("wish", "condition"),
    [
        (Wish(), "index == index"),
        (Wish(axes={"occupation": ["nurse", "chef"]}), "axis_occupation in ['nurse', 'chef']"),
        (Wish(labels={GENDER: ["female"]}), "label == 'female'"),
        (
            Wish(axes={"occupation": ["judge"]}, labels={GENDER: ["male"]}),
            "axis_occupation == 'judge' and label == 'male'",
        ),
        (Wish(of=GENDER, certainty=(0.7, 0.9)), "0.7 <= sure <= 0.9"),
        (Wish(prompt="NURSE"), "axis_occupation == 'nurse'"),
        (Wish(prompt="' or 1=1 --"), "index != index"),
    ],
)
def test_filters_pass_what_pandas_passes(index, table, wish, condition):
    expected = table.query(condition).index
    assert index.choose(wish).tolist() == expected.tolist()


@pytest.mark.parametrize(("order", "ascending"), [(UNSURE, True), (SURE, False)])
def test_images_are_ordered_by_certainty(index, table, order, ascending):
    expected = table.sort_values("sure", ascending=ascending, kind="stable").index
    assert index.choose(Wish(of=GENDER, order=order)).tolist() == expected.tolist()


def test_a_seed_finds_its_image(index, table):
    assert index.choose(Wish(seed=int(table["seed"][7]))).tolist() == [7]
    assert index.choose(Wish(seed=1)).tolist() == []


def test_rows_come_in_the_order_asked_for_with_the_scores_asked_for(index, table):
    rows = index.rows([9, 2], [GENDER])
    assert [row["id"] for row in rows] == table["id"].iloc[[9, 2]].tolist()
    assert [row["position"] for row in rows] == [9, 2]
    assert [row[GENDER] for row in rows] == table["label"].iloc[[9, 2]].tolist()
    assert rows[0]["seed"] == table["seed"].iloc[9]
    assert index.rows([]) == []


def test_an_image_is_found_by_its_id_and_nothing_else_is(index, table):
    assert index.find(table["id"][4]).tolist() == [4]
    assert index.find("../../etc/passwd").tolist() == []


def test_images_that_come_again_are_told_together(tmp_path):
    run = synthetic_run.make_run(tmp_path, images_per_prompt=2, measured=False)
    file = run.path / "images.parquet"
    images = run.images()
    images.loc[7, ["id", "path"]] = images.loc[2, ["id", "path"]].to_numpy()
    parquet.write_table(parquet.read_table(file).from_pandas(images, preserve_index=False), file)
    again = Index(run)
    assert again.repeated().tolist() == [2, 7]
    assert len(again.distinct(["id", "prompt"])) == 9


def test_two_runs_are_paired_by_prompt_and_replicate(index, tmp_path, table):
    other = Index(synthetic_run.make_run(tmp_path, images_per_prompt=6, measured=False))
    pairs = index.pairs(other)
    assert len(pairs) == 30
    theirs = other.run.images()
    for a, b in pairs:
        assert tuple(table.loc[a, ["prompt", "replicate"]]) == tuple(theirs.loc[b, ["prompt", "replicate"]])
    some = index.pairs(other, GENDER, axis="occupation", groups=["artist"], changed=True)
    labels = theirs["id"].map(other.run.scores("gender")[GENDER].set_index("id")["label"])
    artists = [pair for pair in pairs if table["axis_occupation"][pair[0]] == "artist"]
    assert some == [(a, b) for a, b in artists if table["label"][a] != labels[b]]


def test_threads_may_ask_at_once(index):
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(len(index.choose(Wish(labels={GENDER: ["male"]})))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert len(set(answers)) == 1


def test_duckdb_reads_the_run_and_nothing_else(run, tmp_path):
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    for text in (f"select * from read_csv('{secret}')", "install httpfs", "set enable_external_access = true"):
        with pytest.raises(Exception, match=r"(?i)disabled|locked|configuration"):
            connect(run.path).execute(text)


def test_a_damaged_table_of_scores_is_left_out_and_named(tmp_path):
    run = synthetic_run.make_run(tmp_path, images_per_prompt=1, measured=False)
    (run.path / "scores" / "gender@personas-clip.parquet").write_bytes(b"PAR1")
    found = Index(run)
    assert found.keys == ["skin_tone@personas-clip"]
    assert "gender@personas-clip.parquet" in str(found.problems[0].where)


def test_a_column_of_another_type_is_one_clear_error(tmp_path):
    run = synthetic_run.make_run(tmp_path, images_per_prompt=1, measured=False)
    file = run.path / "images.parquet"
    found = parquet.read_table(file)
    place = found.schema.get_field_index("seed")
    damaged = found.set_column(place, "seed", [["no number"] * len(found)])
    parquet.write_table(damaged.replace_schema_metadata(found.schema.metadata), file)
    with pytest.raises(TableError, match="cannot be asked"):
        Index(run).choose(Wish(seed=5))


def test_a_table_of_a_newer_version_says_to_upgrade(tmp_path):
    run = synthetic_run.make_run(tmp_path, images_per_prompt=1, measured=False)
    file = run.path / "images.parquet"
    found = parquet.read_table(file)
    parquet.write_table(found.replace_schema_metadata({b"auditkit_schema_version": b"99"}), file)
    with pytest.raises(TableError, match="version 99") as caught:
        Index(run)
    assert caught.value.mend == "upgrade auditkit"


def test_positions_are_whole_numbers_even_where_nothing_passes(index):
    assert index.choose(Wish(prompt="nobody")).dtype == np.int64
