from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from auditkit.errors import TableError
from auditkit.runs import Run
from auditkit.schemas import IMAGES, MEASUREMENTS, SCORES, check, read_table, write_table


def scores(n: int = 3) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [f"{i:064x}" for i in range(n)],
            "scorer": "gender",
            "scorer_version": 1,
            "encoder": "none",
            "label": ["female", "male", "unknown"][:n],
            "confidence": [0.9, 0.8, 0.5][:n],
            "in_domain": [True, None, False][:n],
            "domain_distance": [0.1, np.nan, 0.9][:n],
            "p_female": [0.9, 0.2, 0.5][:n],
            "p_male": [0.1, 0.8, 0.5][:n],
        }
    )


def measurement(**changes: object) -> pd.DataFrame:
    row: dict[str, object] = dict.fromkeys(MEASUREMENTS.columns)
    row |= {"run_id": "r", "measure": "representation.share", "measure_version": 1, "attribute": "gender"}
    row |= {"category": "female", "group_by": "all", "group": "all", "n_images": 10, "n_prompts": 2}
    row |= {"estimate": 0.4, "ci_low": 0.2, "ci_high": 0.7, "ci_method": "wilson"}
    row |= {"unit": "share", "direction": "none", "status": "ok"}
    return pd.DataFrame([row | changes])


def test_a_table_comes_back_as_it_was_written(tmp_path: Path, tiny_run: Run) -> None:
    for name, df, schema in [
        ("scores", scores(), SCORES),
        ("measurements", measurement(), MEASUREMENTS),
        ("images", tiny_run.images(), IMAGES),
    ]:
        write_table(df, tmp_path / name, schema)
        pd.testing.assert_frame_equal(read_table(tmp_path / name, schema), check(df, schema, "here"))


def test_a_missing_column_is_named() -> None:
    with pytest.raises(TableError, match=r"scores table has no column 'label'"):
        check(scores().drop(columns="label"), SCORES, "here")


def test_an_unknown_column_is_named() -> None:
    with pytest.raises(TableError, match=r"scores table has an unknown column 'labl'"):
        check(scores().assign(labl="x"), SCORES, "here")


def test_scores_without_posteriors_are_refused() -> None:
    with pytest.raises(TableError):
        check(scores().drop(columns=["p_female", "p_male"]), SCORES, "here")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("p_male", 0.6, "sum to 1"),
        ("p_male", np.nan, "p_male"),
        ("label", "neither", "label is a class"),
        ("confidence", 1.5, "confidence"),
        ("id", "abc", "64 hex digits"),
        ("scorer_version", "one", "scorer_version"),
    ],
)
def test_scores_that_do_not_hold_are_refused(column: str, value: object, message: str) -> None:
    df = scores().astype(object)
    df.loc[0, column] = value
    with pytest.raises(TableError, match=message):
        check(df, SCORES, "here")


def test_an_image_has_one_score_only() -> None:
    with pytest.raises(TableError, match="id"):
        check(pd.concat([scores(1), scores(1)], ignore_index=True), SCORES, "here")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "insufficient", "estimate": 0.0}, "an insufficient estimate is NaN"),
        ({"status": "fine"}, "status"),
        ({"direction": "up"}, "direction"),
        ({"p_value": 1.2}, "p_value"),
        ({"ci_low": 0.9}, "ci_low <= ci_high"),
        ({"n_images": -1}, "n_images"),
    ],
)
def test_measurements_that_do_not_hold_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(TableError, match=message):
        check(measurement(**changes), MEASUREMENTS, "here")


def test_an_estimate_without_data_is_nan_with_its_status() -> None:
    df = check(
        measurement(status="insufficient", estimate=None, ci_low=None, ci_high=None), MEASUREMENTS, "here"
    )
    assert np.isnan(df["estimate"].iloc[0])


@pytest.mark.parametrize("path", ["/etc/passwd", "../../secret.png", "images/00/other.png"])
def test_an_image_path_that_does_not_follow_from_its_id_is_refused(tiny_run: Run, path: str) -> None:
    df = tiny_run.images()
    df.loc[0, "path"] = path
    with pytest.raises(TableError, match="path is images/"):
        check(df, IMAGES, "here")


def test_a_prompt_and_replicate_are_there_once(tiny_run: Run) -> None:
    df = tiny_run.images()
    df.loc[0, "replicate"] = 1
    with pytest.raises(TableError, match="prompt_id"):
        check(df, IMAGES, "here")


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    write_table(scores(), path, SCORES)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(TableError, match=r"damaged[\s\S]*scores\.parquet"):
        read_table(path, SCORES)


def test_a_table_of_a_newer_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr("auditkit.schemas.SCHEMA_VERSION", 99)
        write_table(scores(), tmp_path / "t", SCORES)
    with pytest.raises(TableError, match="version 99"):
        read_table(tmp_path / "t", SCORES)
