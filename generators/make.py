"""Making a run: a spec's prompts through a generator, shard by shard, resumable."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditkit.energy import Site, metered
from auditkit.errors import GeneratorError, WatermarkError
from auditkit.runs import Refused, Run, RunWriter, Shard, Task, create
from auditkit.runs.background import Background
from auditkit.spec import RunSpec, load_spec
from generators.base import REMOTE, Generator, Job, Keeping, Settings, Steerable
from generators.bundled.planted import planted_of
from generators.load import load_generator
from generators.spread import Place, helpers, its_threads, this_process

if TYPE_CHECKING:
    from auditkit.guidance import Model, Request, Steering
    from auditkit.plan import Plan
    from auditkit.watermark.marking import Mark

Progress = Callable[[int, int], None]
"""Called with the images done so far, those of earlier attempts included, and all there are to be."""
LOOK = 1.0
"""Seconds between two looks at the disk for what other processes have made."""


def generate(
    spec: RunSpec | str | Path,
    *,
    out: str | Path,
    generator: Generator | str | None = None,
    device: str = "auto",
    precision: str = "auto",
    compile: bool = False,
    batch_size: int | None = None,
    processes: int = 1,
    progress: Progress | None = None,
    plan: Plan | None = None,
    watermark: Mark | None = None,
    mitigation: Request | None = None,
    site: Site | None = None,
) -> Run:
    """Make the images of `spec` as a run in the folder `out`, or go on with a run that was cut off.

    A shard's batches never reach into the next one, and a resumed run keeps its batch size: so it makes
    the bytes that an unbroken run would have made. Several processes may work on one run: started by `processes`, by
    `accelerate launch`, or as the same command twice; each claims the shards that it makes.

    Args:
        spec: a RunSpec, a suite's name or a TOML file.
        generator: one that is loaded already, or a name for `load_generator`; None is the spec's own.
        device, precision: see `device.pick_device`; for a generator that is named. Of several processes each takes
            a GPU of its own, where `device` is auto or cuda.
        compile: compile the networks of a generator that is named, see `compiled.Compiled`.
        batch_size: images made at a time; None is the generator's own choice.
        processes: work in so many processes, this one among them; they share the cores, or have a GPU each.
        progress: called in the first process alone; counts the images of all.
        plan: what was planned, kept in run.json before the first image; a plan with looks is made up to the next look
            (see `auditkit.plan`). Whatever of `spec` differs from the plan's is listed as a deviation.
        watermark: put on every image; recorded in run.json by scheme, key id and payload.
        mitigation: steers the images toward a target (docs/mitigation.md); recorded in run.json, as passed and as
            resolved.
        site: PUE and grid intensity where they are known; run.json's `energy` tells carbon by them.

    Raises:
        WatermarkError: the watermark's noise does not fit the generator, or the images are too small for it.
        SpecError, GeneratorError, PluginError: what was asked for does not hold.
        RunError: the run cannot be written; what was finished is kept.
    """
    if not isinstance(spec, RunSpec):
        spec = load_spec(spec)
    if processes > 1:
        return _generate_together(
            processes,
            progress,
            spec=spec,
            out=out,
            generator=generator,
            device=device,
            precision=precision,
            compile=compile,
            batch_size=batch_size,
            plan=plan,
            watermark=watermark,
            mitigation=mitigation,
            site=site or Site.given(),
        )
    return _generate(
        spec,
        out,
        generator,
        device,
        precision,
        compile,
        batch_size,
        plan,
        watermark,
        mitigation,
        site or Site.given(),
        progress,
        this_process(),
    )


def _generate_together(processes: int, progress: Progress | None, **asked: Any) -> Run:
    """`generate` in this process and in others, which are told what was asked for."""
    if not isinstance(asked["generator"], str | None):
        raise GeneratorError(
            "a generator that is loaded cannot be shared among processes",
            where=f"processes={processes}",
            mend="give its name, or the folder of its checkpoint",
        )
    if this_process().of > 1:
        raise GeneratorError(
            "this process was started as one of several already",
            where=f"processes={processes}",
            mend="leave out --processes under accelerate launch",
        )
    with helpers(processes, generate, **asked) as place:
        return _generate(**asked, progress=progress, place=place)


def _generate(
    spec: RunSpec,
    out: str | Path,
    generator: Generator | str | None,
    device: str,
    precision: str,
    compile: bool,
    batch_size: int | None,
    plan: Plan | None,
    watermark: Mark | None,
    mitigation: Request | None,
    site: Site | None,
    progress: Progress | None,
    place: Place,
) -> Run:
    """`generate` in this process, which is `place` among those that share the work."""
    if generator is None or isinstance(generator, str):
        name = generator or spec.generator
        generator = load_generator(name, device=place.device(device), precision=precision, compile=compile)
    settings = resolve_settings(spec, generator.info.defaults)
    info = {**generator.info.as_dict(), "batch_size": batch_size or generator.info.batch_size}
    _check_latent(generator, watermark)
    _check_settings(spec, generator, settings)
    steering = None if mitigation is None else _steering(mitigation, spec, generator, settings)
    with (
        its_threads(place),
        create(
            out,
            spec,
            info,
            plan=plan.record() if plan else None,
            watermark=watermark.record() if watermark else None,
            mitigation=steering.record() if steering else None,
        ) as writer,
    ):
        if isinstance(generator, Keeping):
            generator.keep_in(writer.run)
        recorded = writer.run.record["generator"].get("batch_size")
        making = Making(writer, generator, spec, settings, recorded or batch_size, watermark, steering)
        # What another's machines take cannot be metered from here, and our waiting for them is not the making.
        there = generator.info.device == REMOTE
        watch = metered(writer.run.path, generator.info.device, images=lambda: writer.written, site=site)
        with nullcontext() if there else watch, _steered(generator, steering, settings, writer):
            making.make_pending(progress if place.first else None, place)
        _record_memory(writer.run, generator)
        return writer.finish()


def _steering(request: Request, spec: RunSpec, generator: Generator, settings: Settings) -> Steering:
    """What steers the run; wrong options, targets and models are told before anything is written."""
    from auditkit.guidance import steer

    def planted(name: str) -> list[dict[str, Any]] | None:
        return planted_of(name) if name else generator.info.planted

    return steer(request, spec, _model(generator, settings), planted=planted)


@contextmanager
def _steered(generator: Generator, steering: Steering | None, settings: Settings, writer: RunWriter) -> Iterator[None]:
    """Inside, the generator makes its images with the mitigation; prepared only if there is an image to make."""
    if steering is None or not writer.pending():
        yield
        return
    model = _model(generator, settings)
    steering.method.prepare(model, steering.policy)
    with generator.mitigated(steering.method, model) if isinstance(generator, Steerable) else nullcontext():
        yield


def _model(generator: Generator, settings: Settings) -> Model:
    """What a mitigation sees of the generator."""
    from auditkit.guidance import Model

    if isinstance(generator, Steerable):
        return generator.model(settings.guidance)
    return Model(generator.info.name, settings.guidance)


def resolve_settings(spec: RunSpec, defaults: Settings) -> Settings:
    """What the spec asks for, and the generator's own default where it asks for nothing."""
    return Settings(
        sampler=defaults.sampler if spec.sampler is None else spec.sampler,
        steps=defaults.steps if spec.steps is None else spec.steps,
        guidance=defaults.guidance if spec.guidance is None else spec.guidance,
    )


def _check_latent(generator: Generator, watermark: Mark | None) -> None:
    """Raise WatermarkError, before anything is written, where the generator cannot start from marked noise."""
    if watermark is None or not watermark.latent:
        return
    shape = generator.info.details.get("latent_shape")
    if shape is None:
        raise WatermarkError(
            f"the generator '{generator.info.name}' has no latent that '{watermark.scheme.name}' could mark",
            where=f"watermark={watermark.scheme.name}",
            mend="use a scheme in the pixels, such as spread",
        )
    watermark.scheme.capacity(shape)


def _check_settings(spec: RunSpec, generator: Generator, settings: Settings) -> None:
    """Raise GeneratorError, before anything is written, where settings of the run or of a prompt are none that fit."""
    for said in ({}, *(override.settings for override in spec.overrides)):
        list(generator.generate([], _overridden(settings, said)))


def _record_memory(run: Run, generator: Generator) -> None:
    """Add to run.json, which the writer's end writes, what was switched on when memory ran short: it can change pixels.

    Of several processes, and of attempts that were killed, it is known for the one that ends the run, and for those
    that ended an earlier stage of it.
    """
    if given_up := generator.info.details.get("memory"):
        details = run.record["generator"].setdefault("details", {})
        details["memory"] = list(dict.fromkeys([*(details.get("memory") or []), *given_up]))


def _overridden(settings: Settings, said: dict[str, Any]) -> Settings:
    return replace(settings, **{name: value for name, value in said.items() if name != "negative"})


@dataclass
class Making:
    """Making the images of one run in one process."""

    writer: RunWriter
    generator: Generator
    spec: RunSpec
    settings: Settings
    batch_size: int | None
    watermark: Mark | None
    steering: Steering | None = None

    def make_pending(self, progress: Progress | None, place: Place) -> None:
        """Make shards until none is left, written on a thread of its own; see `RunWriter.claim`."""
        count = Count(self.writer, progress)
        with Background(self.writer) as background:
            for shard in self.writer.claim(rank=place.rank, of=place.of):
                self._make(shard, background, count)
        count.end()

    def _make(self, shard: Shard, background: Background, count: Count) -> None:
        """Make a shard. Images of the same settings are made together, whatever lies between them."""
        said = [self.spec.overridden(task.prompt) for task in shard.tasks]
        used = [_overridden(self.settings, each) for each in said]
        jobs = [
            self._job(task, each.get("negative", self.spec.negative))
            for task, each in zip(shard.tasks, said, strict=True)
        ]
        ms = [0.0] * len(jobs)
        for settings in dict.fromkeys(used):
            places = [place for place, each in enumerate(used) if each == settings]
            together = [jobs[place] for place in places]
            began = time.perf_counter()
            made = self.generator.generate(together, settings, batch_size=self.batch_size)
            for place, image in zip(places, made, strict=True):
                marked = image if self.watermark is None or isinstance(image, Refused) else self.watermark.pixels(image)
                background.add(shard, place, marked)
                count.image()
            # Images of a batch are made together: each is charged its part of the time.
            took = 1000 * (time.perf_counter() - began) / len(places)
            for place in places:
                ms[place] = took
        rows = [
            asdict(settings) | {"negative": job.negative} | self._steered(job)
            for settings, job in zip(used, jobs, strict=True)
        ]
        background.end(shard, ms, rows)
        count.shard(shard)

    def _job(self, task: Task, negative: str | None) -> Job:
        job = Job(task.prompt.text, task.seed, negative)
        if self.steering is not None:
            aim = self.steering.aim(task.prompt, task.replicate, task.seed)
            prompt = job.prompt
            if aim.acts:
                prompt, negative = self.steering.method.rewrite(aim, prompt, negative)
            job = Job(prompt, task.seed, negative, aim=replace(aim, prompt=prompt))
        if self.watermark is None or not self.watermark.latent:
            return job
        return replace(job, noise=self.watermark.noise(self.generator.info.details["latent_shape"], task.seed))

    def _steered(self, job: Job) -> dict[str, str | None]:
        """For the row of an image of a run with a mitigation."""
        if self.steering is None or job.aim is None:
            return {}
        to = job.aim.label if self.steering.method.draws else ""
        return {"steered_to": to or None, "prompt_used": job.prompt}


class Count:
    """Images that are done, by whichever process: those of finished shards on the disk, and this one's own since."""

    def __init__(self, writer: RunWriter, progress: Progress | None):
        self._writer, self._progress = writer, progress
        self._size = {shard.index: len(shard.tasks) for shard in writer.due()}
        self._total = sum(self._size.values())
        self._own: set[int] = set()
        self._begun, self._here = 0, 0
        self._looked = -LOOK
        self._elsewhere = 0
        self._look()
        self._at_first, self._since = self._elsewhere, time.perf_counter()
        self._show()

    def image(self) -> None:
        """One more image of this process."""
        self._begun += 1
        self._show()

    def shard(self, shard: Shard) -> None:
        """The shard that those images were of is whole."""
        self._own.add(shard.index)
        self._here, self._begun = self._here + len(shard.tasks), 0
        self._look()

    def end(self) -> None:
        """All is done: note how quick it was, all processes together."""
        self._looked = -LOOK
        self._look()
        self._show()
        made = self._elsewhere + self._here - self._at_first
        if made:
            seconds = time.perf_counter() - self._since
            self._writer.run.record["images_per_second"] = round(made / seconds, 3)

    def _look(self) -> None:
        """Look at the disk for what others have made, now and then."""
        now = time.monotonic()
        if now - self._looked >= LOOK:
            self._looked = now
            pending = {shard.index for shard in self._writer.pending()}
            done = self._size.keys() - pending - self._own
            self._elsewhere = sum(self._size[index] for index in done)

    def _show(self) -> None:
        if self._progress is not None:
            self._progress(self._elsewhere + self._here + self._begun, self._total)
