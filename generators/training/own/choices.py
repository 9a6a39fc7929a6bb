"""What a user chooses for a training on own data, and that a resumed training chooses the same."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from auditkit.errors import RunError
from auditkit.files import sha256_file, write_json
from generators.training.own.draws import Mix

SETTINGS = "settings.json"


@dataclass(frozen=True)
class Choices:
    """See `auditkit train generator --help`; each attribute is an option there.

    Attributes:
        resolution: side of the square bucket, pixels; None is the checkpoint's own, or 64 for a new model.
        min_snr: gamma; None is 5 for epsilon and no weighting for v; 0 is no weighting.
        words: TOML file of words beside the bundled ones.
    """

    init: Path | None = None
    vae: Path | None = None
    resolution: int | None = None
    max_ratio: float = 2.0
    mirror: bool = False
    train_text_encoder: bool = False
    min_snr: float | None = None
    balance: list[str] = field(default_factory=list)
    balance_within: list[str] = field(default_factory=list)
    max_repeat: float = 10.0
    mix: Mix = field(default_factory=Mix)
    words: Path | None = None

    def command(self, data: Path) -> str:
        """The command line that chooses this, steps and sizes left out; folders by their last names alone."""
        usual, parts = Choices(), ["auditkit", "train", "generator", "--data", data.resolve().name]
        for name in ("init", "vae", "resolution", "max_ratio", "mirror", "train_text_encoder", "min_snr"):
            value = getattr(self, name)
            if value != getattr(usual, name):
                option = "--" + name.replace("_", "-")
                shown = value.resolve().name if isinstance(value, Path) else str(value)
                parts += [option] if value is True else [option, shown]
        for option, names in (("--balance", self.balance), ("--balance-within", self.balance_within)):
            parts += [option, ",".join(names)] if names else []
        parts += ["--max-repeat", f"{self.max_repeat:g}"] if self.max_repeat != usual.max_repeat else []
        for option, share, default in (
            ("--swap-captions", self.mix.swap, 0.0),
            ("--neutral-captions", self.mix.neutral, 0.0),
            ("--caption-dropout", self.mix.dropout, usual.mix.dropout),
        ):
            parts += [option, f"{share:g}"] if share != default else []
        parts += ["--words", self.words.name] if self.words else []
        return shlex.join(parts)


def remember(out: Path, choices: Choices, data: str, *, seed: int, batch: int, batches: int, write: bool) -> None:
    """Write what a training in `out` draws by; where one was begun there, check that it is the same.

    What was drawn is told from the indices of the steps alone, and that holds only if they all meant the same.

    Args:
        data: `Data.sha256`. batches: in an optimizer step, over all processes. write: False in all processes but one.

    Raises:
        RunError: the training in `out` was begun with other data or choices; the first is named.
    """
    now: dict[str, Any] = asdict(choices) | {"data": data, "seed": seed, "batch": batch, "batches_a_step": batches}
    now |= {name: None if now[name] is None else _fingerprint(Path(now[name])) for name in ("init", "vae", "words")}
    path = out / SETTINGS
    if (out / "checkpoint.safetensors").is_file():
        try:
            before = dict(json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError):
            before = None
        if not before:
            raise RunError("The folder holds another kind of training.", where=out, mend="Pass another --out.")
        for name, value in json.loads(json.dumps(now)).items():
            if before.get(name) != value:
                mend = "Go on with what it was begun with, or pass another --out."
                if name == "batches_a_step":
                    mend = f"Processes times --accumulate must come to {before.get(name)}; or pass another --out."
                what = f"A training was begun here with {name} {before.get(name)!r}, and this is {value!r}."
                raise RunError(what, where=path, mend=mend)
    elif write:
        write_json(path, now)


def _fingerprint(path: Path) -> str:
    """What a file or a folder of weights holds, in short."""
    files = [path] if path.is_file() else sorted(path.rglob("*.safetensors"))
    return " ".join(sha256_file(file)[:16] for file in files)
