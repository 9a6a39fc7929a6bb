"""Verbs that make runs: generate, import, audit, and the corpus behind the bundled models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app import api, marks, output, provenance
from app.commands import asking
from app.commands.asking import (
    ApiParallelOption,
    ApiParamOption,
    ApiRateOption,
    ApiSizeOption,
    ApiUrlOption,
    MaxCostOption,
    MaxImagesOption,
    PriceOption,
)
from app.commands.base import Answer, DeviceOption, EncoderOption, verb
from app.commands.measuring import AttributeOption, ByOption, EstimatorOption, TargetOption, show_measurements
from app.commands.signing import (
    CertOption,
    CommandOption,
    LogOption,
    NoLogOption,
    NoStoreOption,
    StoreOption,
    TermsOption,
    TimestampOption,
    TrainingOption,
)
from app.commands.watermark_keys import KeysOption
from auditkit.errors import SpecError

if TYPE_CHECKING:
    from auditkit.energy import Site

SpecArgument = Annotated[str, typer.Argument(help="A suite's name or a .toml file.")]
GeneratorOption = Annotated[
    str | None,
    typer.Option(
        "--generator", "-g", help="A registered name, path:FOLDER of a diffusers checkpoint, hf:NAME, or api:MODEL."
    ),
]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="The folder that holds the runs.")]
SeedOption = Annotated[int | None, typer.Option(min=0, help="Another seed than the spec's.")]
ImagesOption = Annotated[int | None, typer.Option("--images-per-prompt", "-n", min=1, help="Images a prompt.")]
StepsOption = Annotated[int | None, typer.Option(min=1, help="Sampling steps.")]
GuidanceOption = Annotated[float | None, typer.Option(min=0.0, help="Classifier-free guidance scale.")]
SamplerOption = Annotated[str | None, typer.Option(help="The sampler, as `auditkit generators` names them.")]
CompileOption = Annotated[
    bool, typer.Option("--compile", help="Compile the networks for a CUDA device: quicker in runs of many minutes.")
]
ProcessesOption = Annotated[
    int, typer.Option(min=1, help="Work in so many processes, which share the cores or have a GPU each.")
]
PlanOption = Annotated[
    Path | None,
    typer.Option(help="A plan (auditkit plan): spec and measuring are the plan's, and its hash is kept in the run."),
]
PueOption = Annotated[
    str | None, typer.Option(help="The data centre's power usage effectiveness, 1.2 or 1.1-1.3; else $AUDITKIT_PUE.")
]
GridOption = Annotated[
    str | None,
    typer.Option(help="g CO2e per kWh of the grid, 350 or 300-420; else $AUDITKIT_GRID_INTENSITY. Never assumed."),
]
GridSourceOption = Annotated[str, typer.Option(help="Where the intensity is from, for the reader.")]
BatchOption = Annotated[int | None, typer.Option(min=1, help="Images at a time; chosen for the device by default.")]
NetworkOption = Annotated[
    bool, typer.Option("--allow-network", help="Download the checkpoint hf:NAME, if it is not on this machine.")
]


def register(app: typer.Typer) -> None:
    """Mount this theme's verbs."""
    panel = "Make"
    app.command("audit", rich_help_panel=panel, epilog="Example: auditkit audit occupations --generator personas")(
        verb(audit)
    )
    app.command("generate", rich_help_panel=panel, epilog="Example: auditkit generate occupations -g personas -n 50")(
        verb(generate)
    )
    app.command(
        "import",
        rich_help_panel=panel,
        epilog="Example: auditkit import renders/ --spec occupations --name model-x",
    )(verb(import_))


def generate(
    spec: Annotated[str | None, typer.Argument(help="A suite's name or a .toml file; left out with --plan.")] = None,
    generator: GeneratorOption = None,
    out: OutOption = api.RUNS,
    seed: SeedOption = None,
    images_per_prompt: ImagesOption = None,
    steps: StepsOption = None,
    guidance: GuidanceOption = None,
    sampler: SamplerOption = None,
    device: DeviceOption = "auto",
    compile: CompileOption = False,
    batch_size: BatchOption = None,
    processes: ProcessesOption = 1,
    plan: PlanOption = None,
    allow_network: NetworkOption = False,
    pue: PueOption = None,
    grid_intensity: GridOption = None,
    grid_source: GridSourceOption = "",
    watermark: Annotated[
        str | None, typer.Option(help="Mark every image: spread, codec, gaussian-shading, prc or tree-ring.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="The watermark key's id; the active key by default.")] = None,
    keys: KeysOption = None,
    payload: Annotated[
        str | None, typer.Option(help="What the watermark says, MODEL:USER; the generator's own by default.")
    ] = None,
    mitigation: Annotated[
        str | None,
        typer.Option(
            help="Steer the images toward --target: prompt-diversification, semantic-guidance, ... "
            "(auditkit plugins mitigations)."
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="What to aim at: gender=uniform, gender+skin_tone=planted:personas-balanced, "
            "gender=TABLE.csv, or POLICY.toml."
        ),
    ] = None,
    mitigation_option: Annotated[
        list[str], typer.Option(help="A setting of the method, KEY=VALUE; may be repeated. assign=draw for a draw.")
    ] = [],  # noqa: B006
    sign: Annotated[
        bool, typer.Option("--sign", help="Sign every image (C2PA); copies with their manifests lie in 'signed'.")
    ] = False,
    cert: CertOption = None,
    sign_key: Annotated[Path | None, typer.Option(help="The certificate's private key, PEM (PKCS #8).")] = None,
    sign_with: CommandOption = None,
    tsa: TimestampOption = None,
    training: TrainingOption = None,
    training_terms: TermsOption = "",
    store: StoreOption = None,
    no_store: NoStoreOption = False,
    log: LogOption = None,
    no_log: NoLogOption = False,
    api_url: ApiUrlOption = None,
    api_size: ApiSizeOption = None,
    api_param: ApiParamOption = None,
    api_rate: ApiRateOption = None,
    api_parallel: ApiParallelOption = None,
    max_images: MaxImagesOption = None,
    max_cost: MaxCostOption = None,
    price_per_image: PriceOption = None,
) -> Answer:
    """Make the images of a spec as a run. Interrupted, the same command goes on where it stopped."""
    signer = {
        "cert": cert, "key": sign_key, "command": sign_with, "timestamp": tsa, "store": "" if no_store else store,
        "log": "" if no_log else log,
    }  # fmt: skip
    if spec is None and plan is None:
        raise SpecError("nothing says what to generate", where="auditkit generate", mend="name a spec, or --plan FILE")
    idle = {"--cert": cert, "--sign-key": sign_key, "--sign-with": sign_with, "--tsa": tsa, "--training": training,
            "--training-terms": training_terms}  # fmt: skip
    if not sign and any(idle.values()):
        given = " and ".join(name for name, value in idle.items() if value)
        raise SpecError(f"{given}: nothing is signed", where="auditkit generate", mend="add --sign, or leave it out")
    if sign:  # a wrong certificate is told before the images are made
        from auditkit.provenance.credentials import load_credentials
        from auditkit.provenance.manifest import check_training

        check_training(training, training_terms)
        load_credentials(cert, sign_key, command=sign_with)
    from generators.spread import this_process

    mark = None
    if watermark is not None:
        name = generator or (api.resolve_spec(spec).generator if spec else "")
        mark = marks.choose_mark(watermark, key=key, payload=payload, keys=keys, name=name)
    run = api.generate(
        spec or "",
        generator=generator,
        out=out,
        seed=seed,
        images_per_prompt=images_per_prompt,
        steps=steps,
        guidance=guidance,
        sampler=sampler,
        device=device,
        compile=compile,
        batch_size=batch_size,
        processes=processes,
        plan=plan,
        watermark=mark,
        mitigation=mitigation,
        target=target,
        mitigation_options=key_values(mitigation_option),
        allow_network=allow_network,
        site=site_given(pue, grid_intensity, grid_source),
        api=asking.choose(
            url=api_url,
            size=api_size,
            param=api_param,
            rate=api_rate,
            parallel=api_parallel,
            max_images=max_images,
            max_cost=max_cost,
            price=price_per_image,
        ),
        progress=True,
    )
    if not this_process().first:  # one of several, of which the first signs and answers
        raise typer.Exit
    if sign:
        provenance.sign_run(run, training=training, training_terms=training_terms, progress=True, **signer)
    return _made(run)


def import_(
    folder: Annotated[Path, typer.Argument(help="The folder of images.")],
    prompts: Annotated[
        Path | None,
        typer.Option(help="CSV: file, prompt, and a column for each axis; otherwise the images' metadata tell."),
    ] = None,
    out: OutOption = api.RUNS,
    name: Annotated[str | None, typer.Option(help="What to call the run; the folder's name by default.")] = None,
    spec: Annotated[
        str | None, typer.Option(help="A suite's name or a .toml file, whose axes the images of its prompts get.")
    ] = None,
    skip_unknown: Annotated[bool, typer.Option("--skip-unknown", help="Leave images without a prompt out.")] = False,
) -> Answer:
    """Make a run out of images from anywhere, with the prompts that a CSV, files beside them or their metadata tell."""
    run = api.import_folder(folder, prompts, out=out, name=name, spec=spec, skip_unknown=skip_unknown, progress=True)
    made, details = _made(run), run.record["generator"].get("details", {})

    def show() -> None:
        _show_imported(details)
        made.show()

    return Answer(made.data | {"import": details}, show)


def _show_imported(details: dict[str, Any]) -> None:
    """Where the prompts came from, what models are named, and how many prompts are the spec's."""
    rows = [("prompt from", source, count) for source, count in details.get("prompt_sources", {}).items()]
    rows += [("made by", model, count) for model, count in list(details.get("models", {}).items())[:10]]
    if spec := details.get("spec"):
        words = {
            "equal": "is a prompt of it",
            "within": "holds a prompt of it",
            "none": "not among its prompts, no axes",
        }
        rows += [(f"spec {spec['name']}", said, spec[how]) for how, said in words.items()]
    if details.get("skipped"):
        rows.append(("left out", "no prompt", details["skipped"]))
    output.console().print(output.table(["", "", ">images"], [[what, which, f"{n:,}"] for what, which, n in rows]))


def audit(
    spec: SpecArgument = "occupations",
    generator: GeneratorOption = None,
    out: OutOption = api.RUNS,
    seed: SeedOption = None,
    images_per_prompt: ImagesOption = None,
    steps: StepsOption = None,
    guidance: GuidanceOption = None,
    sampler: SamplerOption = None,
    by: ByOption = None,
    target: TargetOption = "uniform",
    encoder: EncoderOption = api.ENCODER,
    attribute: AttributeOption = api.ATTRIBUTES,
    estimator: EstimatorOption = api.ESTIMATOR,
    device: DeviceOption = "auto",
    batch_size: BatchOption = None,
    plan: PlanOption = None,
    allow_network: NetworkOption = False,
    pue: PueOption = None,
    grid_intensity: GridOption = None,
    grid_source: GridSourceOption = "",
    api_url: ApiUrlOption = None,
    api_size: ApiSizeOption = None,
    api_param: ApiParamOption = None,
    api_rate: ApiRateOption = None,
    api_parallel: ApiParallelOption = None,
    max_images: MaxImagesOption = None,
    max_cost: MaxCostOption = None,
    price_per_image: PriceOption = None,
) -> Answer:
    """Generate, score, measure, report and seal: the whole audit in one command."""
    done = api.audit(
        spec,
        generator=generator,
        out=out,
        seed=seed,
        images_per_prompt=images_per_prompt,
        sampler=sampler,
        steps=steps,
        guidance=guidance,
        by=by,
        target=target,
        encoder=encoder,
        attributes=attribute,
        estimator=estimator,
        device=device,
        batch_size=batch_size,
        plan=plan,
        allow_network=allow_network,
        site=site_given(pue, grid_intensity, grid_source),
        api=asking.choose(
            url=api_url,
            size=api_size,
            param=api_param,
            rate=api_rate,
            parallel=api_parallel,
            max_images=max_images,
            max_cost=max_cost,
            price=price_per_image,
        ),
        progress=True,
    )

    def show() -> None:
        out = output.console()
        show_measurements(done.run, done.measurements)
        took = ", ".join(f"{stage} {output.duration(seconds)}" for stage, seconds in done.seconds.items())
        out.print(f"Took {output.duration(sum(done.seconds.values()))}: {took}.")
        out.print(f"Report: {done.report}", style="bold", soft_wrap=True)
        out.print(f"Look:   auditkit dashboard --runs {done.run.path.parent}", soft_wrap=True)

    return Answer(
        {
            "run": done.run.id,
            "path": done.run.path,
            "report": done.report,
            "seconds": done.seconds,
            "measurements": done.measurements,
        },
        show,
    )


def key_values(given: list[str]) -> dict[str, str]:
    """The settings that --mitigation-option gives.

    Raises:
        SpecError: one is not KEY=VALUE, or is given twice.
    """
    found: dict[str, str] = {}
    for each in given:
        key, sign, value = (part.strip() for part in each.partition("="))
        if not (key and sign and value) or key in found:
            what = f"'{key}' is given twice" if key in found else f"'{each}' is not KEY=VALUE"
            raise SpecError(what, where="--mitigation-option", mend="write it as scale=3, once for each setting")
        found[key] = value
    return found


def site_given(pue: str | None, intensity: str | None, source: str) -> Site:
    """The site that the options --pue, --grid-intensity and --grid-source give, or the environment."""
    from auditkit.energy import Site

    return Site.given(pue, intensity, source)


def _made(run: api.Run) -> Answer:
    images = run.images()
    data = {"run": run.id, "path": run.path, "images": len(images), "prompts": images["prompt_id"].nunique()}
    signing, details = run.record.get("signing"), run.record["generator"].get("details") or {}
    paid = {key: details[key] for key in ("paid", "cost") if details.get(key) is not None}
    data |= {"refused": run.record.get("refused", 0)} | paid
    if signing:
        data |= {"signed": run.path / "signed", "signer": signing["signer"]}

    def show() -> None:
        out = output.console()
        out.print(f"{data['images']} images of {data['prompts']} prompts in {run.path}", soft_wrap=True)
        if data["refused"]:
            out.print(
                f"{data['refused']} were refused; the reasons are in {run.path / 'refusals.jsonl'}", soft_wrap=True
            )
        if paid:
            cost = f", {paid['cost']:.2f} in all" if "cost" in paid else ""
            out.print(f"Paid answers: {paid['paid']}{cost}", soft_wrap=True)
        if signing:
            out.print(f"Signed copies by {signing['signer']} in {run.path / 'signed'}", soft_wrap=True, markup=False)
        out.print(f"Next: auditkit score {run.path}", soft_wrap=True)

    return Answer(data, show)
