"""Attributes: their sentences are those that the calibrations were fitted with, and each class has its own."""

from __future__ import annotations

import pytest

from auditkit import registry
from auditkit.clip.attributes import attribute, attributes
from auditkit.clip.calibration import load_calibration
from auditkit.errors import PluginError


@pytest.mark.parametrize("name", ["gender", "skin_tone", "occupation"])
def test_the_bundled_calibrations_hold_for_the_sentences_as_they_are(name: str) -> None:
    assert load_calibration("personas-clip", name) is not None


@pytest.mark.parametrize("name", attributes())
def test_every_attribute_is_a_scorer_with_a_sentence_of_its_own_for_each_class(name: str) -> None:
    found = attribute(name)
    assert name in registry.names("scorers")
    assert registry.load("scorers", name).name == name
    assert found.about.endswith(".")
    assert len(found.classes) > 1
    ensembles = [set(prompts) for prompts in found.classes.values()]
    assert sum(map(len, ensembles)) == len(set.union(*ensembles))


def test_a_class_with_several_sets_of_words_has_the_sentences_of_all() -> None:
    prompts = attribute("age").classes["child"]
    assert {"a child", "a girl", "a portrait of a boy"} <= set(prompts)


def test_only_disability_has_a_class_for_none_of_the_others() -> None:
    assert {name: attribute(name).absent for name in attributes() if attribute(name).absent} == {
        "disability": "none visible"
    }


def test_unknown_is_no_class() -> None:
    assert not any("unknown" in attribute(name).classes for name in attributes())


def test_an_attribute_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(PluginError, match="no such attribute"):
        attribute("star_sign")
