"""Where a mitigation must not act, and how a group is said of a person."""

from __future__ import annotations

import pytest

from auditkit.guidance.base import Aim
from auditkit.guidance.targets import read_policy
from auditkit.guidance.words import shipped
from auditkit.prompts import expand
from auditkit.spec import RunSpec, load_spec


def aim_of(prompt: str, target: str = "gender=uniform", axes: dict[str, list[str]] | None = None) -> Aim:
    spec = RunSpec(name="one", templates=[prompt], axes=axes or {}, images_per_prompt=1)
    return read_policy(target, spec).aims(spec)(expand(spec)[0], 0, 0)


@pytest.mark.parametrize("prompt", ["a male judge", "a woman judge", "A portrait of a LADY", "a man and a woman",
                                    "an androgynous pilot", "the queen, a person of power", "a policeman"])  # fmt: skip
def test_a_prompt_that_states_the_gender_stays_so(prompt: str) -> None:
    aim = aim_of(prompt)
    assert not aim.acts
    assert aim.why == "the prompt states gender"


@pytest.mark.parametrize(
    "prompt", ["a judge", "a pilot at work", "a woman-owned shop and a person", "a manager person"]
)
def test_words_that_only_look_like_it_state_nothing(prompt: str) -> None:
    assert aim_of(prompt).acts


@pytest.mark.parametrize(("prompt", "tone"), [
    ("a judge with dark skin", "dark"), ("a medium-light-skinned judge", "medium-light"),
    ("a judge with a light skin tone", "light"), ("an african judge", ""), ("a judge with a skin tone", ""),
    ("a judge in dark clothes", None), ("a judge", None),
])  # fmt: skip
def test_a_stated_skin_tone_is_known_again(prompt: str, tone: str | None) -> None:
    assert shipped().stated(prompt, "skin_tone") == tone


def test_of_a_joint_target_what_is_stated_stays_and_the_rest_is_drawn() -> None:
    aim = aim_of("a portrait of a female judge", "gender+skin_tone=uniform")
    assert aim.acts
    assert aim.stated == {"gender": "female"}
    assert set(aim.group) == {"skin_tone"}


def test_the_rest_is_drawn_as_the_target_has_it_for_what_is_stated() -> None:
    spec = RunSpec(name="one", templates=["a male judge"], images_per_prompt=40)
    shares = {"female+light": 0.5, "male+dark": 0.375, "male+medium": 0.125}
    aim = read_policy({"gender+skin_tone": shares}, spec).aims(spec)
    labels = [aim(expand(spec)[0], i, i).label for i in range(40)]
    assert (labels.count("dark"), labels.count("medium")) == (30, 10)


def test_an_axis_of_the_attributes_name_states_it() -> None:
    spec = load_spec("occupations-by-group")
    aim = read_policy("gender+skin_tone=uniform", spec).aims(spec)
    assert not any(aim(prompt, 0, 0).acts for prompt in expand(spec))


@pytest.mark.parametrize(
    "prompt", ["the pope, a person in white", "the Founding Fathers, people of 1776", "a Viking guard"]
)
def test_in_a_context_of_the_list_nothing_is_done(prompt: str) -> None:
    aim = aim_of(prompt)
    assert not aim.acts
    assert "left alone" in aim.why


@pytest.mark.parametrize("suite", ["objects-control"])
def test_where_nobody_is_named_nothing_is_done(suite: str) -> None:
    spec = load_spec(suite)
    aim = read_policy("gender=uniform", spec).aims(spec)
    assert {aim(prompt, 0, 0).why for prompt in expand(spec)} == {"the prompt names nobody"}


def test_every_neutral_prompt_of_the_suite_is_acted_on() -> None:
    spec = load_spec("occupations")
    aim = read_policy("gender=uniform", spec).aims(spec)
    assert all(aim(prompt, 0, 0).acts for prompt in expand(spec))


def test_the_subject_is_the_prompts_own_occupation_however_it_is_called() -> None:
    assert aim_of("a portrait of a blacksmith").why == "the prompt names nobody"
    aim = aim_of("a portrait of {a occupation}", axes={"occupation": ["blacksmith"]})
    assert (aim.acts, aim.subject) == (True, "blacksmith")


@pytest.mark.parametrize(("prompt", "subject", "group", "said"), [
    ("a portrait of a judge", "judge", {"gender": "female"}, "a portrait of a female judge"),
    ("a portrait of an artist", "artist", {"gender": "male"}, "a portrait of a male artist"),
    ("An artist at work", "Artist", {"skin_tone": "dark"}, "An artist with dark skin at work"),
    ("An artist at work", "artist", {"gender": "female"}, "A female artist at work"),
    ("one person", "person", {"gender": "female", "skin_tone": "medium"}, "one woman with medium skin"),
    ("a friendly police officer", "police officer", {"gender": "male"}, "a friendly male police officer"),
])  # fmt: skip
def test_a_group_is_said_of_the_subject(prompt: str, subject: str, group: dict[str, str], said: str) -> None:
    assert shipped().say(prompt, subject, group) == said


def test_a_subject_that_is_not_there_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="does not name"):
        shipped().say("a tree", "judge", {"gender": "male"})


def test_the_words_of_every_class_are_seen_to_state_it_again() -> None:
    words = shipped()
    for attribute in words.table:
        for name in words.classes(attribute):
            said = words.say("a portrait of a judge", "judge", {attribute: name})
            assert words.stated(said, attribute) == name
