"""A small byte-pair vocabulary that serves open_clip's SimpleTokenizer and transformers' CLIPTokenizer alike.

CLIP's own vocabulary has 49,408 entries, most of a small model's weights. `train_bpe` learns one of a few
hundred merges from the captions; `write_clip_tokenizer` writes the same ids in transformers' files, so that
one vocabulary serves the CLIP encoder and the text encoder of a diffusion model.

Order of the ids, as SimpleTokenizer builds them: 256 bytes, 256 bytes that end a word, merges, start, end.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable
from pathlib import Path

from auditkit.errors import EncoderError

_HEADER = "#version: 0.2"
_SUFFIX = "</w>"
_START, _END = "<|startoftext|>", "<|endoftext|>"
# open_clip's own pattern (SimpleTokenizer.pat), without the special tokens.
_PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
_MOST_MERGES = 49152 - 256 - 2  # SimpleTokenizer reads no further


def train_bpe(captions: Iterable[str], n_merges: int, path: str | Path) -> int:
    """Learn byte-pair merges from captions; write them as SimpleTokenizer reads them (gzip, a header line).

    The same captions give the same bytes, whatever the process. Fewer merges than asked are written when the
    captions hold no more pairs.

    Args:
        captions: English captions; cleaned and lower-cased as open_clip does before tokenizing.
        n_merges: how many merges to learn, 1 to 48,894.
        path: the file to write, `bpe.txt.gz` by convention.

    Returns:
        The size of the vocabulary, 512 + merges + 2: `vocab_size` in both models' text configurations.

    Raises:
        EncoderError: n_merges out of range, or captions without a single pair to merge.
    """
    from open_clip.tokenizer import bytes_to_unicode, get_clean_fn
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    if not 1 <= n_merges <= _MOST_MERGES:
        raise EncoderError(
            f"A vocabulary of {n_merges} merges cannot be made.",
            where="n_merges",
            mend=f"Ask for 1 to {_MOST_MERGES}.",
        )
    clean = get_clean_fn("lower")
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=_SUFFIX))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERN), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    letters = list(bytes_to_unicode().values())
    trainer = trainers.BpeTrainer(
        # Twice as many as needed: merges that give a token a second time are dropped below.
        vocab_size=512 + 2 * n_merges,
        min_frequency=1,
        show_progress=False,
        # All letters get their ids before any word is read: ties between pairs then break the same way.
        special_tokens=letters + [letter + _SUFFIX for letter in letters],
        end_of_word_suffix=_SUFFIX,
    )
    tokenizer.train_from_iterator(sorted(map(clean, captions)), trainer)
    merges = _distinct(json.loads(tokenizer.to_str())["model"]["merges"])[:n_merges]
    if not merges:
        raise EncoderError(
            "The captions hold no pair of letters to merge.",
            where="captions",
            mend="Pass the captions that the model is trained on.",
        )
    _write_gzip(Path(path), "\n".join([_HEADER, *(f"{a} {b}" for a, b in merges)]))
    return 512 + len(merges) + 2


def read_merges(path: str | Path) -> list[tuple[str, str]]:
    """The merges of a `bpe.txt.gz`, in order of rank.

    Raises:
        EncoderError: the file is missing, is not gzip text, or has a line that is not two tokens.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            lines = file.read().split("\n")[1 : _MOST_MERGES + 1]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise EncoderError(
            f"The vocabulary cannot be read: {error}.",
            where=path,
            mend="Restore bpe.txt.gz, or make it with train_bpe.",
        ) from error
    merges: list[tuple[str, str]] = []
    for number, line in enumerate(lines, start=2):
        parts = line.split()
        if len(parts) != 2:  # also a closing newline, which SimpleTokenizer would count as a token
            raise EncoderError(
                f"Line {number} of the vocabulary is not a merge of two tokens: {line!r}.",
                where=path,
                mend="Write the file with auditkit.clip.tokenizer.train_bpe.",
            )
        merges.append((parts[0], parts[1]))
    return merges


def vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    """Token to id, in SimpleTokenizer's order; the start and end tokens bear transformers' names."""
    from open_clip.tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    tokens = [*letters, *(letter + _SUFFIX for letter in letters), *(a + b for a, b in merges), _START, _END]
    return {token: index for index, token in enumerate(tokens)}


def write_clip_tokenizer(merges_path: str | Path, folder: str | Path, context_length: int) -> Path:
    """Write a folder that `transformers.CLIPTokenizer.from_pretrained` loads, with the ids of `merges_path`.

    Text is padded with the end token, as Stable Diffusion does. The ids before the padding are those of
    SimpleTokenizer for the same text (which pads with 0).

    Args:
        merges_path: a `bpe.txt.gz` written by `train_bpe`.
        folder: made if missing.
        context_length: longest text in tokens, start and end included.

    Raises:
        EncoderError: merges_path cannot be read.
    """
    merges = read_merges(merges_path)
    special = {"bos_token": _START, "eos_token": _END, "unk_token": _END, "pad_token": _END}
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": context_length,
        "do_lower_case": True,
        "errors": "replace",
        "add_prefix_space": False,
        **special,
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "vocab.json", vocabulary(merges))
    lines = [_HEADER, *(f"{a} {b}" for a, b in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    _write_json(folder / "tokenizer_config.json", config)
    _write_json(folder / "special_tokens_map.json", special)
    return folder


def _distinct(merges: list[list[str]]) -> list[tuple[str, str]]:
    """Drop merges that give a token another merge has given: SimpleTokenizer would number it twice."""
    seen: set[str] = set()
    kept = []
    for a, b in merges:
        if a + b not in seen:
            seen.add(a + b)
            kept.append((a, b))
    return kept


def _write_gzip(path: Path, text: str) -> None:
    buffer = io.BytesIO()
    with gzip.GzipFile(
        filename="", mode="wb", fileobj=buffer, mtime=0
    ) as file:  # no name, no time: same bytes
        file.write(text.encode("utf-8"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8", newline="\n")
