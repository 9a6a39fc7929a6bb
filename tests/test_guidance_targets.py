"""Targets and policies: what they read, what they refuse, and to which group each image goes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auditkit.errors import SpecError
from auditkit.guidance.assignment import draw, quota
from auditkit.guidance.targets import read_policy
from auditkit.prompts import expand, image_seed
from auditkit.spec import RunSpec
from generators.bundled.planted import planted_of

SPEC = RunSpec(
    name="jobs", templates=["a portrait of {a occupation}", "{a occupation} at work"],
    axes={"occupation": ["judge", "pilot", "artist"]}, images_per_prompt=10, by="occupation",
)  # fmt: skip
TONES = ["light", "medium-light", "medium", "medium-dark", "dark"]


def groups(target: Any, spec: RunSpec = SPEC, **more: Any) -> dict[str, Counter[str]]:
    """How many images of each occupation go to each group."""
    aim = read_policy(target, spec, planted=planted_of, **more).aims(spec)
    found: dict[str, Counter[str]] = {}
    for prompt in expand(spec):
        for replicate in range(spec.images_per_prompt):
            label = aim(prompt, replicate, image_seed(spec.seed, prompt.text, replicate)).label
            found.setdefault(prompt.axes["occupation"], Counter())[label] += 1
    return found


def test_an_even_target_is_met_exactly_by_quota() -> None:
    assert all(count == {"female": 10, "male": 10} for count in groups("gender=uniform").values())


def test_a_joint_target_is_met_exactly_by_quota() -> None:
    for count in groups("gender+skin_tone=uniform").values():
        assert count == {f"{gender}+{tone}": 2 for gender in ("female", "male") for tone in TONES}


@pytest.mark.parametrize("n", [1, 3, 5, 8])
def test_a_quota_is_met_but_for_rounding_at_every_number_of_images(n: int) -> None:
    spec = RunSpec.from_dict({**SPEC.as_passed, "images_per_prompt": n}, where="test")
    for count in groups({"gender": {"female": 0.3, "male": 0.7}}, spec).values():
        assert abs(count["female"] - 0.3 * 2 * n) < 1


@pytest.mark.parametrize("n", range(1, 30, 4))
def test_every_beginning_of_a_sequence_keeps_to_the_shares(n: int) -> None:
    shares = {"a": 0.1, "b": 0.25, "c": 0.4, "d": 0.25}
    count = Counter(quota(shares, i, "key") for i in range(n))
    assert all(abs(count[name] - n * share) < 2 for name, share in shares.items())


def test_over_the_starts_each_image_has_each_group_with_its_share() -> None:
    shares = {"a": 0.1, "b": 0.2, "c": 0.7}
    for index in (0, 3):
        count = Counter(quota(shares, index, f"start {i}") for i in range(4000))
        assert all(count[name] / 4000 == pytest.approx(share, abs=0.03) for name, share in shares.items())


def test_a_draw_has_the_shares_as_probabilities_and_never_a_group_of_share_nought() -> None:
    count = Counter(draw({"a": 0.2, "never": 0.0, "b": 0.8}, f"seed {i}") for i in range(4000))
    assert count["a"] / 4000 == pytest.approx(0.2, abs=0.02)
    assert set(count) == {"a", "b"}


def test_by_draw_images_are_assigned_each_for_itself() -> None:
    spec = RunSpec.from_dict({**SPEC.as_passed, "images_per_prompt": 200}, where="test")
    counts = groups("gender=uniform", spec, assign="draw")
    assert len({count["female"] for count in counts.values()}) > 1
    assert all(0.4 < count["female"] / 400 < 0.6 for count in counts.values())


def test_the_assignment_is_the_same_again_and_another_with_another_seed() -> None:
    other = RunSpec.from_dict({**SPEC.as_passed, "seed": 1}, where="test")

    def all_of(spec: RunSpec) -> list[str]:
        aim = read_policy("gender=uniform", spec).aims(spec)
        return [aim(prompt, i, 5).label for prompt in expand(spec) for i in range(10)]

    assert all_of(SPEC) == all_of(SPEC)
    assert all_of(SPEC) != all_of(other)


def test_a_group_goes_with_no_template() -> None:
    spec = RunSpec.from_dict(
        {**SPEC.as_passed, "images_per_prompt": 1, "axes": {"occupation": [f"job {i}" for i in range(200)]}},
        where="test",
    )
    aim = read_policy("gender=uniform", spec).aims(spec)
    women = [aim(prompt, 0, 0).label == "female" for prompt in expand(spec) if prompt.template == spec.templates[0]]
    assert 0.35 < np.mean(women) < 0.65


def test_planted_truth_of_another_model_is_a_target_by_occupation() -> None:
    policy = read_policy("gender=planted:personas", SPEC, planted=planted_of)
    assert set(policy.shares) == {"judge", "pilot", "artist"}
    assert policy.shares["artist"] == pytest.approx({"female": 0.5, "male": 0.5})
    assert not policy.uniform


def test_a_table_of_the_users_is_a_target(tmp_path: Path) -> None:
    table = tmp_path / "shares.csv"
    table.write_text("group,category,share\njudge,female,0.2\njudge,male,0.8\nall,female,0.5\nall,male,0.5\n")
    assert groups(f"gender={table}")["judge"] == {"female": 4, "male": 16}
    assert groups(f"gender={table}")["pilot"] == {"female": 10, "male": 10}


def test_groups_that_a_table_says_nothing_of_are_left_alone(tmp_path: Path) -> None:
    table = tmp_path / "shares.csv"
    table.write_text("group,category,share\njudge,female,0.2\njudge,male,0.8\n")
    aim = read_policy(f"gender={table}", SPEC).aims(SPEC)
    assert [aim(prompt, 0, 0).why for prompt in expand(SPEC)][1] == "the target says nothing of 'pilot'"


def test_a_policy_file_says_it_all(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(
        'attribute = "gender"\nby = "occupation"\nassign = "draw"\ncontexts = ["at work"]\n'
        "[shares.all]\nfemale = 0.5\nmale = 0.5\n[shares.judge]\nfemale = 0.9\nmale = 0.1\n"
        '[words.gender.classes.female]\nbefore = "woman"\nalone = "woman"\nstates = ["woman"]\n'
    )
    read = read_policy(policy, SPEC)
    assert read.assign == "draw"
    assert read.shares["judge"]["female"] == 0.9
    assert read.words.say("a judge", "judge", {"gender": "female"}) == "a woman judge"
    judge, _, _, at_work, *_ = expand(SPEC)
    assert read.aims(SPEC)(judge, 0, 0).acts
    assert "left alone: 'at work'" in read.aims(SPEC)(at_work, 0, 0).why


@pytest.mark.parametrize(
    ("target", "what"),
    [
        ({"gender": {"female": 0.5, "male": 0.4}}, "sum to 0.9, not 1"),
        ({"gender": {"judge": {"female": 0.5, "male": 0.4}}}, "'judge' sum to 0.9"),
        ({"gender": {"nurse": {"female": 0.5, "male": 0.5}}}, "names the group 'nurse'"),
        ({"gender": {"femal": 0.5, "male": 0.5}}, "did you mean 'female'"),
        ({"gender": {"female": 1.5, "male": -0.5}}, "from 0 to 1"),
        ({"gender": {"female": float("nan"), "male": 0.5}}, "from 0 to 1"),
        ({"gendre": "uniform"}, "did you mean 'gender'"),
        ({"gender": "uniform", "skin_tone": "uniform"}, "one attribute"),
        ("gender+gender=uniform", "twice"),
        ("uniform", "is no target"),
        ("gender=", "is no target"),
        ("gender=unifrm", "did you mean 'uniform'"),
        ("gender=planted", "no planted table"),
        ("gender=planted:nobody", "'nobody' is no bundled model"),
        ("missing.toml", "does not exist"),
    ],
)
def test_a_target_that_does_not_hold_is_refused(target: Any, what: str) -> None:
    with pytest.raises(SpecError, match=what) as caught:
        read_policy(target, SPEC)
    assert caught.value.where
    assert caught.value.mend


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("attribute = ", "cannot be read"),
        ('attribute = "gender"\n', "no 'shares'"),
        ('attribute = "gender"\nshares = "uniform"\nasign = "draw"\n', "did you mean 'assign'"),
        ('attribute = "gender"\nshares = "uniform"\nassign = "dice"\n', "cannot be assigned by 'dice'"),
        ('attribute = "gender"\nshares = "uniform"\nby = "place"\n', "no axis 'place'"),
        ('attribute = "gender"\nshares = "../shares.csv"\n', "outside its own folder"),
        ('attribute = "gender"\nshares = "uniform"\ncontexts = "pope"\n', "list of texts"),
        ('attribute = "gender"\nshares = "uniform"\n[words.gender.classes.female]\nbefor = "x"\n', "not as they must"),
        ('attribute = "age"\nshares = "uniform"\n', "no words for the attribute 'age'"),
        ('attribute = "gender"\nshares = "uniform"\n[words.gender.classes.other]\nstates = ["x"]\n', "to say 'other'"),
        ('attribute = 3\nshares = "uniform"\n', "must be a text"),
        ('attribute = "gender"\nshares = 3\n', "must be a name or a table"),
    ],
)
def test_a_policy_that_does_not_hold_is_refused(tmp_path: Path, text: str, what: str) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(text)
    with pytest.raises(SpecError, match=what) as caught:
        read_policy(policy, SPEC)
    assert caught.value.mend


def test_an_unknown_assignment_is_refused() -> None:
    with pytest.raises(SpecError, match="did you mean 'quota'"):
        read_policy("gender=uniform", SPEC, assign="quotas")
