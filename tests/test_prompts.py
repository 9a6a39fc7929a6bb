from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditkit.prompts import article, expand, fields, fill, image_seed
from auditkit.spec import RunSpec

WORDS = st.text(st.characters(categories=["Ll"], max_codepoint=0x17F), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("artist", "an"),
        ("office worker", "an"),
        ("astronaut", "an"),
        ("umbrella", "an"),
        ("uninvited guest", "an"),
        ("hour", "an"),
        ("honest judge", "an"),
        ("judge", "a"),
        ("house", "a"),
        ("university teacher", "a"),
        ("unicorn", "a"),
        ("European cook", "a"),
        ("user", "a"),
        ("one-eyed pilot", "a"),
        ("onerous task", "an"),
    ],
)
def test_the_article_follows_the_sound(word: str, expected: str) -> None:
    assert article(word) == expected


def test_a_field_with_an_article_gets_the_one_that_fits() -> None:
    assert fill("a portrait of {a job}", {"job": "artist"}) == "a portrait of an artist"
    assert fill("{an job}, {job}", {"job": "judge"}) == "a judge, judge"


def test_fields_are_named_once_in_order() -> None:
    assert fields("{a gender} {occupation} and {a occupation}") == ["gender", "occupation"]


@given(
    first=st.lists(WORDS, min_size=1, max_size=4, unique=True),
    second=st.lists(WORDS, min_size=1, max_size=4, unique=True),
)
def test_expansion_is_the_whole_product_in_order(first: list[str], second: list[str]) -> None:
    spec = RunSpec(
        name="x",
        templates=["{one}-{two}", "only {one}!"],
        axes={"one": first, "two": second},
        images_per_prompt=1,
    )
    prompts = expand(spec)
    crossed = [f"{a}-{b}" for a in first for b in second]
    assert [prompt.text for prompt in prompts] == crossed + [f"only {a}!" for a in first]
    assert [prompt.prompt_id for prompt in prompts] == list(range(len(prompts)))
    assert prompts[-1].axes == {"one": first[-1]}


def test_the_seed_is_the_documented_hash() -> None:
    digest = hashlib.sha256(b"7|a judge|2").digest()
    assert image_seed(7, "a judge", 2) == int.from_bytes(digest[:8], "big") % 2**63


@given(st.integers(0, 2**63), st.text(max_size=30), st.integers(0, 10**6))
def test_seeds_fit_a_signed_64_bit_integer(spec_seed: int, prompt: str, replicate: int) -> None:
    assert 0 <= image_seed(spec_seed, prompt, replicate) < 2**63


def test_prompts_and_replicates_share_no_seed(tiny_spec: RunSpec) -> None:
    seeds = {image_seed(0, prompt.text, r) for prompt in expand(tiny_spec) for r in range(3)}
    assert len(seeds) == 24
