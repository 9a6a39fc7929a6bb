"""The vocabulary of discovery: its form, and the rule that tells which concepts an encoder has words for."""

from __future__ import annotations

import numpy as np

from auditkit.bias.vocabulary import (
    _content,
    contrasts_within_topics,
    sentences,
    states,
    understood,
    vocabulary,
    wording_embeddings,
)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_concepts_have_names_of_their_own():
    names = [each.name for each in vocabulary()]
    assert len(set(names)) == len(names) == 266


def test_the_two_wordings_of_a_concept_share_no_content_word():
    contents = {each.name: [_content(words) for words in each.wordings] for each in vocabulary()}
    assert not [name for name, (first, second) in contents.items() if first & second or not first or not second]


def test_every_wording_comes_in_every_frame():
    said = sentences(vocabulary()[:2])
    assert said[:4] == ["a woman", "a picture of a woman", "a female person", "a picture of a female person"]
    embedded = np.random.default_rng(0).normal(size=(8, 5))
    made = wording_embeddings(embedded, vocabulary()[:2])
    assert made.shape == (2, 2, 5)
    np.testing.assert_allclose(made[0, 1], unit(embedded[2:4].mean(axis=0)))


def test_a_concept_is_understood_where_both_wordings_mean_one_thing():
    rng = np.random.default_rng(1)
    meaning = rng.normal(size=(100, 64))
    wordings = unit(np.stack([meaning, meaning + 0.3 * rng.normal(size=meaning.shape)], axis=1))
    wordings[::2, 1] = unit(rng.normal(size=(50, 64)))
    known = understood(wordings)
    assert known[1::2].all()
    assert known[::2].sum() <= 1


def test_an_encoder_that_says_the_same_of_everything_understands_nothing():
    wordings = unit(np.ones((20, 2, 8)) + 1e-3 * np.random.default_rng(2).normal(size=(20, 2, 8)))
    assert understood(wordings).sum() <= 3


def test_a_concept_stands_against_its_topic_and_a_lone_one_against_all():
    wordings = np.random.default_rng(3).normal(size=(4, 2, 6))
    mean = wordings.mean(axis=1)
    found = contrasts_within_topics(wordings, ["a", "a", "a", "b"])
    np.testing.assert_allclose(found[0], mean[0] - mean[:3].mean(axis=0))
    np.testing.assert_allclose(found[3], mean[3] - mean.mean(axis=0))


def test_a_prompt_states_a_concept_in_so_many_words_only():
    concept = {each.name: each for each in vocabulary()}
    assert states("a portrait of a female judge", concept["woman"])
    assert not states("a portrait of a judge", concept["woman"])
    assert states("a person with dark skin", concept["dark skin"])
    assert not states("a person with medium-dark skin", concept["dark skin"])
    assert states("an office worker at work", concept["office"])
