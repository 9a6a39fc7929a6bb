"""Trained parts that some methods need beside the model: a head, sliders, references. A folder of two files each.

part.json          {"kind", "version", "sha256" of the other file, and what the method needs to read it}
part.safetensors   its tensors

Those that came with auditkit lie in bundled/MODEL/KIND-ATTRIBUTE; others are made by `auditkit train`, named by path.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditkit.errors import GeneratorError
from auditkit.files import sha256, slug, write_atomic, write_json

if TYPE_CHECKING:
    import torch

FACTS, TENSORS = "part.json", "part.safetensors"
BUNDLED = Path(__file__).parent / "bundled"
VERSION = 1


@dataclass(frozen=True)
class Part:
    """A part as read.

    Attributes:
        facts: what part.json says. tensors: float32, on the CPU. sha256: of part.safetensors.
    """

    folder: Path
    facts: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]
    sha256: str

    @property
    def name(self) -> str:
        """For run.json: the kind and what of, without the folder, which is another one elsewhere."""
        return f"{self.facts['kind']} of {self.facts['of']}"


def save_part(folder: Path, kind: str, of: str, tensors: Mapping[str, torch.Tensor], **facts: Any) -> Path:
    """Write a part, its tensors in fp16.

    Args:
        of: the model, or encoder, that it belongs to. facts: plain data that the method needs to read it.

    Raises:
        GeneratorError: a number is not finite in fp16. RunError: the folder cannot be written.
    """
    import torch
    from safetensors.torch import save

    small = {name: tensor.detach().cpu().to(torch.float16).contiguous() for name, tensor in tensors.items()}
    for name, tensor in small.items():
        if not bool(torch.isfinite(tensor).all()):
            raise GeneratorError(
                "a number of the part is not finite in half precision", where=name, mend="train again with a lower --lr"
            )
    data = save(small, metadata={"format": "pt"})
    write_atomic(folder / TENSORS, data)
    write_json(folder / FACTS, {"kind": kind, "version": VERSION, "of": of, "sha256": sha256(data), **facts})
    return folder


def read_part(folder: Path, kind: str) -> Part:
    """The part in a folder.

    Raises:
        GeneratorError: there is none, it is damaged, or of another kind.
    """
    import torch
    from safetensors.torch import load

    mend = f"name the folder that `auditkit train {COMMANDS.get(kind, kind)}` wrote"
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        data = (folder / TENSORS).read_bytes()
        found, version = facts["kind"], facts["version"]
    except FileNotFoundError:
        raise GeneratorError(f"there is no {kind} in the folder", where=folder, mend=mend) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GeneratorError(f"the {kind} cannot be read: {error}", where=folder / FACTS, mend=mend) from None
    if found != kind or version != VERSION:
        raise GeneratorError(f"the folder holds version {version} of a '{found}', no {kind}", where=folder, mend=mend)
    digest = sha256(data)
    if digest != facts.get("sha256"):
        raise GeneratorError(f"the {kind} is damaged", where=folder / TENSORS, mend="train it again, or restore it")
    try:
        tensors = {name: tensor.to(torch.float32) for name, tensor in load(data).items()}
    except Exception as error:  # safetensors raises a kind of its own
        raise GeneratorError(f"the {kind} cannot be read: {error}", where=folder / TENSORS, mend=mend) from None
    return Part(folder, facts, tensors, digest)


def bundled(of: str, kind: str) -> list[Path]:
    """The folders of the parts of a kind that came with auditkit, for a model or encoder."""
    return sorted(path.parent for path in (BUNDLED / slug(of)).glob(f"{kind}*/{FACTS}"))


def parts_of(asked: Iterable[str], of: str, kind: str) -> list[Part]:
    """The parts at the paths that were asked for; where none was, the bundled ones of the model.

    Raises:
        GeneratorError: one of them cannot be read.
    """
    folders = [Path(each).expanduser() for each in asked] or bundled(of, kind)
    return [read_part(folder, kind) for folder in folders]


def listed(value: Any) -> Any:
    """A text of paths with commas between them as a tuple of paths; for settings that a command line gives."""
    if isinstance(value, str):
        return tuple(each.strip() for each in value.split(",") if each.strip())
    return value


COMMANDS = {"head": "mitigation-head", "sliders": "slider", "references": "image-references"}
"""Kind of part to the command that makes it."""
