"""Presence: what is shown rarely or not at all is counted exactly, corrected, and never claimed without images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from presence_helpers import ScoredRun, calibration, images_table, scores_table

from auditkit.bias.base import Options
from auditkit.bias.presence import ANY, presence
from auditkit.clip.attributes import attribute
from auditkit.errors import TableError
from auditkit.schemas import MEASUREMENTS, check

AGES = list(attribute("age").classes)
AIDS = list(attribute("disability").classes)
GOOD = calibration(AGES, [[19, 2, 0], [0, 596, 0], [0, 0, 20], [1, 2, 0]])
SHARP = calibration(AIDS, [[20, 0, 0, 0], [0, 20, 0, 0], [0, 0, 20, 0], [0, 0, 0, 600], [0, 0, 0, 0]])
CALIBRATIONS = {"age": GOOD, "disability": SHARP}


def made(labels: Sequence[str], name: str = "age", *, jobs: int = 2, inside: bool | None = True) -> ScoredRun:
    """A run of prompts of five images each, with these labels from the first image on."""
    per_job = len(labels) // jobs // 5
    templates = [f"picture {i} of {{a occupation}}" for i in range(per_job)]
    images = images_table(templates, {"occupation": [f"job{i}" for i in range(jobs)]}, 5)
    images = images.sort_values("axis_occupation", kind="stable").reset_index(drop=True)
    classes = list(attribute(name).classes)
    return ScoredRun(images, {f"{name}@tiny": scores_table(images, name, classes, labels, inside=inside)})


def measured(run: ScoredRun, **more) -> pd.DataFrame:
    settings = {"by": "occupation", "encoder": "tiny", "calibrations": CALIBRATIONS} | more
    return check(presence.measure(run, Options(**settings)), MEASUREMENTS, "a test")


def row(table: pd.DataFrame, statistic: str, category: str, group: str = "all") -> pd.Series:
    found = table[
        table["measure"].eq(f"presence.{statistic}") & table["category"].eq(category) & table["group"].eq(group)
    ]
    assert len(found) == 1
    return found.iloc[0]


def test_none_of_n_is_no_proof_of_none() -> None:
    table = measured(made(["adult"] * 200))
    counted, corrected = (row(table, kind, "child") for kind in ("share", "corrected"))
    assert counted["estimate"] == corrected["estimate"] == 0
    assert counted["ci_high"] == pytest.approx(1 - 0.025 ** (1 / 200), abs=1e-6)
    assert "3/200" in counted["note"]
    assert "only 40 prompts count" in counted["note"]
    assert corrected["ci_high"] > 0.01
    assert corrected["p_value"] == 1


def test_what_is_shown_is_found() -> None:
    labels = ["older adult", "adult", "adult", "adult", "adult"] * 40
    found = row(measured(made(labels)), "corrected", "older adult")
    assert found["estimate"] == pytest.approx(0.2, abs=0.01)
    assert found["ci_low"] < 0.2 < found["ci_high"]
    assert found["p_holm"] < 0.001


def test_labels_that_false_positives_explain_are_not_distinguishable_from_none() -> None:
    labels = ["adult"] * 199 + ["child"]
    found = row(measured(made(labels)), "corrected", "child")
    assert found["p_value"] > 0.05
    assert found["ci_low"] == 0
    assert "not distinguishable from none" in found["note"]


def test_aids_are_also_counted_together() -> None:
    labels = ["white cane"] * 4 + ["manual wheelchair"] * 6 + ["none visible"] * 190
    table = measured(made(labels, "disability"))
    assert row(table, "share", ANY)["estimate"] == pytest.approx(10 / 200)
    assert row(table, "corrected", ANY)["estimate"] == pytest.approx(10 / 200, abs=0.002)
    assert "none visible" in set(table["category"])


def test_an_age_has_no_class_for_none_and_so_no_sum() -> None:
    assert ANY not in set(measured(made(["adult"] * 200))["category"])


def test_images_that_come_by_whole_prompts_count_as_fewer() -> None:
    spread, together = ["child", *["adult"] * 4] * 40, ["child"] * 40 + ["adult"] * 160
    wide = row(measured(made(together), by="all"), "share", "child")
    narrow = row(measured(made(spread), by="all"), "share", "child")
    assert wide["estimate"] == narrow["estimate"]
    assert wide["ci_high"] - wide["ci_low"] > 1.5 * (narrow["ci_high"] - narrow["ci_low"])
    assert "design effect 5.00" in wide["ci_method"]


def test_unknown_images_have_their_own_row_and_are_said_to_be_possible() -> None:
    table = measured(made(["adult"] * 190 + ["unknown"] * 10))
    assert row(table, "share", "unknown")["estimate"] == pytest.approx(0.05)
    assert "10 more images are unknown" in row(table, "share", "child")["note"]


def test_few_images_are_insufficient_and_carry_no_number() -> None:
    table = measured(made(["adult"] * 20), min_n=20)
    small = table[table["group"] == "job0"]
    assert set(small["status"]) == {"insufficient"}
    assert small[["estimate", "ci_low", "ci_high", "p_value"]].isna().all(axis=None)


def test_all_unknown_is_insufficient() -> None:
    assert set(measured(made(["unknown"] * 100))["status"]) == {"insufficient"}


@pytest.mark.parametrize("why", ["no calibration", "other images", "unchecked"])
def test_without_a_calibration_that_holds_labels_are_counted_and_not_corrected(why: str) -> None:
    inside = {"other images": False, "unchecked": None}.get(why, True)
    table = measured(
        made(["adult"] * 195 + ["child"] * 5, inside=inside),
        calibrations={} if why == "no calibration" else CALIBRATIONS,
    )
    assert set(table["status"]) == {"uncalibrated"}
    assert row(table, "share", "child")["estimate"] == pytest.approx(5 / 200)
    assert np.isnan(row(table, "corrected", "child")["estimate"])
    assert row(table, "corrected", "child")["note"]


def test_the_numbers_of_a_group_do_not_hang_on_which_others_there_are() -> None:
    labels = ["child", *["adult"] * 19] * 10
    run = made(labels)
    whole = measured(run)
    images = run.images()[::-1].reset_index(drop=True)
    turned = ScoredRun(images, run.scores())
    columns = ["estimate", "ci_low", "ci_high", "p_value"]
    a, b = (row(each, "corrected", "child", "job1")[columns] for each in (whole, measured(turned)))
    assert a.tolist() == b.tolist()


def test_it_applies_where_there_are_scores_of_age_or_disability() -> None:
    run = made(["adult"] * 20)
    assert presence.applies(run, Options(by="all", encoder="tiny")) == ""
    reason = presence.applies(run, Options(by="all", encoder="another"))
    assert "auditkit score" in reason
    assert "--scorer age" in reason


def test_an_axis_that_is_not_there_is_named() -> None:
    with pytest.raises(TableError, match="no axis 'city'"):
        measured(made(["adult"] * 20), by="city")


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_audits_of_known_truth_are_covered_and_claim_presence_no_more_than_they_may(share: float) -> None:
    rng, covered, claimed = np.random.default_rng(8), 0, 0
    errors = np.array([[0.9, 0.004, 0.0], [0.06, 0.986, 0.05], [0.0, 0.0, 0.93], [0.04, 0.01, 0.02]])
    for _ in range(40):
        truth = rng.choice(3, size=200, p=[share, 0.99 - share, 0.01])
        labels = [[*AGES, "unknown"][rng.choice(4, p=errors[:, t])] for t in truth]
        counts = np.stack([rng.multinomial(m, errors[:, j]) for j, m in enumerate((10, 600, 10))], axis=1)
        options = Options(by="all", encoder="tiny", calibrations={"age": calibration(AGES, counts)})
        found = row(presence.measure(made(labels), options), "corrected", "child")
        covered += found["ci_low"] <= share <= found["ci_high"]
        claimed += found["p_value"] < 0.05
    assert covered >= 37
    assert claimed <= 4 if share == 0 else claimed >= 38
