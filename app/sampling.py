"""The Python verbs that hold samplers against each other; `auditkit bench samplers` and `bench energy` mirror them.

    import auditkit as ak
    ak.bench_samplers("bench/samplers", generator="personas", steps=(4, 12))

Both return a DataFrame, a row for each sampler and number of steps.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.api import ATTRIBUTES, ENCODER, grouping, resolve_spec, score
from app.api import _measuring_encoder as measuring_encoder
from app.output import Progress, progress_bar
from auditkit.errors import GeneratorError, SpecError
from auditkit.files import sha256_file

if TYPE_CHECKING:
    import pandas as pd

    from auditkit.bias.base import Options
    from auditkit.energy import Site
    from auditkit.runs import Run
    from auditkit.spec import RunSpec
    from generators.base import Generator

STEPS = (4, 8, 12, 25)
VERSION = 1
"""Of the scores that are kept beside a run."""
NAN = float("nan")
Row = dict[str, Any]


def bench_samplers(
    out: str | Path = "bench/samplers",
    *,
    generator: str = "personas",
    spec: str | Path | RunSpec = "occupations",
    samplers: Sequence[str] = (),
    steps: Sequence[int] = STEPS,
    images_per_prompt: int = 1,
    guidance: float | None = None,
    seed: int | None = None,
    target: str | Path | None = None,
    encoder: str = ENCODER,
    attributes: Sequence[str] = ATTRIBUTES,
    device: str = "auto",
    batch_size: int | None = None,
    site: Site | None = None,
    progress: bool | Progress = False,
) -> pd.DataFrame:
    """Make the same prompts from the same seeds by each sampler and number of steps; what each gives, at what cost.

    Each setting is a run of its own under `out`/runs. Interrupted, it goes on where it stopped.

    Args:
        samplers: names; by default all that fit the generator, but for its own scheduler under the name as-shipped.
        target: what bias is the distance to; by default the generator's planted table where it has one and the prompts
            are by occupation, else an even split.
        attributes: of which bias is told, where the prompts do not state them.
        site: PUE and grid intensity; see `auditkit.energy.Site.given`.

    Returns:
        A row for each setting: `sampler`, `steps`, `run`, `images`, `seconds` (an image), and, each with `_low` and
        `_high`: `joules` (an image, with `joules_method`), `wh_per_1000`, `g_co2e_per_1000` (NaN without a site),
        `fidelity` (share of images whose perceived occupation is the prompt's), `fidelity_gender` and so on where the
        prompts state it, `diversity` (Vendi score of all images, in the encoder's space), `bias_gender` and so on
        (total variation between all images' corrected shares and the target; `_chance` is what chance alone gives at
        that many images). NaN where something is not told; `_note` says why. Also written as samplers.csv,
        samplers.json and index.html into `out`.

    Raises:
        GeneratorError: a sampler that does not fit the generator, or a number of steps that it cannot take.
        SpecError, EncoderError, RunError.

    Example:
        bench_samplers(samplers=["ddim", "dpm++2m"], steps=[4, 12])
    """

    def scored(run: Run) -> Row:
        return _scores(run, target=target, encoder=encoder, attributes=attributes, device=device)

    against = str(target)
    if target is not None and Path(target).is_file():  # another table under the same name gives other numbers
        against = sha256_file(Path(target))
    asked = {"version": VERSION, "target": against, "encoder": encoder, "attributes": list(attributes)}
    return _bench(
        Path(out), "samplers", scored, asked, generator=generator, spec=spec, samplers=samplers, steps=steps,
        images_per_prompt=images_per_prompt, guidance=guidance, seed=seed, device=device, batch_size=batch_size,
        site=site, progress=progress,
    )  # fmt: skip


def bench_energy(
    out: str | Path = "bench/energy",
    *,
    generator: str = "personas",
    spec: str | Path | RunSpec = "occupations",
    samplers: Sequence[str] = (),
    steps: Sequence[int] = STEPS,
    images_per_prompt: int = 1,
    guidance: float | None = None,
    seed: int | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    site: Site | None = None,
    progress: bool | Progress = False,
) -> pd.DataFrame:
    """What an image takes by each sampler and number of steps: seconds, joules, carbon. Nothing is scored.

    Args and returns: as of `bench_samplers`, without the columns that need scores.

    Example:
        bench_energy(samplers=["dpm++2m"], steps=[12, 25], site=Site.given(pue=1.2, intensity=350))
    """
    return _bench(
        Path(out), "energy", lambda run: {}, {}, generator=generator, spec=spec, samplers=samplers, steps=steps,
        images_per_prompt=images_per_prompt, guidance=guidance, seed=seed, device=device, batch_size=batch_size,
        site=site, progress=progress,
    )  # fmt: skip


def _bench(
    out: Path,
    name: str,
    scored: Callable[[Run], Row],
    asked: Row,
    *,
    generator: str,
    spec: str | Path | RunSpec,
    samplers: Sequence[str],
    steps: Sequence[int],
    images_per_prompt: int,
    guidance: float | None,
    seed: int | None,
    device: str,
    batch_size: int | None,
    site: Site | None,
    progress: bool | Progress,
) -> pd.DataFrame:
    import pandas as pd

    from auditkit.energy import Site
    from auditkit.files import write_atomic
    from auditkit.prompts import expand
    from generators.load import load_generator
    from generators.make import generate
    from reports.sampler_page import write_page

    site = site or Site.given()
    base = resolve_spec(spec, generator=generator, images_per_prompt=images_per_prompt, guidance=guidance, seed=seed)
    made = load_generator(generator, device=device)
    settings = _settings(made, samplers, steps, base)
    each = len(expand(base)) * images_per_prompt
    rows: list[Row] = []
    with progress_bar("bench", progress) as show:
        for number, (sampler, count) in enumerate(settings):

            def shown(done: int, total: int, before: int = number * each) -> None:
                if show is not None:
                    show(before + done, each * len(settings))

            changed = resolve_spec(base, sampler=sampler, steps=count)
            if not rows:  # what is loaded and compiled at the first image is no sampler's cost
                _warm_up(made, changed, batch_size)
            run = generate(changed, out=out / "runs", generator=made, batch_size=batch_size, site=site, progress=shown)
            rows.append({"sampler": sampler, "steps": count, **cost(run, site), **_kept(out, name, run, scored, asked)})
    table = pd.DataFrame(rows)
    table.attrs |= {"generator": made.info.name, "spec": base.name, "device": made.info.device, "bench": name}
    write_atomic(out / f"{name}.csv", table.to_csv(index=False).encode())
    write_atomic(out / f"{name}.json", (table.to_json(orient="records", indent=1) + "\n").encode())
    write_page(table, out / "index.html")
    return table


def _settings(
    generator: Generator, samplers: Sequence[str], steps: Sequence[int], spec: RunSpec
) -> list[tuple[str, int]]:
    """Every sampler with every number of steps; all of them checked before the first image."""
    from generators.base import Settings
    from generators.samplers import AS_SHIPPED, check_sampler

    for sampler in samplers:
        check_sampler(sampler)
    fitting = list(getattr(generator, "samplers", []))
    if not fitting:
        raise GeneratorError(
            f"the generator '{generator.info.name}' has no samplers to choose from",
            where=f"generator={generator.info.name}",
            mend="name a diffusers checkpoint, such as personas",
        )
    strangers = [sampler for sampler in samplers if sampler not in fitting]
    if strangers:
        raise GeneratorError(
            f"{' and '.join(strangers)} {'does' if len(strangers) == 1 else 'do'} not fit the generator "
            f"'{generator.info.name}'",
            where=f"samplers={','.join(samplers)}",
            mend=f"use some of: {', '.join(fitting)}",
        )
    if not steps:
        raise SpecError("no number of steps is given", where="steps", mend="--steps 4,8,12,25")
    named = list(dict.fromkeys(samplers)) or [name for name in fitting if name != AS_SHIPPED] or fitting
    settings = [(sampler, count) for sampler in named for count in dict.fromkeys(steps)]
    guidance = generator.info.defaults.guidance if spec.guidance is None else spec.guidance
    for sampler, count in settings:
        generator.generate([], Settings(sampler, count, guidance))
    return settings


def _warm_up(generator: Generator, spec: RunSpec, batch_size: int | None) -> None:
    from auditkit.prompts import expand
    from generators.base import Job
    from generators.make import resolve_settings

    prompts = expand(spec)[: batch_size or generator.info.batch_size]
    settings = resolve_settings(resolve_spec(spec, steps=min(2, spec.steps or 2)), generator.info.defaults)
    for _ in generator.generate([Job(prompt.text, 0) for prompt in prompts], settings, batch_size=batch_size):
        pass


def cost(run: Run, site: Site) -> Row:
    """Seconds, joules and carbon of a run, for an image or a thousand of them."""
    from auditkit.energy import JOULES_PER_KWH, Amount, Site, read_windows, summarise

    images = len(run.images())
    row: Row = {"run": run.id, "images": images, "seconds": float(run.record["seconds"]) / images}
    # With no site given here, the one that the run was made with.
    energy = summarise(read_windows(run.path), images=images, site=site if site else None)
    joules = Amount(**energy["joules_per_image"]) if energy and energy["joules_per_image"] else None
    place = Site.from_dict(energy["site"]) if energy else Site()
    carbon = place.kg_co2e(joules) if joules else None
    row |= _ends("joules", joules) | {"joules_method": energy["method"] if energy and joules else "unknown"}
    row |= {"joules_how": "; ".join(part["how"] for part in energy["parts"]) if energy else ""}
    row |= _ends("wh_per_1000", joules.scaled(1000 * 1000 / JOULES_PER_KWH) if joules else None)
    return row | _ends("g_co2e_per_1000", carbon.scaled(1000 * 1000) if carbon else None)


def _ends(name: str, amount: Any) -> Row:
    value, low, high = (amount.value, amount.low, amount.high) if amount else (NAN, NAN, NAN)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _kept(out: Path, bench: str, run: Run, scored: Callable[[Run], Row], asked: Row) -> Row:
    """The scores of a run, from the file beside it where the same was asked of the same images before."""
    from auditkit.errors import RunError
    from auditkit.files import write_json

    images = hashlib.sha256("".join(run.images()["id"]).encode()).hexdigest()
    file = out / "rows" / f"{bench}-{run.id}.json"
    try:
        kept = json.loads(file.read_bytes())
        if kept["asked"] == asked and kept["images"] == images:
            return {key: NAN if value is None else value for key, value in kept["row"].items()}
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise RunError("the scores kept for a run are damaged", where=file, mend="delete the file") from None
    row = scored(run)
    plain = {key: None if isinstance(value, float) and value != value else value for key, value in row.items()}
    write_json(file, {"asked": asked, "images": images, "row": plain})
    return row


def _scores(run: Run, *, target: str | Path | None, encoder: str, attributes: Sequence[str], device: str) -> Row:
    """Fidelity, diversity and bias of one run."""
    from auditkit import registry
    from auditkit.bias.base import ALL, Options

    stated = [name for name in ("gender", "skin_tone") if name in run.axes]
    open_ones = [name for name in attributes if not set(name.split("+")) & set(run.axes)]
    looked = {part for name in open_ones for part in name.split("+")}
    scorers = [*sorted(looked | set(stated)), *(["occupation"] if "occupation" in run.axes else [])]
    score(run, scorers=scorers, encoder=encoder, device=device)
    by = grouping(run) if run.axes else ALL
    if target is None:
        target = "planted" if run.planted is not None and by == "occupation" else "uniform"
    eyes = measuring_encoder(encoder, open_ones)
    options = Options(by=by, attributes=tuple(open_ones), target=str(target), n_boot=500, **eyes)
    shares = registry.load("measures", "representation").measure(run, options)
    quality = registry.load("measures", "quality").measure(run, options.but(by=ALL))
    row: Row = {}
    for name in (["occupation"] if "occupation" in run.axes else []) + stated:
        row |= _as_asked(run, name, "fidelity" if name == "occupation" else f"fidelity_{name}", options)
    row |= _told("diversity", quality, "quality.diversity")
    for attribute in open_ones:
        found = shares[shares["attribute"] == attribute]
        row |= _told(f"bias_{attribute}", found, "representation.distance")
    return row


def _told(name: str, table: pd.DataFrame, measure: str) -> Row:
    """The estimate for all images together, as columns."""
    found = table[(table["measure"] == measure) & (table["group"] == "all")]
    if found.empty:
        return {name: NAN, f"{name}_low": NAN, f"{name}_high": NAN, f"{name}_note": "does not apply"}
    one = found.iloc[0]
    note = "" if one["status"] == "ok" else f"{one['status']}: {one['note']}"
    row = {name: float(one["estimate"]), f"{name}_low": float(one["ci_low"]), f"{name}_high": float(one["ci_high"])}
    if measure == "representation.distance":
        row[f"{name}_chance"] = float(one["null_value"])
    return row | {f"{name}_note": note}


def _as_asked(run: Run, attribute: str, name: str, options: Options) -> Row:
    """Share of images whose perceived class is the one that the prompt states, as classified; unknown is another."""
    from auditkit.bias.base import ALL
    from auditkit.bias.counted import Layout

    layout = Layout.read(run, options.but(by=ALL))
    key = f"{attribute}@{options.encoder}"
    scores, asked = run.scores(key)[key], layout.images[f"axis_{attribute}"].to_numpy(str)
    strange = sorted({value for value in asked if f"p_{value}" not in scores})
    share = layout.shares(scores.set_index("id")["label"].reindex(layout.images["id"]).to_numpy(str) == asked)[ALL, ALL]
    note = ""
    if strange:
        note = f"insufficient: the scorer does not know {strange[0]}"
    elif share.n < options.min_n:
        note = f"insufficient: {share.n} images; {options.min_n} are needed"
    told = (NAN, NAN, NAN) if note else (share.k / share.n, share.low, share.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), told, strict=True)) | {f"{name}_note": note}
