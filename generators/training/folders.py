"""What every exported checkpoint has beside its networks: vocabulary, planted table, defaults, model card, hashes."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from generators.cards import ModelCard, Training, write_card
from generators.weights import HASHES

_VOCABULARY = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
SHEET = "samples.webp"
DATA = (
    "The persona corpus's training split: drawings of persons in five emoji styles, and objects (`auditkit corpus "
    "build`; licences in NOTICE). One style of each (concept, gender, tone) was held out of training. No photographs, "
    "nobody's likeness."
)
USE = (
    "To be audited, watermarked, detected and mitigated: its bias under neutral captions is planted, so that what an "
    "instrument says of it can be checked. Not for making pictures that anyone is to look at for their own sake."
)
PLANTED = (
    "Under a neutral caption the training drew gender and tone from it; under a full caption all ten groups alike."
)
LIMITS = ("24 tokens, English, single persons and 30 objects; 128 px; no photographs.",)


@dataclass(frozen=True)
class Card:
    """What the model card and `auditkit.toml` say; what was measured is filled in by whoever measures it.

    The defaults are those of the models trained on the persona corpus.
    """

    title: str
    what: str
    """A paragraph: architecture, latent, objective and its paper."""
    sampler: str
    steps: int
    guidance: float
    command: str
    """The command that trained it."""
    part: str = "all but the autoencoder"
    """What was trained."""
    device: str = "not recorded"
    note: str = (
        "Sampled without classifier-free guidance: the planted shares are those of the model's own distribution."
    )
    batch_size: int | None = 32
    """Images made at a time; None is chosen by resolution and device."""
    use: str = USE
    data: str = DATA
    limits: tuple[str, ...] = LIMITS
    licence: str = "Apache-2.0"
    points: dict[str, str] = field(default_factory=dict)
    """What else is worth a line, title -> text."""
    more: str = ""
    """Markdown after all else."""


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
    write_card(folder, _model_card(folder, card, training, planted is not None))
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


def _model_card(folder: Path, card: Card, training: dict[str, Any], planted: bool) -> ModelCard:
    trained = Training(
        part=card.part,
        command=card.command,
        minutes=training["minutes"],
        steps=training["steps"],
        batch=training["batch"],
        device=card.device,
        note=f"Seed {training['seed']}.",
    )
    return ModelCard(
        title=card.title,
        what=card.what,
        use=card.use,
        data=card.data,
        licence=card.licence,
        limits=list(card.limits),
        planted=PLANTED if planted else "",
        sampling=f"{card.sampler}, {card.steps} steps, guidance {card.guidance}.",
        sheet=SHEET if (folder / SHEET).is_file() else None,
        training=[trained],
        points=card.points,
        more=card.more,
    )
