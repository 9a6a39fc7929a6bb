from __future__ import annotations

from pathlib import Path

import pytest

from auditkit.errors import SpecError
from auditkit.prompts import expand, fields
from auditkit.spec import RunSpec, load_spec, suites

GOOD = """
name = "mine"
templates = ["a picture of {a job}"]
images_per_prompt = 2
[axes]
job = ["cook", "artist"]
"""


def read(tmp_path: Path, text: str) -> RunSpec:
    path = tmp_path / "spec.toml"
    path.write_text(text)
    return RunSpec.from_toml(path)


def test_a_spec_reads_from_toml_and_keeps_what_was_passed_apart(tmp_path: Path) -> None:
    spec = read(tmp_path, GOOD)
    assert spec.seed == 0
    assert spec.as_passed == {
        "name": "mine",
        "templates": ["a picture of {a job}"],
        "images_per_prompt": 2,
        "axes": {"job": ["cook", "artist"]},
    }


def test_a_spec_survives_the_way_through_its_dict(tiny_spec: RunSpec) -> None:
    assert RunSpec.from_dict(tiny_spec.model_dump(), where="run.json") == tiny_spec


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "images_per_prompt = 2",
            "images_per_promt = 2",
            "unknown key 'images_per_promt'; did you mean 'images_per_prompt'",
        ),
        ("{a job}", "{a jb}", "names the axis 'jb', which is not there; did you mean 'job'"),
        ("{a job}", "someone", "no template uses the axis 'job'"),
        ('"a picture of {a job}"', '""', "a template is empty"),
        ('"a picture of {a job}"', '"  "', "a template is empty"),
        ('"a picture of {a job}"', "", "'templates' is []"),
        ('"a picture of {a job}"', '"{a job}", "{a job}"', r"the template '{a job}' is there 2 times"),
        ('"a picture of {a job}"', '"{a job}", "an {job}"', "the prompt 'an artist' is there 2 times"),
        ("{a job}", "{a job} {", "brace that is not a field"),
        ("{a job}", "{A Job}", "brace that is not a field"),
        ('"cook", "artist"', "", "the axis 'job' has no values"),
        ('"cook", "artist"', '"cook", " "', "the axis 'job' has an empty value"),
        ('"cook", "artist"', '"cook", "cook"', "axis 'job': the value 'cook' is there 2 times"),
        ("images_per_prompt = 2", "images_per_prompt = 0", "'images_per_prompt' is 0"),
        ("images_per_prompt = 2", "images_per_prompt = 1.5", "'images_per_prompt' is 1.5"),
        ("images_per_prompt = 2", "images_per_prompt = true", "'images_per_prompt' is True"),
        ("images_per_prompt = 2", "", "the spec has no 'images_per_prompt'"),
        ("images_per_prompt = 2", "images_per_prompt = 2\nguidance = -1.0", "'guidance' is -1.0"),
        ("images_per_prompt = 2", "images_per_prompt = 2\nguidance = nan", "'guidance' is nan"),
        ("images_per_prompt = 2", "images_per_prompt = 2\nsteps = 0", "'steps' is 0"),
        ("images_per_prompt = 2", 'images_per_prompt = 2\nguidance = "3"', "'guidance' is '3'"),
        ("images_per_prompt = 2", 'images_per_prompt = 2\nby = "jobs"', "no axis 'jobs'; did you mean 'job'"),
        (
            '"a picture of {a job}"',
            '"{a job}", "someone"]\nby="job"\nnegative = "x"#',
            "template 'someone' does not name it",
        ),
        ('name = "mine"', 'name = "../mine"', "'name' is '../mine'"),
        ("[axes]", "[axes", "line"),
    ],
)
def test_a_spec_that_does_not_hold_is_refused_in_plain_words(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in GOOD
    if new.endswith("#"):  # closes the list itself
        text = GOOD.replace(old + "]", new)
    else:
        text = GOOD.replace(old, new)
    with pytest.raises(SpecError) as caught:
        read(tmp_path, text)
    assert message in caught.value.what
    assert caught.value.mend
    assert str(caught.value.where).endswith("spec.toml")


def test_a_spec_that_would_not_fit_in_memory_is_refused_before_it_is_expanded() -> None:
    digits = [str(digit) for digit in range(10)]
    axes = dict.fromkeys("abcdefghi", digits)
    raw = {"name": "x", "templates": ["{a}{b}{c}{d}{e}{f}{g}{h}{i}"], "axes": axes, "images_per_prompt": 1}
    with pytest.raises(SpecError, match="makes 1,000,000,000 prompts"):
        RunSpec.from_dict(raw, where="here")


def test_a_spec_file_that_is_missing_is_named() -> None:
    with pytest.raises(SpecError, match=r"does not exist[\s\S]*nowhere\.toml"):
        load_spec("nowhere.toml")


def test_a_spec_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spec.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="cannot be read"):
        load_spec(tmp_path / "spec.toml")


def test_a_suite_with_a_typo_gets_its_near_match() -> None:
    with pytest.raises(SpecError, match="no suite 'ocupations'; did you mean 'occupations'"):
        load_spec("ocupations")


@pytest.mark.parametrize("name", suites())
def test_every_suite_holds_and_says_what_it_is_for(name: str) -> None:
    spec = load_spec(name)
    assert spec.name == name
    assert spec.description
    # One with counter-prompts cannot name an axis that all its templates have.
    assert spec.by in spec.axes or any(not fields(template) for template in spec.templates)


def test_the_occupations_suite_is_twenty_occupations_of_fifty_images() -> None:
    spec = load_spec("occupations")
    assert len(spec.axes["occupation"]) == 20
    assert len(spec.templates) * spec.images_per_prompt == 50


@pytest.mark.parametrize("name", ["occupations", "disability", "objects-control"])
def test_neutral_suites_state_neither_gender_nor_skin_tone(name: str) -> None:
    told = {"female", "male", "man", "woman", "he", "she", "his", "her", "light", "dark", "medium"}
    for prompt in expand(load_spec(name)):
        assert not told & set(prompt.text.split()), prompt.text


def test_the_suite_by_group_states_every_combination() -> None:
    prompts = expand(load_spec("occupations-by-group"))
    cells = {(p.axes["occupation"], p.axes["gender"], p.axes["skin_tone"]) for p in prompts}
    assert len(cells) == 20 * 2 * 5
