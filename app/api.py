"""The Python verbs; the command line mirrors them one for one.

    import auditkit as ak
    run = ak.generate("occupations", generator="personas", out="runs/")
    ak.score(run)
    table = ak.measure(run, by="occupation")
    ak.report(run)

or all four at once: `ak.audit("occupations")`. Where a verb takes `progress`, True shows a bar on stderr,
and a function is called with (done, total).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import output
from app.adapters import check_attribute, find_adapter
from app.finding import RUNS, find_run
from app.output import Progress, progress_bar
from app.pages import report
from auditkit.errors import RunError, SpecError

if TYPE_CHECKING:
    import pandas as pd

    from auditkit.energy import Site
    from auditkit.guidance import Request
    from auditkit.plan import Plan
    from auditkit.runs import Problem, Run
    from auditkit.spec import RunSpec
    from auditkit.watermark.marking import Mark
    from generators.api import ApiGenerator, ApiOptions

ENCODER = "personas-clip"
SCORERS = ["gender", "skin_tone", "occupation", "age", "disability", "skin_pixels"]
"""What `score` looks for where nothing else is said; of runs with an axis `place` surroundings and wealth too."""
ATTRIBUTES = ["gender", "skin_tone"]
ESTIMATOR = "adjusted-count"


@dataclass
class Audit:
    """What `audit` made: the run, its measurements, the report's path and the seconds each stage took."""

    run: Run
    measurements: pd.DataFrame
    report: Path
    seconds: dict[str, float] = field(default_factory=dict)


def resolve_spec(
    spec: str | Path | RunSpec, *, generator: str | None = None, **changes: int | float | str | None
) -> RunSpec:
    """The spec a run is made from: a suite's name, a TOML file or a RunSpec, with `changes` laid over it.

    >>> resolve_spec("occupations", images_per_prompt=2).images_per_prompt
    2

    Raises:
        SpecError: an unknown suite, or a value the spec does not allow.
    """
    from auditkit.spec import RunSpec, load_spec

    loaded = spec if isinstance(spec, RunSpec) else load_spec(spec)
    given = {key: value for key, value in {"generator": generator, **changes}.items() if value is not None}
    return RunSpec.from_dict({**loaded.as_passed, **given}, where=f"the spec '{loaded.name}' with the options given")


def generate(
    spec: str | Path | RunSpec,
    *,
    generator: str | None = None,
    out: str | Path = RUNS,
    seed: int | None = None,
    images_per_prompt: int | None = None,
    sampler: str | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    device: str = "auto",
    compile: bool = False,
    batch_size: int | None = None,
    processes: int = 1,
    plan: str | Path | Plan | None = None,
    watermark: Mark | None = None,
    mitigation: str | None = None,
    target: str | Path | Mapping[str, Any] | None = None,
    mitigation_options: Mapping[str, Any] | None = None,
    allow_network: bool = False,
    site: Site | None = None,
    api: ApiOptions | None = None,
    progress: bool | Progress = False,
) -> Run:
    """Make the images of a spec as a run under `out`, or go on with one that was interrupted.

    Args:
        spec: a suite's name ("occupations"), a TOML file, or a RunSpec.
        generator: "personas", "personas-balanced", any registered name, "path:FOLDER" of a diffusers checkpoint,
            "hf:OWNER/MODEL" from the Hugging Face hub, or "api:MODEL" behind an images API.
        seed, images_per_prompt, sampler, steps, guidance: laid over what the spec says.
        compile: compile the generator's networks for a CUDA device, see docs/performance.md; about a minute at first.
        processes: work in so many, which share the cores or have a GPU each; `accelerate launch` does so too.
        plan: a plan document or its file: the spec is the plan's, and its hash is kept in the run before the
            first image is made. A plan with looks makes the images up to the next look.
        watermark: put on every image; see `app.marks.choose_mark`.
        mitigation: a method that steers the images toward `target` (docs/mitigation.md).
        target: {"gender": "uniform"}, "gender+skin_tone=planted:personas-balanced", a table or a policy file.
        mitigation_options: settings of the method, and `assign`: quota or draw.
        allow_network: download a checkpoint of the hub that is not on this machine.
        site: PUE and grid intensity, `auditkit.energy.Site.given(1.2, 350)`; else those of the environment.
        api: address, rate and budget of a generator behind an API. What was paid for is kept, and the same call goes
            on after a BudgetError with a higher ceiling.

    Raises:
        SpecError, GeneratorError, BudgetError, RunError, WatermarkError.

    Example:
        run = generate("occupations", generator="personas", images_per_prompt=50)
        fair = generate(run.spec, mitigation="semantic-guidance", target={"gender": "uniform"})
    """
    from generators.make import generate as make

    request = _request(mitigation, target, mitigation_options)
    planned = _plan(plan)
    resolved = resolve_spec(
        planned.spec if planned else spec,
        generator=generator,
        seed=seed,
        images_per_prompt=images_per_prompt,
        sampler=sampler,
        steps=steps,
        guidance=guidance,
    )
    if allow_network and resolved.generator.startswith("hf:"):
        from generators.hub import fetch

        fetch(resolved.generator, allow_network=True)
    asked = _api_generator(resolved, api, announce=progress is True)
    if asked is not None and processes > 1:
        mend = "leave out --processes; --api-parallel asks for several images at a time"
        raise SpecError("an API is asked by one process", where=f"processes={processes}", mend=mend)
    if asked is not None and compile:
        raise SpecError("an API's model is not compiled from here", where="compile", mend="leave out --compile")
    with progress_bar("generate", progress) as show:
        return make(
            resolved,
            out=Path(out),
            generator=asked,
            device=device,
            compile=compile,
            batch_size=batch_size,
            processes=processes,
            plan=planned,
            watermark=watermark,
            mitigation=request,
            site=site,
            progress=show,
        )


def _request(name: str | None, target: Any, options: Mapping[str, Any] | None) -> Request | None:
    """The mitigation that is asked for, if one is."""
    if name is None:
        if target is not None or options:
            what = "a target" if target is not None else "options of a mitigation"
            mend = "name a method: --mitigation prompt-diversification, or mitigation=..."
            raise SpecError(f"{what} without a mitigation", where="generate", mend=mend)
        return None
    from auditkit.guidance import Request

    return Request(name, target, dict(options or {}))


def import_folder(
    folder: str | Path,
    prompts: str | Path | None = None,
    *,
    out: str | Path = RUNS,
    name: str | None = None,
    spec: str | Path | RunSpec | None = None,
    skip_unknown: bool = False,
    progress: bool | Progress = False,
) -> Run:
    """Make a run of images from anywhere.

    Args:
        prompts: a CSV with the columns file and prompt, and one for each axis; without it the prompts are read from
            files beside the images and from the images' own metadata (docs/generators_import_api.md).
        spec: whose prompts are known again in those of the images, which get their axes.
        skip_unknown: leave images without a prompt out; they are an error otherwise.

    Raises:
        RunError, TableError, ImageError, SpecError.

    Example:
        run = import_folder("renders/", spec="occupations", name="model-x")
    """
    from generators.folder import import_folder as bring

    with progress_bar("import", progress) as show:
        return bring(
            Path(folder), prompts, out=Path(out), name=name, spec=spec, skip_unknown=skip_unknown, progress=show
        )


def score(
    run: Run | str | Path,
    *,
    scorers: Sequence[str] = (),
    encoder: str = ENCODER,
    adapter: str | Path | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    progress: bool | Progress = False,
) -> dict[str, pd.DataFrame]:
    """Look at every image with each scorer (all three by default) and write the scores into the run.

    `occupation` is left out by default where the run's prompts have no axis of that name.

    Args:
        adapter: the folder of a contrastive adapter (`auditkit train adapter`) for that encoder. Scores then carry the
            folder's name in place of the encoder's, and only the adapter's own attribute is scored. They are
            calibrated by what lies in the folder, else uncalibrated. Measure them with `encoder=` the folder.

    Returns:
        A table for each scorer, keyed "gender@personas-clip": a row an image.

    Raises:
        EncoderError: the adapter is damaged, or of another encoder or attribute.

    Example:
        score(run, scorers=["gender"])
    """
    from auditkit import registry
    from auditkit.clip.encoders import embed_run, load_encoder

    run = find_run(run)
    held, folder = find_adapter(encoder, adapter)
    wanted = list(scorers) or (_scorers(run) if held is None else [held.attribute])
    loaded = {name: registry.load("scorers", name) for name in wanted}
    eyes = None
    if any(getattr(scorer, "needs_encoder", True) for scorer in loaded.values()):
        check_attribute(held, folder, [n for n, one in loaded.items() if getattr(one, "needs_encoder", True)])
        eyes = load_encoder(encoder, device=device)
        if held is not None and adapter is not None:
            from auditkit.clip.adapter import adapted

            eyes = adapted(eyes, held, folder)
        with progress_bar("score", progress) as show:
            embed_run(run, eyes, progress=show)
    for scorer in loaded.values():
        instance = scorer() if isinstance(scorer, type) else scorer
        run.write_scores(instance.score(run, eyes))
    return {key: table for key, table in run.scores().items() if key.split("@")[0] in wanted}


def measure(
    run: Run | str | Path,
    *,
    by: str | None = None,
    target: str | Path = "uniform",
    encoder: str = ENCODER,
    encoders: Sequence[str] = (),
    attributes: Sequence[str] = ATTRIBUTES,
    estimator: str = ESTIMATOR,
    measures: Sequence[str] = (),
    replicates: int = 2000,
    seed: int = 0,
    min_n: int = 20,
    progress: bool | Progress = False,
) -> pd.DataFrame:
    """Turn scores into estimates with intervals, and write them into the run beside those of other measures.

    Args:
        by: the axis to group by; the spec's own `by`, else the first axis, by default.
        target: what each group is held against: "uniform", "planted", a shipped table, a run or a CSV file.
        encoder: whose scores to use: its name, or its folder.
        encoders: further ones, for measures that report their sensitivity to the encoder.
        attributes: joint ones are written with a plus, "gender+skin_tone".
        estimator: how shares are corrected for the scorer's errors.
        measures: names, as `auditkit plugins` lists them; every one that applies by default.
        replicates: of bootstraps, permutations and simulated audits.
        min_n: fewest images for a verdict.

    Returns:
        Measurements, a row an estimate (columns in docs/architecture.md); its `attrs["left_out"]` says which
        measures did not apply to the run, and why.

    Raises:
        TableError, SpecError, PluginError.

    Example:
        table = measure(run, by="occupation", target="planted")
    """
    from auditkit.bias.base import Options
    from auditkit.bias.measuring import measure_run

    run = find_run(run)
    options = Options(
        by=by or grouping(run),
        attributes=tuple(attributes),
        encoders=tuple(encoders),
        target=str(target),
        estimator=estimator,
        n_boot=replicates,
        seed=seed,
        min_n=min_n,
        **_measuring_encoder(encoder, attributes),
    )
    with progress_bar("measure", progress) as show:
        table, left_out = measure_run(run, options, list(measures) or None, progress=show)
    table.attrs["left_out"] = left_out
    return table


def compare(
    first: Run | str | Path,
    second: Run | str | Path,
    *,
    by: str | None = None,
    encoder: str = ENCODER,
    attributes: Sequence[str] = ATTRIBUTES,
    replicates: int = 2000,
    seed: int = 0,
    min_n: int = 20,
) -> pd.DataFrame:
    """What changed from the first run to the second, paired by prompt and seed; nothing is written.

    Returns:
        Measurements with the first run as reference: `comparison.difference`, corrected shares of the second less
        those of the first, and `comparison.flips`, as classified, with tests that take prompts as clusters.

    Raises:
        TableError: the runs share no prompts, or scores are missing.

    Example:
        compare(run, fair)
    """
    from auditkit.bias.base import Options
    from auditkit.bias.comparison import compare as paired

    a, b = find_run(first), find_run(second)
    options = Options(
        by=by or grouping(b), attributes=tuple(attributes), n_boot=replicates, seed=seed, min_n=min_n,
        **_measuring_encoder(encoder, attributes),
    )  # fmt: skip
    return paired(a, b, options)


def audit(
    spec: str | Path | RunSpec = "occupations",
    *,
    generator: str | None = None,
    out: str | Path = RUNS,
    seed: int | None = None,
    images_per_prompt: int | None = None,
    sampler: str | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    by: str | None = None,
    target: str | Path = "uniform",
    encoder: str = ENCODER,
    attributes: Sequence[str] = ATTRIBUTES,
    estimator: str = ESTIMATOR,
    device: str = "auto",
    batch_size: int | None = None,
    plan: str | Path | Plan | None = None,
    allow_network: bool = False,
    site: Site | None = None,
    api: ApiOptions | None = None,
    progress: bool | Progress = False,
) -> Audit:
    """Generate, score, measure, report and seal, in one go. Interrupted, it goes on where it stopped.

    With a plan the spec and the measuring are the plan's. A run whose plan has looks is sealed when a look said stop.

    Example:
        done = audit("occupations", generator="personas")
        print(done.report)
    """
    seconds: dict[str, float] = {}
    planned = _plan(plan)

    def timed(stage: str, since: float) -> float:
        now = time.perf_counter()
        seconds[stage] = round(now - since, 2)
        return now

    start = time.perf_counter()
    run = generate(
        spec,
        generator=generator,
        out=out,
        seed=seed,
        images_per_prompt=images_per_prompt,
        sampler=sampler,
        steps=steps,
        guidance=guidance,
        device=device,
        batch_size=batch_size,
        plan=planned,
        allow_network=allow_network,
        site=site,
        api=api,
        progress=progress,
    )
    at = timed("generate", start)
    asked: dict[str, Any] = {"by": by, "target": target, "encoder": encoder, "attributes": attributes}
    asked = planned.measuring() if planned else asked | {"estimator": estimator}
    score(run, encoder=str(asked.get("encoder", encoder)), device=device, progress=progress)
    at = timed("score", at)
    table = measure(run, **asked, progress=progress)
    at = timed("measure", at)
    page = report(run)
    at = timed("report", at)
    if not _growing(run, planned):
        seal(run)
        timed("seal", at)
    return Audit(run=run, measurements=table, report=page, seconds=seconds)


def seal(run: Run | str | Path) -> Path:
    """Write SEAL, the sha256 of every file of the run but the report; returns its path."""
    from auditkit import runs

    return runs.seal(find_run(run))


def verify(run: Run | str | Path) -> list[Problem]:
    """Hold a run's files against its SEAL and its images against their ids; an empty list is good."""
    from auditkit import runs

    return runs.verify(find_run(run))


def grouping(run: Run) -> str:
    """The axis a run is grouped by when nothing else is said: the spec's `by`, else the first axis."""
    if run.spec is not None and run.spec.by:
        return run.spec.by
    if not run.axes:
        raise RunError("the run has no axis to group by", where=run.path, mend="import it with an axis column")
    return run.axes[0]


def _plan(plan: str | Path | Plan | None) -> Plan | None:
    if isinstance(plan, (str, Path)):
        from auditkit.plan import load_plan

        return load_plan(plan)
    return plan


def _api_generator(spec: RunSpec, options: ApiOptions | None, *, announce: bool) -> ApiGenerator | None:
    """The generator behind an API that the spec names, or None; says beforehand what it may cost."""
    if not spec.generator.startswith("api:"):
        if options is not None:
            raise SpecError(
                f"the generator '{spec.generator}' is not behind an API, but options of one are given",
                where=f"generator={spec.generator}",
                mend="name it as api:MODEL, or leave the options out",
            )
        return None
    from auditkit.prompts import expand
    from generators.api import ApiGenerator
    from generators.make import resolve_settings

    generator = ApiGenerator(spec.generator, options)
    # Before a run is begun that could never be finished.
    generator.check(resolve_settings(spec, generator.info.defaults), negative=bool(spec.negative))
    if announce:
        total = len(expand(spec)) * spec.images_per_prompt
        output.say(generator.announcement(total))
    return generator


def _growing(run: Run, plan: Plan | None) -> bool:
    """Whether a look of the plan is still to come: a sealed run could not grow."""
    from auditkit.plan import looks

    if plan is None or plan.sequential is None:
        return False
    made = looks(run)
    return not made or made[-1].decision != "stop"


def _scorers(run: Run) -> list[str]:
    chosen = [name for name in SCORERS if name != "occupation" or "occupation" in run.axes]
    return chosen + (["surroundings", "wealth"] if "place" in run.axes else [])


def _measuring_encoder(encoder: str, attributes: Sequence[str]) -> dict[str, Any]:
    """Scores carry an encoder's name; an encoder given by its folder keeps its calibrations there."""
    from auditkit.clip.calibration import load_calibration
    from auditkit.clip.folder import bundled, find_folder
    from auditkit.files import slug

    folder = None if encoder in bundled() else find_folder(encoder)
    if folder is None:
        return {"encoder": encoder if encoder in bundled() else _short_name(encoder), "encoder_source": encoder}
    parts = {part for name in attributes for part in name.split("+")}
    found = {part: load_calibration(str(folder), part) for part in sorted(parts)}
    held = {part: calibration for part, calibration in found.items() if calibration is not None}
    return {"encoder": slug(folder.name), "encoder_source": str(folder), "calibrations": held}


def _short_name(encoder: str) -> str:
    """The name that scores carry of `MODEL:FILE.safetensors` or `MODEL:TAG`."""
    from auditkit.files import slug

    model, _, weights = encoder.partition(":")
    if not weights:
        return encoder
    return slug(f"{model.replace('/', '-')}-{Path(weights).stem if weights.endswith('.safetensors') else weights}")
