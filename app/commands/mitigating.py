"""`auditkit mitigate`: what mitigations do to a generator, on paired seeds, and at what price."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app import output
from app.commands.base import Answer, DeviceOption, verb
from auditkit.errors import SpecError

if TYPE_CHECKING:
    from app.mitigating import Tried

EXAMPLE = (
    "Example: auditkit mitigate occupations --generator personas --methods prompt-diversification,semantic-guidance "
    "--target gender=uniform --option semantic-guidance.scale=5 --images-per-prompt 10 --out mitigation"
)


def register(app: typer.Typer) -> None:
    """Mount `mitigate`."""
    app.command("mitigate", epilog=EXAMPLE)(verb(mitigate))


def mitigate(
    spec: Annotated[str, typer.Argument(help="A suite's name, or a TOML file.")],
    methods: Annotated[
        str,
        typer.Option(help="Names with commas between; LABEL=NAME to try one twice; or all the model can take."),
    ],
    target: Annotated[
        str, typer.Option(help="gender=uniform, gender+skin_tone=uniform, gender=TABLE.csv, a policy.toml and so on.")
    ],
    generator: Annotated[str | None, typer.Option("--generator", "-g", help="As in generate; no API.")] = None,
    option: Annotated[
        list[str], typer.Option(help="A method's setting: METHOD.KEY=VALUE (or LABEL.KEY=VALUE); repeat for more.")
    ] = [],  # noqa: B006
    images_per_prompt: Annotated[int | None, typer.Option("--images-per-prompt", "-n", help="Seeds a prompt.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder for runs, tables and page; it resumes.")] = Path(
        "mitigation"
    ),
    judge: Annotated[str, typer.Option(help="The encoder that judges.")] = "personas-clip-judge",
    tuned_with: Annotated[
        str, typer.Option(help="The encoder that the methods were tuned with; told beside the judge.")
    ] = "personas-clip",
    by: Annotated[str | None, typer.Option(help="The axis of the groups; the spec's own by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of both runs.")] = None,
    sampler: Annotated[str | None, typer.Option(help="As in generate.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale.")] = None,
    device: DeviceOption = "auto",
    batch_size: Annotated[int | None, typer.Option(help="Images at a time.")] = None,
    replicates: Annotated[int, typer.Option(min=100, help="Of bootstraps and swaps.")] = 2000,
    min_n: Annotated[int, typer.Option(min=1, help="Fewest images a group.")] = 20,
) -> Answer:
    """Try mitigations: images without and with each, on the same seeds; what it did, and what it cost.

    Says 'not better than doing nothing' where it is so. A stopped evaluation goes on where it was.
    """
    settings = options_of(option)
    from app.mitigating import mitigate as run

    made = run(
        spec, methods=methods, target=target, generator=generator, options=settings, out=out, judge=judge,
        tuned_with=tuned_with, by=by, seed=seed, images_per_prompt=images_per_prompt, sampler=sampler, steps=steps,
        guidance=guidance, device=device, batch_size=batch_size, replicates=replicates, min_n=min_n, progress=True,
    )  # fmt: skip
    data = made.evaluation.record | {"out": made.out, "page": made.page, "effects": made.effects}
    return Answer(data, lambda: _show(made))


def options_of(given: list[str]) -> dict[str, dict[str, str]]:
    """METHOD.KEY=VALUE as settings by method.

    Raises:
        SpecError: one is written otherwise, or given twice.
    """
    found: dict[str, dict[str, str]] = {}
    for each in given:
        name, sign, value = each.partition("=")
        label, dot, key = (part.strip() for part in name.rpartition("."))
        if not (sign and dot and label and key and value.strip()):
            mend = "write it as METHOD.KEY=VALUE, such as semantic-guidance.scale=5"
            raise SpecError(f"'{each}' is no setting of a method", where="--option", mend=mend)
        if key in found.setdefault(label, {}):
            raise SpecError(f"'{label}.{key}' is given twice", where="--option", mend="give it once")
        found[label][key] = value.strip()
    return found


def _show(made: Tried) -> None:
    from reports.mitigation_page import summary_table, verdict_sentences

    screen = output.console()
    one = summary_table(made.evaluation, brief=True)
    heads = [f">{head}" if right else head for head, right in zip(one.columns, one.numeric, strict=True)]
    screen.print(output.table(heads, one.rows, title=one.caption))
    for sentence in [*verdict_sentences(made.evaluation), *made.evaluation.record["notes"]]:
        screen.print(sentence, markup=False)
    screen.print(f"Page: {made.page}", soft_wrap=True, markup=False)
