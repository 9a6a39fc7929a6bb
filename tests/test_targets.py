from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from stats_helpers import FakeRun, make_run

from auditkit.bias.targets import load_target, target_shares
from auditkit.errors import SpecError

GENDER = {"cook": [0.5, 0.5], "judge": [0.1, 0.9]}
CLASSES = ["female", "male"]


@pytest.fixture(scope="module")
def run() -> FakeRun:
    cells = [
        ("cook", "female", "light", 0.3), ("cook", "female", "dark", 0.2), ("cook", "male", "light", 0.5),
        ("judge", "female", "light", 0.1), ("judge", "male", "dark", 0.9),
        ("pilot", "male", "dark", 1.0),
    ]  # fmt: skip
    planted = pd.DataFrame(cells, columns=["occupation", "gender", "skin_tone", "probability"])
    return make_run({"gender": GENDER}, np.random.default_rng(0), planted=planted)


def csv(folder: Path, text: str) -> Path:
    path = folder / "labour.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_uniform_is_even_over_the_classes(run):
    assert target_shares("uniform", "gender", "cook", run) == {"female": 0.5, "male": 0.5}
    joint = target_shares("uniform", "gender+skin_tone", "all", run)
    assert len(joint) == 10
    assert joint["female+dark"] == pytest.approx(0.1)


def test_planted_sums_over_the_other_attributes_and_averages_over_the_runs_groups(run):
    assert target_shares("planted", "gender", "judge", run) == pytest.approx({"female": 0.1, "male": 0.9})
    assert target_shares("planted", "gender", "all", run) == pytest.approx({"female": 0.3, "male": 0.7})
    assert target_shares("planted", "gender+skin_tone", "cook", run)["female+dark"] == pytest.approx(0.2)


def test_planted_needs_a_planted_table_and_its_axis(run):
    with pytest.raises(SpecError, match="no planted table"):
        target_shares("planted", "gender", "cook", FakeRun(run.table, run.tables))
    with pytest.raises(SpecError, match="by occupation"):
        load_target("planted", run, by="country", attributes=["gender"])
    with pytest.raises(SpecError, match="says nothing of age"):
        load_target("planted", run, by="occupation", attributes=["age"])


def test_a_table_gives_groups_their_shares_and_all_stands_in_for_the_rest(run, tmp_path):
    path = csv(tmp_path, "group,category,share\njudge,female,.4\njudge,male,.6\nall,female,.5\nall,male,.5\n")
    assert target_shares(path, "gender", "judge", run) == {"female": 0.4, "male": 0.6}
    assert target_shares(path, "gender", "cook", run) == {"female": 0.5, "male": 0.5}
    assert target_shares(path, "gender", "all", run) == pytest.approx({"female": 0.45, "male": 0.55})


def test_a_table_may_hold_several_attributes(run, tmp_path):
    path = csv(
        tmp_path,
        "group,attribute,category,share\nall,gender,female,.5\nall,gender,male,.5\nall,skin_tone,light,1\n",
    )
    assert target_shares(path, "gender", "cook", run) == {"female": 0.5, "male": 0.5}
    assert target_shares(path, "skin_tone", "cook", run)["light"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("group,category,share\nall,female,.5\nall,male,.4\n", "sum to 0.9"),
        ("group,category,share\nall,female,1.5\nall,male,-.5\n", "least -0.5"),
        ("group,category,share\nall,femal,.5\nall,male,.5\n", "did you mean female"),
        ("group,category,share\njuge,female,.5\njuge,male,.5\n", "did you mean judge"),
        (
            "group,category,share\njudge,female,.5\njudge,male,.5\n",
            "no shares of gender for the group 'cook'",
        ),
        ("group,category,share\nall,female,.5\nall,female,.5\n", "twice"),
        ("group,category,share\nall,female,half\nall,male,.5\n", "without a group, a category or a number"),
        ("group,category,shares\nall,female,.5\nall,male,.5\n", "did you mean 'shares'"),
        ("", "cannot be read"),
    ],
)
def test_a_table_that_does_not_hold_is_refused(run, tmp_path, text, message):
    with pytest.raises(SpecError, match=message):
        target_shares(csv(tmp_path, text), "gender", "all", run)


def test_shares_within_a_millionth_of_one_are_scaled(run, tmp_path):
    path = csv(tmp_path, "group,category,share\nall,female,.5000004\nall,male,.5\n")
    assert sum(target_shares(path, "gender", "all", run).values()) == pytest.approx(1, abs=1e-15)


def test_several_attributes_need_the_column_that_tells_them_apart(run, tmp_path):
    path = csv(tmp_path, "group,category,share\nall,female,.5\nall,male,.5\n")
    with pytest.raises(SpecError, match="does not say which"):
        load_target(path, run, by="occupation", attributes=["gender", "skin_tone"])


def test_a_target_or_group_that_is_not_there_is_refused(run):
    with pytest.raises(SpecError, match="did you mean uniform"):
        target_shares("unifrom", "gender", "cook", run)
    with pytest.raises(SpecError, match="no group 'juge'"):
        target_shares("uniform", "gender", "juge", run)
