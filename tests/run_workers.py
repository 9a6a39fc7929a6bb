"""A process that makes plain images for a run, as quick as can be, and writes down what it made."""

from __future__ import annotations

import time
from pathlib import Path

from auditkit.runs import Run, create
from auditkit.runs.background import Background
from auditkit.spec import RunSpec
from tests.conftest import TINY_GENERATOR, plain_image

FIVE_HUNDRED = RunSpec(
    name="five-hundred",
    generator="plain",
    templates=["a portrait of {a occupation}"],
    axes={"occupation": ["artist", "judge", "pilot", "teacher"]},
    images_per_prompt=125,
)


def make_run(out: Path, *, log: Path | None = None, rank: int = 0, of: int = 1, pause: float = 0.0) -> Run:
    """Make what is left of the run of 500 images in shards of 20, its images written on a thread.

    Args:
        log: a file to which a line "<prompt id> <replicate>" is added for each image made here.
        pause: seconds that an image takes at least.
    """
    with create(out, FIVE_HUNDRED, TINY_GENERATOR, shard_size=20) as writer:
        with Background(writer) as background:
            for shard in writer.claim(rank=rank, of=of):
                for position, task in enumerate(shard.tasks):
                    time.sleep(pause)
                    background.add(shard, position, plain_image(task))
                    if log is not None:
                        with log.open("a") as stream:
                            stream.write(f"{task.prompt.prompt_id} {task.replicate}\n")
                count = len(shard.tasks)
                background.end(shard, [1.0] * count, [TINY_GENERATOR["defaults"]] * count)
        return writer.finish()
