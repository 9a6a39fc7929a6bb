"""What a run holds: its record, its images, and the tables computed from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from auditkit.errors import AuditkitError, RunError, TableError
from auditkit.images import image_id
from auditkit.prompts import image_seed
from auditkit.runs import BrokenRun, Run, RunWriter, create, list_runs, open_run
from auditkit.schemas import SCHEMA_VERSION
from auditkit.spec import RunSpec
from tests.conftest import OCCUPATIONS, TINY_GENERATOR, plain_image, write_pending


def gender_scores(run: Run, encoder: str = "none") -> pd.DataFrame:
    ids = run.images()["id"].drop_duplicates()
    return pd.DataFrame(
        {
            "id": ids,
            "scorer": "gender",
            "scorer_version": 1,
            "encoder": encoder,
            "label": "unknown",
            "confidence": 0.5,
            "in_domain": None,
            "domain_distance": None,
            "p_female": 0.5,
            "p_male": 0.5,
        }
    )


def test_the_record_says_where_the_run_came_from(tiny_run: Run, tiny_spec: RunSpec) -> None:
    record = tiny_run.record
    assert record["schema_version"] == SCHEMA_VERSION
    assert record["spec"]["as_passed"] == tiny_spec.as_passed
    assert record["spec"]["resolved"]["steps"] == 1
    assert record["generator"] == TINY_GENERATOR
    assert {"torch", "diffusers", "pandas"} <= set(record["packages"])
    assert record["seconds"] == pytest.approx(0.024)
    assert tiny_run.spec is not None
    assert tiny_run.spec.sampler == "none"


def test_every_image_lies_where_its_bytes_say_and_has_its_own_seed(tiny_run: Run) -> None:
    images = tiny_run.images()
    assert len(images) == 24
    for row in images.itertuples():
        path = tiny_run.image_path(str(row.id))
        assert image_id(path.read_bytes()) == row.id
        assert path == tiny_run.path / str(row.path)
        assert row.seed == image_seed(0, str(row.prompt), row.replicate)
    assert tiny_run.axes == ["occupation"]
    assert set(images["axis_occupation"]) == set(OCCUPATIONS)


def test_two_images_with_the_same_bytes_share_a_file(tmp_path: Path, tiny_spec: RunSpec) -> None:
    with create(tmp_path, tiny_spec, TINY_GENERATOR) as writer:
        for shard in writer.pending():
            same = plain_image(shard.tasks[0])
            writer.write_shard(shard, [same] * len(shard.tasks), [1.0] * len(shard.tasks), {})
        run = writer.finish()
    assert len(run.images()) == 24
    assert len(list(run.path.glob("images/*/*.png"))) == 1


def test_the_planted_table_comes_with_the_generator(
    tiny_run: Run, tmp_path: Path, tiny_spec: RunSpec
) -> None:
    assert tiny_run.planted is not None
    assert list(tiny_run.planted.columns) == ["occupation", "gender", "skin_tone", "probability"]
    with create(tmp_path / "other", tiny_spec, TINY_GENERATOR | {"planted": None}) as writer:
        assert writer.run.planted is None


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"steps": 2}, {"images_per_prompt": 4}, {"negative": "blurry"}, {"guidance": 2.0}]
)
def test_whatever_changes_a_pixel_changes_the_run_id(
    tmp_path: Path, tiny_run: Run, tiny_spec: RunSpec, change: dict[str, object]
) -> None:
    with create(tmp_path / "runs", tiny_spec.model_copy(update=change), TINY_GENERATOR) as writer:
        assert writer.run.id != tiny_run.id


@pytest.mark.parametrize("change", [{"weights": {"weights.safetensors": "1" * 64}}, {"dtype": "float16"}])
def test_other_weights_make_another_run(
    tmp_path: Path, tiny_run: Run, tiny_spec: RunSpec, change: dict[str, object]
) -> None:
    with create(tmp_path / "runs", tiny_spec, TINY_GENERATOR | change) as writer:
        assert writer.run.id != tiny_run.id


def test_the_description_and_a_default_spelt_out_leave_the_run_id(
    tmp_path: Path, tiny_run: Run, tiny_spec: RunSpec
) -> None:
    spelt_out = tiny_spec.model_copy(update={"description": "again", "steps": 1})
    with create(tmp_path / "runs", spelt_out, TINY_GENERATOR | {"source": "elsewhere"}) as writer:
        assert writer.run.id == tiny_run.id


def test_scores_come_back_by_scorer_and_encoder(tiny_run: Run) -> None:
    tiny_run.write_scores(gender_scores(tiny_run))
    tiny_run.write_scores(gender_scores(tiny_run, "hf:org/model"))
    assert set(tiny_run.scores()) == {"gender@none", "gender@hf:org/model"}
    assert set(tiny_run.scores("gender@none")) == {"gender@none"}
    assert set(tiny_run.scores("gender")) == {"gender@none", "gender@hf:org/model"}
    assert tiny_run.scores("occupation") == {}


def test_scores_of_strange_images_are_refused(tiny_run: Run) -> None:
    df = gender_scores(tiny_run)
    df["id"] = [f"{i:064x}" for i in range(len(df))]
    with pytest.raises(TableError, match="not in the run"):
        tiny_run.write_scores(df)


def test_a_table_with_two_scorers_is_refused(tiny_run: Run) -> None:
    df = gender_scores(tiny_run)
    df.loc[df.index[0], "encoder"] = "another"
    with pytest.raises(TableError, match="one scorer and encoder, not 2"):
        tiny_run.write_scores(df)


def test_a_scores_table_without_its_columns_is_refused(tiny_run: Run) -> None:
    with pytest.raises(TableError, match="no column 'scorer'"):
        tiny_run.write_scores(gender_scores(tiny_run).drop(columns="scorer"))


def test_nothing_measured_is_none_and_not_an_empty_table(tiny_run: Run) -> None:
    assert tiny_run.measurements() is None
    assert tiny_run.embeddings("none") is None


def test_embeddings_come_back_and_other_weights_find_none(tiny_run: Run) -> None:
    ids = list(tiny_run.images()["id"].drop_duplicates())
    array = np.random.default_rng(0).normal(size=(len(ids), 5)).astype(np.float32)
    tiny_run.write_embeddings("ViT/B", ids, array, fingerprint="abc")
    found = tiny_run.embeddings("ViT/B", fingerprint="abc")
    assert found is not None
    assert found[0] == ids
    np.testing.assert_array_equal(found[1], array)
    assert found[1].dtype == np.float32
    assert tiny_run.embeddings("ViT/B", fingerprint="other") is None


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros((2, 4)), np.full((1, 4), np.nan)])
def test_embeddings_of_the_wrong_shape_are_refused(tiny_run: Run, array: np.ndarray) -> None:
    with pytest.raises(TableError, match="finite, of shape"):
        tiny_run.write_embeddings("none", list(tiny_run.images()["id"][:1]), array)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "ABC"])
def test_an_image_id_never_leads_out_of_the_run(tiny_run: Run, name: str) -> None:
    with pytest.raises(RunError, match="64 hex digits"):
        tiny_run.image_path(name)


def test_a_link_out_of_the_run_is_refused(tiny_run: Run, tmp_path: Path) -> None:
    id = tiny_run.images()["id"].iloc[0]
    path = tiny_run.image_path(id)
    (tmp_path / "secret.png").write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(tmp_path / "secret.png")
    with pytest.raises(RunError, match="outside its run"):
        tiny_run.image_path(id)


def test_an_unfinished_run_opens_and_says_so(tiny_writer: Callable[[], RunWriter]) -> None:
    with tiny_writer() as writer:
        write_pending(writer, shards=1)
        run = open_run(writer.run.path)
        assert not run.complete
        with pytest.raises(RunError, match="not complete"):
            run.images()


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run here"):
        open_run(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "damaged"),
        (b"\xff", "damaged"),
        (b"[]", "no 'schema_version'"),
        (b"null", "no 'schema_version'"),
        (b'"run_id"', "no 'schema_version'"),
        (b"{}", "no 'schema_version'"),
        (b'{"schema_version": 99, "run_id": "x", "spec": null, "generator": {}}', "version 99"),
        (b'{"schema_version": "1", "run_id": "x", "spec": null, "generator": {}}', "'schema_version'"),
        (b'{"schema_version": 1, "run_id": "x", "spec": [], "generator": {}}', "'spec'"),
        (b'{"schema_version": 1, "run_id": "x", "spec": {}, "generator": {}}', "'spec'"),
        (b'{"schema_version": 1, "run_id": "x", "spec": null, "generator": 3}', "'generator'"),
    ],
)
def test_a_damaged_run_json_is_refused(tiny_run: Run, content: bytes, message: str) -> None:
    (tiny_run.path / "run.json").write_bytes(content)
    with pytest.raises(RunError, match=message):
        open_run(tiny_run.path)


def test_a_broken_run_is_listed_beside_the_others(tiny_run: Run) -> None:
    folder = tiny_run.path.parent
    (folder / "bad").mkdir()
    (folder / "bad" / "run.json").write_text("{")
    (folder / ".import-x").mkdir()
    (folder / "notes.txt").write_text("not a run")
    found = list_runs(folder)
    assert isinstance(found[0], Run)
    assert found[0].id == tiny_run.id
    assert isinstance(found[1], BrokenRun)
    assert isinstance(found[1].error, AuditkitError)
    assert len(found) == 2


def test_a_folder_that_does_not_exist_has_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "none") == []


def test_run_json_holds_no_name_of_this_machine(tiny_run: Run) -> None:
    import platform

    text = json.dumps({key: tiny_run.record[key] for key in ("machine", "code", "packages")})
    assert platform.node() not in text or not platform.node()
