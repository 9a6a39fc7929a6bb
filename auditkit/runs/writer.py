"""Making a run, shard by shard, so that a killed process loses no more than the shards it was in.

Any number of processes may make shards of one run: each claims a shard before it makes it (`auditkit.runs.locks`).

A run whose plan has looks is made in stages, one up to each look: every prompt gets its first images, then the run is
complete so far; the next stage is made only after a look that said to go on (`auditkit.plan.look`).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, Self

import pandas as pd
from PIL import Image

from auditkit.energy import read_windows, summarise
from auditkit.errors import AuditkitError, RunError, TableError
from auditkit.files import TEMPORARY, write_atomic, write_json
from auditkit.images import encode_png, image_id
from auditkit.overrides import SETTINGS
from auditkit.prompts import Prompt, expand, image_seed
from auditkit.runs.journal import read_journal
from auditkit.runs.locks import CLAIMS, LOCK, RunLock, claim
from auditkit.runs.record import make_record, make_run_id, resolve
from auditkit.runs.refusals import Refused, merge_refusals, refused_shards, write_refused
from auditkit.runs.run import Run, open_run
from auditkit.schemas import IMAGES, check, read_parquet, read_table, write_table
from auditkit.spec import RunSpec

LOOKS = "looks.jsonl"
"""What each look at a run in stages decided."""
STEERED = ("steered_to", "prompt_used")
"""What is kept of each image of a run with a mitigation: the group it was moved toward, the prompt that made it."""
WAIT = 0.1
"""Seconds between two looks at shards that other processes make."""

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Task:
    """One image to make: its prompt, which replicate of it, and its seed."""

    prompt: Prompt
    replicate: int
    seed: int


@dataclass(frozen=True)
class Shard:
    """Images that are kept together: all of them or none."""

    index: int
    tasks: list[Task]
    stage: int = 0


class RunWriter:
    """Writes a run's shards. Made by `create`; several processes may each have one of the same run.

    for shard in writer.claim():
        writer.write_shard(shard, images, ms, settings)
    run = writer.finish()
    """

    def __init__(self, run: Run, shards: list[Shard], lock: RunLock | None):
        self.run = run
        self.shards = shards
        self.written = 0
        """Images that this writer has kept."""
        self._lock = lock
        self._claims: dict[int, IO[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the run and of what was claimed of it, so that other processes may go on."""
        for index in list(self._claims):
            self._release(index)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def due(self) -> list[Shard]:
        """The shards that make the run complete, in order; of a run in stages those up to the next look."""
        stage = due_stage(self.run)
        return [shard for shard in self.shards if shard.stage <= stage]

    def pending(self) -> list[Shard]:
        """Those of `due` that are still to be made, by whomever."""
        there = self._made()
        return [shard for shard in self.due() if shard.index not in there]

    def claim(self, *, rank: int = 0, of: int = 1) -> Iterator[Shard]:
        """The pending shards, each for this process alone until it is written, until none is left in the whole run.

        Waits while other processes make the last ones, and takes over what one that died had begun.

        Args:
            rank, of: where `of` processes share the work, this one begins with the shards rank, rank + of, ...; then
                it helps with what is left.
        """
        while True:
            left = [shard for shard in self.pending() if shard.index not in self._claims]
            if not left:
                return
            took = False
            for shard in sorted(left, key=lambda shard: (shard.index % of != rank, shard.index)):
                held = claim(self.run.path, shard.index)
                if held is None:
                    continue
                if self._file(shard).is_file():  # made since we looked
                    held.close()
                    continue
                self._claims[shard.index] = held
                took = True
                yield shard
            if not took:
                time.sleep(WAIT)

    def write_shard(
        self,
        shard: Shard,
        images: Sequence[Image.Image | Refused],
        ms: Sequence[float],
        settings: Settings | Sequence[Settings],
    ) -> None:
        """Keep a shard: its images first, then its table, whose rename makes the shard count.

        Args:
            images: one for each task, in order; of a `Refused` there will be no row.
            ms: milliseconds that each image took.
            settings: `sampler`, `steps`, `guidance`, `negative` as used, and of a run with a mitigation `steered_to`
                and `prompt_used`; the same for all images, or one for each.

        Raises:
            RunError: the disk is full or cannot be written; the run stays as it was.
        """
        self._check_counts(shard, images, ms)
        self.keep(shard, [self.store(shard, image) for image in images], ms, settings)

    def store(self, shard: Shard, image: Image.Image | Refused) -> dict[str, Any] | Refused:
        """Keep one image of a shard; what `keep` wants to know of it. A refusal is handed on.

        Raises:
            RunError: as `write_shard`.
        """
        if isinstance(image, Refused):
            return image
        with self._naming(shard):
            return store_image(self.run.path, image)

    def keep(
        self,
        shard: Shard,
        stored: Sequence[dict[str, Any] | Refused],
        ms: Sequence[float],
        settings: Settings | Sequence[Settings],
    ) -> None:
        """Keep the table of a shard whose images are stored; as `write_shard`."""
        self._check_counts(shard, stored, ms)
        each = [settings] * len(stored) if isinstance(settings, Mapping) else settings
        rows = [
            {
                **image,
                **_task_row(task),
                **{name: used.get(name) for name in SETTINGS},
                **{name: used[name] for name in STEERED if name in used},
                "shard": shard.index,
                "ms": took,
            }
            for task, image, took, used in zip(shard.tasks, stored, ms, each, strict=True)
            if not isinstance(image, Refused)
        ]
        with self._naming(shard):
            write_refused(self.run.path, shard, stored)
            write_table(image_table(rows), self._file(shard), IMAGES)
        self.written += len(rows)
        self._release(shard.index)

    def finish(self) -> Run:
        """Merge the shards into images.parquet, which makes the run complete, and let go of it.

        Of several processes the last one to come here merges; all of them return the complete run.

        Raises:
            RunError: a shard is still to be made, or is damaged.
        """
        left = self.pending()
        if left:
            raise RunError(
                f"{len(left)} of {len(self.shards)} shards are still to be made",
                where=self.run.path,
                mend="make and write every shard of pending()",
            )
        if self._lock is not None:
            self._lock.take_alone(wait=True)
            try:
                if self._lock.current:  # else another process has finished the run while we waited
                    self._merge()
                    self._lock.remove()
            except BaseException:
                self._lock.share()
                raise
        self.close()
        return open_run(self.run.path)

    def _merge(self) -> None:
        path = self.run.path
        merged = _merged(self.run)
        fresh = [shard for shard in self.due() if shard.index not in merged]
        if fresh:
            images = self._read_all([self.run.images()] if merged else [], fresh)
            if refused := merge_refusals(path, [shard.index for shard in fresh]):
                self.run.record["refused"] = refused
            # run.json first: the run counts as complete from the moment images.parquet is there.
            self.run.record["seconds"] = round(float(images["ms"].sum()) / 1000, 3)
            if energy := summarise(read_windows(path), images=len(images)):
                self.run.record["energy"] = energy
            write_json(path / "run.json", self.run.record)
            # Numbers of fewer images would pass for those of all of them; a look keeps its own in looks.jsonl.
            (path / "measurements.parquet").unlink(missing_ok=True)
            write_table(images, path / "images.parquet", IMAGES)
        _remove_leftovers(path)
        for folder in ("shards", CLAIMS):
            shutil.rmtree(path / folder, ignore_errors=True)

    def _check_counts(self, shard: Shard, images: Sequence[Any], ms: Sequence[float]) -> None:
        if self._lock is None:
            raise RunError("this writer is closed", where=self.run.path, mend="create() the run again to go on")
        if not len(shard.tasks) == len(images) == len(ms):
            raise RunError(
                f"a shard of {len(shard.tasks)} tasks got {len(images)} images and {len(ms)} times",
                where=self._file(shard),
                mend="give one image and one time for each task",
            )

    @contextlib.contextmanager
    def _naming(self, shard: Shard) -> Iterator[None]:
        """Errors of writing say which shard it was, and that the others are kept."""
        try:
            yield
        except RunError as error:
            raise RunError(
                f"shard {shard.index} of {len(self.shards)} could not be written: {error.what}",
                where=error.where,
                mend=f"{error.mend}; the finished shards are kept, and the run resumes after them",
            ) from error

    def _made(self) -> set[int]:
        """Indices of the shards that are made: one look at the folder, however many there are."""
        try:
            names = os.listdir(self.run.path / "shards")
        except FileNotFoundError:
            names = []
        return _merged(self.run) | {int(name[:-8]) for name in names if re.fullmatch(r"\d+\.parquet", name)}

    def _release(self, index: int) -> None:
        held = self._claims.pop(index, None)
        if held is not None:
            held.close()

    def _file(self, shard: Shard) -> Path:
        return self.run.path / "shards" / f"{shard.index:05d}.parquet"

    def _read_all(self, before: list[pd.DataFrame], fresh: list[Shard]) -> pd.DataFrame:
        """The images table of the whole run, checked as one: a check of 50 rows takes as long as one of 5,000."""
        tables = [self._read(shard, lambda path: read_parquet(path).to_pandas()) for shard in fresh]
        tables = [table for table in [*before, *tables] if len(table)]
        if not tables:
            raise RunError(
                "the generator refused every image of the run",
                where=self.run.path / "shards",
                mend="read its reasons there, in *.refused.jsonl; ask with other prompts, or another model",
            )
        try:
            images = check(pd.concat(tables, ignore_index=True), IMAGES, self.run.path / "images.parquet")
        except TableError:
            for shard in fresh:  # say which one it is
                self._read(shard, lambda path: read_table(path, IMAGES))
            raise
        return images.sort_values(["prompt_id", "replicate"], ignore_index=True)

    def _read(self, shard: Shard, read: Callable[[Path], pd.DataFrame]) -> pd.DataFrame:
        try:
            return read(self._file(shard))
        except AuditkitError as error:
            raise RunError(
                f"shard {shard.index} is damaged: {error.what}",
                where=self._file(shard),
                mend="delete that file and start the same command again: the shard is made anew",
            ) from error


def create(
    out: str | Path,
    spec: RunSpec,
    generator_info: dict[str, Any],
    *,
    shard_size: int = 50,
    resume: bool = True,
    plan: dict[str, Any] | None = None,
    watermark: dict[str, Any] | None = None,
    mitigation: dict[str, Any] | None = None,
) -> RunWriter:
    """Begin the run of `spec` in the folder `out`, or go on with it where it stopped.

    Args:
        generator_info: `GeneratorInfo.as_dict()`; `name` is needed.
        shard_size: images kept together; a resumed run keeps its own.
        resume: False makes a run that exists already an error.
        plan: `Plan.record()`, kept in run.json before the first image is made.
        watermark: `Mark.record()`, what the images are marked with; it changes them, and so the run's id.
        mitigation: `Steering.record()`, what the images are steered by; likewise.

    Raises:
        RunError: the folder cannot be used, the run was begun without this plan, or it is sealed and would grow.
    """
    resolved = resolve(spec, generator_info)
    path = Path(out) / make_run_id(resolved, generator_info, watermark, mitigation)
    exists = (path / "run.json").is_file()
    if exists and not resume:
        raise RunError("the run exists already", where=path, mend="resume it, or choose another folder or seed")
    if exists:
        run = open_run(path)
        _check_plan(run, plan)
        writer = RunWriter(run, _shards(spec, run.record["shard_size"], _stages(run.record, spec)), None)
        left_over = (path / LOCK).exists() and not (path / "SEAL").is_file()  # killed after the merge, or still in it
        if run.complete and not writer.pending() and not left_over:
            return writer
        if (path / "SEAL").is_file():
            raise RunError("the run is sealed, and would grow", where=path, mend="delete its SEAL, and seal it again")

    passed = {"as_passed": spec.as_passed, "resolved": resolved}
    more = {"shard_size": shard_size, "plan": plan, "watermark": watermark, "mitigation": mitigation}
    given = {key: value for key, value in more.items() if value}
    lock = _begin(path, lambda: make_record(path.name, passed, generator_info, **given), plan)
    try:
        run = open_run(path)
        _check_plan(run, plan)
    except BaseException:
        lock.close()
        raise
    return RunWriter(run, _shards(spec, run.record["shard_size"], _stages(run.record, spec)), lock)


def _begin(path: Path, record: Callable[[], dict[str, Any]], plan: dict[str, Any] | None) -> RunLock:
    """The lock of the run in the folder `path`, shared with other processes, when its run.json is there."""
    file = path / "run.json"
    while True:
        lock = RunLock(path)
        try:
            alone = lock.take_alone(wait=False)
            if alone and lock.current:
                _remove_leftovers(path)
                if not file.is_file():
                    write_json(file, record())
                run = open_run(path)
                if plan and "plan" not in run.record:  # begun, but no image made yet
                    run.record["plan"] = plan
                    write_json(file, run.record)
            lock.share()
            if lock.current and file.is_file():
                if plan and "plan" not in open_run(path).record:
                    raise RunError(
                        "another process makes this run without the plan",
                        where=path,
                        mend="stop it, or generate into another folder",
                    )
                return lock
        except BaseException:
            lock.close()
            raise
        lock.close()


def _remove_leftovers(path: Path) -> None:
    """Temporary files of processes that were killed; for one that holds the run alone."""
    for leftover in path.rglob(f".*{TEMPORARY}"):
        leftover.unlink(missing_ok=True)


def due_stage(run: Run) -> int:
    """The stage up to which images are to be made now: one more than the looks that said to go on."""
    return sum(line.get("decision") == "continue" for line in read_journal(run.path / LOOKS))


def _merged(run: Run) -> set[int]:
    """Shards that images.parquet holds."""
    if not run.complete:
        return set()
    return {int(index) for index in run.images()["shard"].unique()} | refused_shards(run.path)


def _stages(record: dict[str, Any], spec: RunSpec) -> list[int]:
    """Images of each prompt at the end of each stage; one stage where no looks were planned."""
    sequential = ((record.get("plan") or {}).get("content") or {}).get("sequential") or {}
    looks = [int(look) for look in sequential.get("looks", []) if look < spec.images_per_prompt]
    return [*looks, spec.images_per_prompt]


def _check_plan(run: Run, plan: dict[str, Any] | None) -> None:
    """Refuse a plan that comes after the images, or another one than they were begun under."""
    if plan is None:
        return
    before = run.record.get("plan")
    if before is None and (run.complete or any((run.path / "images").glob("*/*.png"))):
        raise RunError(
            "the run has images already, and a plan must come before the first of them",
            where=run.path,
            mend="plan with another seed (auditkit plan ... --seed N), or generate into another folder",
        )
    if before is not None and before.get("sha256") != plan["sha256"]:
        raise RunError(
            f"the run was begun under another plan ({str(before.get('sha256'))[:12]}, not {plan['sha256'][:12]})",
            where=run.path,
            mend="go on with the plan it was begun with, or generate into another folder",
        )


def store_image(run: Path, image: Image.Image) -> dict[str, Any]:
    """Keep an image in the run folder `run`; the columns of its row that follow from its content."""
    data = encode_png(image)
    id = image_id(data)
    path = f"images/{id[:2]}/{id}.png"
    file = run / path
    if not (file.is_file() and file.read_bytes() == data):
        write_atomic(file, data, sync=False)
    return {"id": id, "path": path, "width": image.width, "height": image.height}


def image_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a table with every column of IMAGES, the axes last."""
    names = [name for name in IMAGES.columns if not name.startswith("^")]
    table = pd.DataFrame(rows) if rows else pd.DataFrame(columns=names)
    columns = [name for name in IMAGES.columns if name in table]
    return table[columns + [name for name in table.columns if name.startswith("axis_")]]


def _task_row(task: Task) -> dict[str, Any]:
    return {
        "prompt_id": task.prompt.prompt_id,
        "prompt": task.prompt.text,
        "template": task.prompt.template,
        "replicate": task.replicate,
        "seed": task.seed,
        **{f"axis_{name}": value for name, value in task.prompt.axes.items()},
    }


def _shards(spec: RunSpec, size: int, stages: list[int]) -> list[Shard]:
    prompts, shards = expand(spec), list[Shard]()
    for stage, (first, last) in enumerate(pairwise([0, *stages])):
        tasks = [
            Task(prompt, replicate, image_seed(spec.seed, prompt.text, replicate))
            for prompt in prompts
            for replicate in range(first, last)
        ]
        for start in range(0, len(tasks), size):
            shards.append(Shard(len(shards), tasks[start : start + size], stage))
    return shards
