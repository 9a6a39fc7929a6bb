"""One vocabulary serves open_clip's SimpleTokenizer and transformers' CLIPTokenizer."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditkit.clip.tokenizer import read_merges, train_bpe, vocabulary, write_clip_tokenizer
from auditkit.errors import EncoderError

CAPTIONS = [
    f"{form.format(who=who, tone=tone)}, {style} style"
    for form in (
        "a portrait of a {who} with {tone} skin",
        "a {who} judge with {tone} skin tone",
        "an illustration of a {who} working as a scientist",
        "a {who}'s wheelchair, no. 1",
    )
    for who in ("woman", "man", "female", "male", "person")
    for tone in ("light", "medium-light", "medium", "medium-dark", "dark")
    for style in ("flat", "noto", "fluent")
]
CONTEXT = 64


@pytest.fixture(scope="module")
def merges(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bpe") / "bpe.txt.gz"
    train_bpe(CAPTIONS, 80, path)
    return path


@pytest.fixture(scope="module")
def pair(merges: Path, tmp_path_factory: pytest.TempPathFactory):
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPTokenizer

    folder = write_clip_tokenizer(merges, tmp_path_factory.mktemp("tokenizer"), CONTEXT)
    return SimpleTokenizer(str(merges), context_length=CONTEXT), CLIPTokenizer.from_pretrained(folder)


def both(pair, text: str) -> tuple[list[int], list[int]]:
    simple, clip = pair
    ids = [simple.sot_token_id, *simple.encode(text), simple.eot_token_id]
    return ids, clip(text).input_ids


def test_the_vocabulary_is_bytes_merges_and_two_special_tokens(pair, merges: Path) -> None:
    simple, clip = pair
    size = 512 + len(read_merges(merges)) + 2
    assert simple.vocab_size == len(clip) == len(vocabulary(read_merges(merges))) == size == 512 + 80 + 2
    assert max(simple.encoder.values()) == size - 1  # no token numbered twice
    assert (
        (simple.sot_token_id, simple.eot_token_id)
        == (clip.bos_token_id, clip.eos_token_id)
        == (size - 2, size - 1)
    )


@pytest.mark.parametrize(
    "text",
    [
        *CAPTIONS[::17],
        "zyzzyva quixotic pneumonoultramicroscopic",
        "(two) women; 'quoted' -- no. 42, 3.14!? don't we'll they're",
        "a woman's a man's an artist'd",
        "naïve café, 東京 emoji 👩🏽‍⚖️",
        "  many   spaces\tand\nlines ",
        "",
        "x",
        "x9x 1a2b",
    ],
)
def test_both_tokenizers_give_the_same_ids(pair, text: str) -> None:
    simple, clip = both(pair, text)
    assert simple == clip


@settings(max_examples=150, deadline=None)
@given(text=st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789 .,;:!?'-()/", max_size=60))
def test_both_tokenizers_agree_on_any_lower_case_text(pair, text: str) -> None:
    simple, clip = both(pair, text)
    assert simple == clip


def test_padded_batches_agree_up_to_the_end_token(pair) -> None:
    simple, clip = pair
    texts = [CAPTIONS[0], "a judge", "word " * 200]  # the last is longer than the context
    ours = simple(texts)
    theirs = clip(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    assert ours.shape == theirs.shape == (3, CONTEXT)
    for row, other in zip(ours.tolist(), theirs.tolist(), strict=True):
        end = row.index(simple.eot_token_id) + 1
        assert row[:end] == other[:end]


def test_words_of_the_captions_become_few_tokens(pair) -> None:
    simple, _ = pair
    assert len(simple.encode("a portrait of a woman with dark skin")) < 15  # of 29 letters


def test_the_tokenizer_survives_saving_by_transformers(pair, tmp_path: Path) -> None:
    from transformers import CLIPTokenizer

    _, clip = pair
    clip.save_pretrained(tmp_path)
    again = CLIPTokenizer.from_pretrained(tmp_path)
    assert again(CAPTIONS[3]).input_ids == clip(CAPTIONS[3]).input_ids
    assert again.model_max_length == CONTEXT


def test_the_same_captions_give_the_same_bytes_in_another_process(merges: Path, tmp_path: Path) -> None:
    source = tmp_path / "captions.txt"
    source.write_text("\n".join(reversed(CAPTIONS)))
    code = (
        "import sys, pathlib; from auditkit.clip.tokenizer import train_bpe; "
        "train_bpe(pathlib.Path(sys.argv[1]).read_text().splitlines(), 80, sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", code, str(source), str(tmp_path / "bpe.txt.gz")], check=True)
    assert (tmp_path / "bpe.txt.gz").read_bytes() == merges.read_bytes()


def test_captions_with_few_pairs_give_fewer_merges(tmp_path: Path) -> None:
    assert train_bpe(["ab ab"], 50, tmp_path / "bpe.txt.gz") == 515
    assert read_merges(tmp_path / "bpe.txt.gz") == [("a", "b</w>")]


def test_captions_without_a_pair_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="no pair"):
        train_bpe(["a b c"], 10, tmp_path / "bpe.txt.gz")


def test_a_closing_newline_is_refused_since_it_would_shift_the_special_ids(tmp_path: Path) -> None:
    path = tmp_path / "bpe.txt.gz"
    path.write_bytes(gzip.compress(b"#version: 0.2\na b</w>\n"))
    with pytest.raises(EncoderError, match="Line 3"):
        read_merges(path)


def test_a_vocabulary_that_is_not_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bpe.txt.gz"
    path.write_text("a b")
    with pytest.raises(EncoderError, match="cannot be read"):
        read_merges(path)
