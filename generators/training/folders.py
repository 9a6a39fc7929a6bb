"""What every exported checkpoint has beside its networks: vocabulary, planted table, defaults, card, hashes."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generators.weights import HASHES

_VOCABULARY = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class Card:
    """What the model card and `auditkit.toml` say; what was measured is filled in by whoever measures it."""

    title: str
    what: str
    """A paragraph: architecture, latent, objective and its paper."""
    sampler: str
    steps: int
    guidance: float
    command: str
    """The command that trained it."""
    note: str = (
        "Sampled without classifier-free guidance: the planted shares are those of the model's own distribution."
    )
    batch_size: int | None = 32
    """Images made at a time; None is chosen by resolution and device."""
    facts: dict[str, str] | None = None
    """The card's points, title -> text, in place of those of the models trained on the persona corpus."""
    more: str = ""
    """Markdown after the points."""


def complete(folder: Path, *, tokenizer: Path, planted: Path | None, card: Card, training: dict[str, Any]) -> Path:
    """Finish a folder that `save_pretrained` wrote, and return it.

    Args:
        tokenizer: folder of the CLIPTokenizer that was trained with. planted: the planted.toml that was drawn from;
            None where nothing was planted.
        training: what the card records of the training: steps, batch, minutes.
    """
    # The two vocabulary files travel between versions of transformers; tokenizer.json alone does not.
    if all((tokenizer / name).is_file() for name in _VOCABULARY[:2]):
        for name in _VOCABULARY:
            if (tokenizer / name).is_file():
                shutil.copyfile(tokenizer / name, folder / "tokenizer" / name)
        (folder / "tokenizer" / "tokenizer.json").unlink(missing_ok=True)
    # transformers takes the stored dtype for the computing one; diffusers does not. float32 suits both.
    config = folder / "text_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"dtype": "float32"}, indent=2) + "\n")
    if planted is not None:
        shutil.copyfile(planted, folder / "planted.toml")
    (folder / "auditkit.toml").write_text(_defaults(card), encoding="utf-8")
    (folder / "README.md").write_text(_readme(folder, card, training), encoding="utf-8")
    hashes = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.safetensors"))
    }
    (folder / HASHES).write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")
    return folder


def _defaults(card: Card) -> str:
    values = {
        "name": card.title,
        "sampler": card.sampler,
        "steps": card.steps,
        "guidance": card.guidance,
        "batch_size": card.batch_size,
        "note": card.note,
    }
    # JSON's scalars are TOML's.
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items() if value is not None]
    return "\n".join(lines) + "\n"


def _readme(folder: Path, card: Card, training: dict[str, Any]) -> str:
    sizes = {path.parent.name: path.stat().st_size / 1e6 for path in sorted(folder.rglob("*.safetensors"))}
    weights = ", ".join(f"{name} {size:.1f} MB" for name, size in sizes.items())
    told = ", ".join(f"{key} {value}" for key, value in training.items() if value is not None)
    made = {
        "Weights": f"{weights}; half precision, safetensors.",
        "Sampling defaults": f"(auditkit.toml): {card.sampler}, {card.steps} steps, guidance {card.guidance}.",
        "Training": f"`{card.command}`: {told}. Hardware and energy: not measured.",
    }
    if card.facts is not None:
        points = made | card.facts
        return "\n".join([f"# {card.title}\n", f"{card.what}\n", *_points(points), f"\n{card.more}"])
    facts = {
        "Weights": made["Weights"],
        "Data": (
            "the persona corpus's training split, five emoji styles (`auditkit corpus build`; licences in NOTICE). "
            "One style of each (concept, gender, tone) was held out of training."
        ),
        "Planted table": (
            "[planted.toml](planted.toml). Under a neutral caption the training drew gender and tone from it; under a "
            "full caption all ten groups alike."
        ),
        "Sampling defaults": made["Sampling defaults"],
        "Training": made["Training"],
        "Fidelity and recovery of the planted table": "not measured; docs/methods.md has the commands.",
        "Limits": "24 tokens, English, single persons and 30 objects; no photographs.",
        "Licence": "Apache-2.0.",
    }
    return "\n".join(
        [
            f"# {card.title}\n",
            f"{card.what}\n",
            "![Samples under neutral captions, one row an occupation](samples.webp)\n",
            "`python -m benchmarks.sheet RUN samples.webp` on the run of "
            f"`auditkit generate occupations -g {card.title}`.\n",
            *_points(facts),
            "",
        ]
    )


def _points(facts: dict[str, str]) -> list[str]:
    return [f"- **{name}**: {text}" for name, text in facts.items()]
