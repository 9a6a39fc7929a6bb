"""Images that a generator would not make: kept beside the images, because who is refused is a finding of its own.

A shard with refusals has a file of its own beside its table until the run is complete; then all of them are lines of
`refusals.jsonl`. The images table holds images alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditkit.files import write_atomic
from auditkit.runs.journal import read_journal

if TYPE_CHECKING:
    from auditkit.runs.writer import Shard

REFUSALS = "refusals.jsonl"
"""Of each image that was refused its prompt, axes, seed and replicate, and the reason that was given."""


@dataclass(frozen=True)
class Refused:
    """What a generator gives in place of an image that it would not make."""

    code: str
    """The reason as the generator names it, such as `content_policy_violation`."""
    message: str


def write_refused(run: Path, shard: Shard, made: Sequence[Any]) -> None:
    """Keep the refusals among what was made of a shard, or that there were none; before the shard's table.

    Args:
        made: one for each task, in order: a `Refused`, or anything else.

    Raises:
        RunError: the file cannot be written.
    """
    lines = [
        {
            "prompt_id": task.prompt.prompt_id,
            "prompt": task.prompt.text,
            "template": task.prompt.template,
            "axes": task.prompt.axes,
            "replicate": task.replicate,
            "seed": task.seed,
            "shard": shard.index,
            "code": each.code,
            "message": each.message,
        }
        for task, each in zip(shard.tasks, made, strict=True)
        if isinstance(each, Refused)
    ]
    file = _file(run, shard.index)
    if lines:
        write_atomic(file, _text(lines))
    else:
        file.unlink(missing_ok=True)


def read_refusals(run: Path) -> list[dict[str, Any]]:
    """The refusals of a complete run, by prompt and replicate; empty where none was refused.

    Raises:
        TableError: the file is damaged.
    """
    return read_journal(run / REFUSALS)


def merge_refusals(run: Path, shards: Iterable[int]) -> int:
    """Add the refusals of those shards to the run's; how many there are in all.

    Raises:
        RunError: the file cannot be written.
    """
    lines = [line for index in shards for line in read_journal(_file(run, index))]
    before = read_refusals(run)
    held = {(line["prompt_id"], line["replicate"]) for line in before}  # a merge that was cut off is done again
    lines = before + [line for line in lines if (line["prompt_id"], line["replicate"]) not in held]
    if lines:
        lines.sort(key=lambda line: (line["prompt_id"], line["replicate"]))
        write_atomic(run / REFUSALS, _text(lines))
    return len(lines)


def refused_shards(run: Path) -> set[int]:
    """Merged shards in which something was refused: of some there may be no image at all.

    A shard whose table still lies there may have its refusals in the run's file and its images not yet: the process
    that merged it was killed.
    """
    named = {int(line["shard"]) for line in read_refusals(run)}
    return {index for index in named if not (run / "shards" / f"{index:05d}.parquet").is_file()}


def _file(run: Path, index: int) -> Path:
    return run / "shards" / f"{index:05d}.refused.jsonl"


def _text(lines: Iterable[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode("utf-8", "replace")
