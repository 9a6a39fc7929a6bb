"""Words that name a group: found, turned into another group's, or left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditkit.errors import TableError
from generators.training.own.words import NEUTRAL, read_words

GENDER = read_words()["gender"]
TONE = read_words()["skin_tone"]


@pytest.mark.parametrize(
    ("text", "male", "neutral"),
    [
        ("a woman in a car", "a man in a car", "a person in a car"),
        ("Women at work", "Men at work", "People at work"),
        ("a WOMAN", "a MAN", "a PERSON"),
        ("a female artist", "a male artist", "an artist"),
        ("a woman, she is smiling", "a man, he is smiling", "a person, they are smiling"),
        ("her hands", "his hands", "their hands"),
        ("beside her in a car", "beside him in a car", "beside them in a car"),
        ("the coat is hers", "the coat is his", "the coat is theirs"),
        ("a woman's house", "a man's house", "a person's house"),
        ("an actress", "an actor", "an actor"),
        ("portrait, female", "portrait, male", "portrait"),
        ("a female university student", "a male university student", "a university student"),
    ],
)
def test_words_are_turned_and_left_out(text, male, neutral):
    assert GENDER.named(text) == {"female"}
    assert GENDER.turned(text, "male") == male
    assert GENDER.turned(text, NEUTRAL) == neutral
    assert not GENDER.named(neutral) or "actor" in neutral


@given(
    st.sampled_from(["a woman", "her hat", "beside her", "she was late", "an aunt", "two ladies", "the hat is hers"])
)
def test_there_and_back_is_where_one_was(text):
    assert GENDER.turned(GENDER.turned(text, "male"), "female") == text


@pytest.mark.parametrize("text", ["a man-made lake", "a human on mankind street", "a heroine", "a red apple", ""])
def test_parts_of_words_name_nobody_and_the_text_stays(text):
    assert not GENDER.named(text)
    assert GENDER.turned(text, NEUTRAL) == text


def test_a_noun_before_the_trade_is_an_adjective_and_falls_away():
    assert GENDER.turned("a woman judge at work", NEUTRAL, ["judge"]) == "a judge at work"
    assert GENDER.turned("a woman artist", NEUTRAL, ["artist"]) == "an artist"
    assert GENDER.turned("a woman in a hat", NEUTRAL, ["judge"]) == "a person in a hat"


def test_two_groups_in_one_caption_are_both_found():
    assert GENDER.named("a woman and her brother") == {"female", "male"}


def test_skin_tones_are_words_of_skin_alone():
    text = "a person with medium-dark skin in a light room"
    assert TONE.named(text) == {"medium-dark"}
    assert TONE.turned(text, "light") == "a person with light skin in a light room"
    assert TONE.turned(text, NEUTRAL) == "a person in a light room"


def test_a_users_words_come_first_and_may_be_of_other_attributes(tmp_path):
    file = tmp_path / "words.toml"
    file.write_text(
        '[gender]\ngroups = ["female", "male"]\nrows = [["woman", "guy", "someone"]]\n'
        '[age]\ngroups = ["young", "old"]\nrows = [["young", "old", ""]]\n'
    )
    words = read_words(file)
    assert words["gender"].turned("a woman and a girl", "male") == "a guy and a boy"
    assert words["age"].turned("an old man", "young") == "a young man"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[gender", "not TOML"),
        ('[age]\nrows = [["a", "b", ""]]', "groups"),
        ('[age]\ngroups = ["young"]\nrows = [["a", ""]]', "at least two"),
        ('[age]\ngroups = ["young", "old"]', "rows"),
        ('[age]\ngroups = ["young", "old"]\nrows = [["a", "b"]]', "3 words in row 1"),
        ('[gender]\ngroups = ["male", "female"]\nrows = [["man", "woman", ""]]', "those of the bundled words"),
    ],
)
def test_words_that_are_not_of_the_form_are_refused_by_file(tmp_path, content, told):
    file = tmp_path / "words.toml"
    file.write_text(content)
    with pytest.raises(TableError) as caught:
        read_words(file)
    assert told in caught.value.what
    assert caught.value.where == file


def test_a_file_of_words_that_is_missing_is_named(tmp_path):
    with pytest.raises(TableError, match="cannot be read"):
        read_words(tmp_path / "nowhere.toml")
