"""The Python verb that tries mitigations; `auditkit mitigate` mirrors it.

import auditkit as ak
made = ak.mitigate("occupations", generator="personas", methods=["prompt-diversification", "semantic-guidance"],
                   target={"gender": "uniform"}, out="mitigation")
print(made.verdicts)
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import output
from app.api import ENCODER, resolve_spec
from app.output import Progress, progress_bar
from auditkit.errors import GeneratorError, PluginError, RunError, SpecError

if TYPE_CHECKING:
    import pandas as pd

    from auditkit.guidance import Model, Request
    from auditkit.guidance.evaluated import Evaluation
    from auditkit.runs import Run
    from auditkit.spec import RunSpec
    from generators.base import Generator

JUDGE = "personas-clip-judge"
SCORERS = ("gender", "skin_tone", "occupation", "age", "disability")
"""What both runs are scored for: what is aimed at, and what is to be left as it was."""
OUT = Path("mitigation")
ALL_METHODS = "all"


@dataclass
class Tried:
    """What `mitigate` made.

    Attributes:
        evaluation: record and table of effects, as `auditkit.guidance.evaluated` keeps them.
        out: its folder. page: the report page. before: the run without; after: label of a method to its run.
    """

    evaluation: Evaluation
    out: Path
    page: Path
    before: Run
    after: dict[str, Run]

    @property
    def effects(self) -> pd.DataFrame:
        return self.evaluation.effects

    @property
    def verdicts(self) -> dict[str, str]:
        """Label to `better than doing nothing`, `not better than doing nothing` or `insufficient`."""
        return {name: each.verdict for name, each in self.evaluation.verdicts.items()}


def mitigate(
    spec: str | Path | RunSpec,
    *,
    methods: Sequence[str] | str,
    target: str | Path | Mapping[str, Any],
    generator: str | Generator | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    out: str | Path = OUT,
    judge: str = JUDGE,
    tuned_with: str = ENCODER,
    by: str | None = None,
    seed: int | None = None,
    images_per_prompt: int | None = None,
    sampler: str | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    replicates: int = 2000,
    min_n: int = 20,
    progress: bool | Progress = False,
) -> Tried:
    """Make the images of a spec without and with each mitigation, on the same seeds, and hold them against each other.

    A call that was interrupted goes on where it stopped, and a run that is there already is not made again.

    Args:
        methods: names, or "all" that the generator can take with default options. LABEL=NAME tries one method more
            than once, under options of its own: ["weak=semantic-guidance", "strong=semantic-guidance"].
        target: what is aimed at, as in `generate`.
        options: settings by label: {"strong": {"scale": 8}}.
        judge: the encoder whose scores the verdicts rest on.
        tuned_with: the encoder that the methods were tuned with; its scores stand beside the judge's. The same for
            both is allowed, and warned of.
        by: the axis of the groups; the spec's own by default.
        replicates: of bootstraps and swaps. min_n: fewest images a group.

    Returns:
        Tried. In `out`: runs/, mitigation.json, effects.parquet (.csv, .json), index.html.

    Raises:
        SpecError: a target or an option that does not hold, a label twice, a folder that holds something else.
        PluginError: no such method. GeneratorError: the generator cannot take a method that was named.
        EncoderError, RunError, TableError.

    Example:
        made = mitigate("occupations", generator="personas", methods="all", target="gender=uniform")
    """
    from auditkit.guidance.evaluated import RUNS, Evaluation, write
    from auditkit.guidance.evaluation import evaluate
    from auditkit.guidance.targets import read_policy
    from auditkit.guidance.verdicts import verdicts

    began, folder = time.monotonic(), Path(out)
    named = None if generator is None or isinstance(generator, str) else generator
    given = generator if isinstance(generator, str) else None
    resolved = resolve_spec(
        spec, generator=given, seed=seed, images_per_prompt=images_per_prompt, sampler=sampler, steps=steps,
        guidance=guidance,
    )  # fmt: skip
    asked = labels(methods, options or {})
    _check_folder(folder)
    _check_encoders(judge, tuned_with)
    loaded = named if named is not None else _load(resolved.generator, device)
    requests, refused = choose(asked, target, options or {}, resolved, loaded)
    policy = read_policy(target, resolved, planted=_planted(loaded))

    def make(label: str, request: Request | None) -> Run:
        from generators.make import generate

        with progress_bar(label or "without", progress) as show:
            return generate(
                resolved, out=folder / RUNS, generator=loaded, batch_size=batch_size, mitigation=request, progress=show
            )

    runs = {"": make("", None)}
    for label, request in requests.items():
        runs[label] = make(label, request)
    encoders = list(dict.fromkeys([judge, tuned_with]))
    told = {encoder: _score(list(runs.values()), encoder, device, progress) for encoder in encoders}
    tables: list[pd.DataFrame] = []
    kept: dict[Any, pd.DataFrame] = {}
    with progress_bar("evaluate", progress) as show:
        total = len(encoders) * len(requests)
        for encoder in encoders:
            for label in requests:
                tables.append(
                    evaluate(
                        runs[""], runs[label], policy, method=label, encoder=told[encoder], by=by, n_boot=replicates,
                        min_n=min_n, kept=kept,
                    )
                )  # fmt: skip
                if show is not None:
                    show(len(tables), total)
    import pandas as pd

    effects = pd.concat(tables, ignore_index=True)
    found = verdicts(effects, judge=told[judge], attribute=policy.attribute)
    record = {
        "spec": {"name": resolved.name, "images_per_prompt": resolved.images_per_prompt, "seed": resolved.seed,
                 "prompts": int(runs[""].images()["prompt_id"].nunique()), "images": len(runs[""].images())},
        "generator": loaded.info.name, "source": loaded.info.source, "device": loaded.info.device,
        "target": target if isinstance(target, Mapping) else str(target), "attribute": policy.attribute,
        "policy": policy.record(),
        "methods": {label: runs[label].record["mitigation"]["resolved"] | {"target": None} for label in requests},
        "refused": refused, "judge": told[judge], "tuned_with": told[tuned_with], "encoders": list(told.values()),
        "by": by or resolved.by, "runs": {label: run.path.name for label, run in runs.items()},
        "verdicts": [each.as_dict() for each in found], "notes": _notes(judge, tuned_with, refused, runs),
        "replicates": replicates, "min_n": min_n, "seconds": round(time.monotonic() - began, 1), "version": _version(),
    }  # fmt: skip
    made = Evaluation(json.loads(json.dumps(output.jsonable(record))), effects)
    write(folder, made)
    from reports.mitigation_page import write_page

    return Tried(made, folder, write_page(folder), runs[""], {label: runs[label] for label in requests})


def labels(methods: Sequence[str] | str, options: Mapping[str, Any]) -> dict[str, str]:
    """Label to method, in the order asked for; empty for "all".

    Raises:
        SpecError: nothing is named, a label twice, or options of a label that is not tried.
    """
    listed = [methods] if isinstance(methods, str) else list(methods)
    parts = [part.strip() for each in listed for part in each.split(",") if part.strip()]
    if not parts:
        raise SpecError("no method is named", where="methods", mend="name some, or all: --methods all")
    if parts == [ALL_METHODS]:
        return {}
    found: dict[str, str] = {}
    for part in parts:
        label, sign, name = part.partition("=")
        label, name = label.strip(), (name if sign else label).strip()
        if not label or not name or label in found:
            what = f"'{label}' is tried twice" if label in found else f"'{part}' is no method"
            raise SpecError(what, where="methods", mend="give each its own label: weak=NAME,strong=NAME")
        if label == ALL_METHODS:
            raise SpecError("'all' stands alone", where="methods", mend="--methods all, or the names of some")
        found[label] = name
    for label in options:
        if label not in found:
            raise SpecError(
                f"options are given for '{label}', which is not tried", where=f"option {label}",
                mend=f"use among: {', '.join(found)}",
            )  # fmt: skip
    return found


def choose(
    asked: Mapping[str, str], target: Any, options: Mapping[str, Mapping[str, Any]], spec: RunSpec,
    generator: Generator,
) -> tuple[dict[str, Request], dict[str, str]]:  # fmt: skip
    """What is tried, and of "all" what the generator cannot take, with the reason: told before any image is made.

    Raises:
        SpecError, PluginError, GeneratorError: as `generate` with that mitigation would.
    """
    from auditkit import registry
    from auditkit.guidance import Request, steer
    from auditkit.guidance.steering import make, refusal
    from auditkit.guidance.targets import read_policy

    model, planted = _model(spec, generator), _planted(generator)
    read_policy(target, spec, planted=planted)
    every, refused = not asked, {}
    found: dict[str, Request] = {}
    for label, name in (asked or {name: name for name in registry.names("mitigations")}).items():
        request = Request(name, target, dict(options.get(label, {})))
        if every:
            try:
                method = make(name)
            except PluginError as error:  # somebody else's broken plugin
                refused[name] = error.what
                continue
            if why := refusal(method, model):
                refused[name] = why
                continue
            if not method.draws and not read_policy(target, spec, planted=planted).uniform:
                refused[name] = "it cannot aim at other shares than even ones"
                continue
        steer(request, spec, model, planted=planted)
        found[label] = request
    if not found:
        raise GeneratorError(
            f"'{model.name}' can take none of the methods", where="methods=all",
            mend="name one to see why: " + ", ".join(refused),
        )  # fmt: skip
    return found, refused


def _model(spec: RunSpec, generator: Generator) -> Model:
    from auditkit.guidance import Model
    from generators.base import Steerable
    from generators.make import resolve_settings

    scale = resolve_settings(spec, generator.info.defaults).guidance
    return generator.model(scale) if isinstance(generator, Steerable) else Model(generator.info.name, scale)


def _planted(generator: Generator) -> Any:
    from generators.bundled.planted import planted_of

    return lambda name: planted_of(name) if name else generator.info.planted


def _load(name: str, device: str) -> Generator:
    from generators.load import load_generator

    if name.startswith("api:"):
        raise GeneratorError(
            "an API gives no paired seeds to hold a mitigation against", where=f"generator={name}",
            mend="use a model that runs here; for an API: auditkit generate, then auditkit compare",
        )  # fmt: skip
    return load_generator(name, device=device)


def _score(runs: Iterable[Run], encoder: str, device: str, progress: bool | Progress) -> str:
    """Score every run that has no scores by the encoder yet; returns the name that the scores carry."""
    from auditkit import registry
    from auditkit.clip.calibration import load_calibration
    from auditkit.clip.encoders import embed_run, load_encoder

    eyes = load_encoder(encoder, device=device)
    for run in runs:
        lacking = []
        for name in SCORERS:
            if f"{name}@{eyes.name}" in run.scores() or (name == "occupation" and "occupation" not in run.axes):
                continue
            if name == "disability" and load_calibration(encoder, name) is None:
                continue
            lacking.append(name)
        if not lacking:
            continue
        with progress_bar("score", progress) as show:
            embed_run(run, eyes, progress=show)
        for name in lacking:
            scorer = registry.load("scorers", name)
            run.write_scores((scorer() if isinstance(scorer, type) else scorer).score(run, eyes))
    return eyes.name


def _check_folder(folder: Path) -> None:
    """An evaluation goes into a folder of its own."""
    from auditkit.guidance.evaluated import RECORD, RUNS, read_record

    if folder.is_file():
        raise RunError("there is a file where the folder is to be", where=folder, mend="give another --out")
    if (folder / RECORD).exists():
        read_record(folder)
    elif folder.is_dir() and any(folder.iterdir()) and not (folder / RUNS).is_dir():
        raise RunError("the folder holds something else", where=folder, mend="give a new one: --out FOLDER")


def _check_encoders(judge: str, tuned_with: str) -> None:
    """Before hours of images: an encoder that cannot be found is an error now."""
    from auditkit.clip.folder import bundled

    for name in dict.fromkeys([judge, tuned_with]):
        if name not in bundled():
            from auditkit.clip.encoders import load_encoder

            load_encoder(name, device="cpu")


def _notes(judge: str, tuned_with: str, refused: Mapping[str, str], runs: Mapping[str, Run]) -> list[str]:
    notes = []
    if judge == tuned_with:
        notes.append(
            f"{judge} both tuned and judged: what a method learned to please it cannot be told from what it did."
        )
    elif {judge, tuned_with} == {ENCODER, JUDGE}:
        notes.append("Both encoders learned from drawings that they largely share: they are no independent witnesses.")
    notes += [f"{name} was left out: {why}." for name, why in refused.items()]
    if runs[""].planted is None:
        notes.append(
            "No planted table is known, so that the verdicts rest on all groups: unbalanced ones cannot be chosen by "
            "what the run without showed, lest chance alone look like a gain."
        )
    return notes


def _version() -> str:
    from auditkit import __version__

    return __version__
