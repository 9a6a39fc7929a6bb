"""What a checkpoint folder says of itself: diffusers' model_index.json, and our auditkit.toml beside it."""

from __future__ import annotations

import contextlib
import json
import re
import tomllib
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from auditkit.errors import GeneratorError
from generators.base import Settings
from generators.samplers import AS_SHIPPED, check_sampler


class Notes(BaseModel):
    """`auditkit.toml` of a checkpoint: how it is best sampled. What it does not say is its family's default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = None
    """What to call it in reports."""
    sampler: str = AS_SHIPPED
    steps: int | None = Field(default=None, ge=1)
    guidance: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    resolution: int | None = Field(default=None, ge=8)
    """Side of the images, pixels; None is what the checkpoint was trained on."""
    batch_size: int | None = Field(default=None, ge=1)
    """Images made at a time; None is chosen by resolution and device."""
    note: str = ""
    """A sentence for people."""


def read_notes(folder: Path) -> Notes:
    """The checkpoint's auditkit.toml, or the defaults where there is none.

    Raises:
        GeneratorError: the file is not TOML, has an unknown key, or a value out of range.
    """
    path = folder / "auditkit.toml"
    if not path.is_file():
        return Notes()
    try:
        notes = Notes(**tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise GeneratorError(f"auditkit.toml is not TOML: {error}", where=path, mend="correct it") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        mend = f"correct it; the keys are {', '.join(Notes.model_fields)}"
        raise GeneratorError(f"auditkit.toml, {key}: {first['msg']}", where=path, mend=mend) from None
    check_sampler(notes.sampler)
    return notes


def read_index(folder: Path, supported: Collection[str]) -> tuple[str, list[str]]:
    """The pipeline class of a checkpoint folder, and the names of its components.

    Raises:
        GeneratorError: no such folder, no model_index.json, a class that is not among `supported`, or a component that
            needs code of its own.
    """
    _check_folder(folder)
    path = folder / "model_index.json"
    try:
        index: dict[str, Any] = dict(json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise GeneratorError(
            "the folder is not a diffusers checkpoint (no model_index.json)",
            where=folder,
            mend="name the folder that holds model_index.json, unet/ or transformer/, vae/ and so on",
        ) from None
    except (OSError, ValueError, TypeError):
        raise GeneratorError("model_index.json is damaged", where=path, mend="fetch the folder again") from None
    return _class_of(index, path, supported), _components(index, path)


def _check_folder(folder: Path) -> None:
    if folder.is_file():
        example = "StableDiffusionPipeline.from_single_file('model.safetensors').save_pretrained('folder')"
        raise GeneratorError(
            "that is a single file, and a checkpoint is a folder",
            where=folder,
            mend=f"convert it with diffusers, by the class of its pipeline: {example}",
        )
    if not folder.is_dir():
        raise GeneratorError("the checkpoint folder does not exist", where=folder, mend="check the path")


def _class_of(index: dict[str, Any], path: Path, supported: Collection[str]) -> str:
    name = index.get("_class_name")
    if isinstance(name, list):
        raise _own_code("the pipeline", name, path)
    if name not in supported:
        raise GeneratorError(
            f"checkpoints of the class {name} cannot be used",
            where=path,
            mend=f"use one of the class {', '.join(supported)}; or use 'auditkit import' on its images",
        )
    return str(name)


def _components(index: dict[str, Any], path: Path) -> list[str]:
    """Those that are there, each a class of a known library. Diffusers would import others from the folder itself."""
    import diffusers.pipelines

    found = []
    for name, value in index.items():
        if not isinstance(value, list) or not any(value):
            continue
        if name.startswith("_") or not re.fullmatch(r"\w+", name):
            raise GeneratorError(f"model_index.json names a component '{name}'", where=path, mend="correct it")
        library = value[0]
        known = library in ("diffusers", "transformers") or hasattr(diffusers.pipelines, str(library))
        if not known or any((path.parent / name).glob("*.py")):
            raise _own_code(f"the component '{name}'", value, path)
        found.append(name)
    return found


def _own_code(what: str, value: list[Any], path: Path) -> GeneratorError:
    return GeneratorError(
        f"{what} needs code of its own ({'.'.join(map(str, value))}), and code from checkpoints is never run",
        where=path,
        mend="use a checkpoint of diffusers' own classes; or use 'auditkit import' on its images",
    )


def check_steps(settings: Settings, scheduler: Any) -> None:
    """Raise GeneratorError where the number of steps is not one that the checkpoint can take."""
    most = int(scheduler.config.get("num_train_timesteps", 1000))
    if not 1 <= settings.steps <= most:
        raise GeneratorError(
            f"the steps must be from 1 to {most}", where=f"steps={settings.steps}", mend="20 to 50 is usual"
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars and advice of diffusers and transformers; errors still come through."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    logs = (diffusers_logging, transformers_logging)
    before = [(log, log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    for log in logs:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # diffusers on its own arguments and configurations
            yield
    finally:
        for log, verbosity, bar in before:
            log.set_verbosity(verbosity)
            if bar:
                log.enable_progress_bar()
