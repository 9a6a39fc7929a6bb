"""Resumable training state as safetensors and JSON: nothing here is ever pickled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditkit.errors import RunError

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


def save(folder: Path, *, modules: dict[str, nn.Module], optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Write `checkpoint.safetensors` (weights, EMA, optimizer moments, with `state` in its header) by rename.

    One file holds both, so that a kill between two writes cannot pair new weights with an old step.
    """
    from safetensors.torch import save_file

    tensors = {
        f"module.{name}.{key}": value.detach().cpu().contiguous().clone()
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }
    for index, moments in optimizer.state_dict()["state"].items():
        for key, value in moments.items():
            tensors[f"optimizer.{index}.{key}"] = value.detach().cpu().contiguous().clone()
    path = folder / "checkpoint.safetensors"
    save_file(tensors, path.with_suffix(".tmp"), metadata={"state": json.dumps(state)})
    path.with_suffix(".tmp").replace(path)


def read_state(folder: Path) -> dict[str, Any]:
    """The `state` of the checkpoint that `save` wrote in `folder`, without its weights."""
    from safetensors import safe_open

    with safe_open(folder / "checkpoint.safetensors", framework="pt") as file:
        return dict(json.loads(file.metadata()["state"]))


def load(folder: Path, *, modules: dict[str, nn.Module], optimizer: Optimizer) -> dict[str, Any] | None:
    """Restore what `save` wrote and return its `state`; None where the folder holds no checkpoint.

    Raises:
        RunError: the checkpoint is damaged or of another architecture.
    """
    from safetensors import safe_open

    path = folder / "checkpoint.safetensors"
    if not path.is_file():
        return None
    mend = "Delete the file to start again, or pass another --out."
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
            state = json.loads(file.metadata()["state"])
        for name, module in modules.items():
            prefix = f"module.{name}."
            module.load_state_dict({k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)})
        moments: dict[int, dict[str, Any]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, index, moment = key.split(".", 2)
                moments.setdefault(int(index), {})[moment] = value
        optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
    except Exception as error:  # safetensors and torch raise many kinds; each means the same to the user
        raise RunError(f"The training checkpoint cannot be read: {error}", where=path, mend=mend) from error
    return state
