"""Verbs that answer questions about what is there: suites, generators, plugins, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from app import api, looking, output
from app.commands.base import Answer, verb
from auditkit.errors import SpecError


def register(app: typer.Typer) -> None:
    """Mount this theme's verbs."""
    panel = "Look around"
    app.command("suites", rich_help_panel=panel, epilog="Example: auditkit suites occupations")(verb(suites))
    app.command(
        "generators", rich_help_panel=panel, epilog="Example: auditkit generators personas-dit --html card.html"
    )(verb(generators))
    app.command("plugins", rich_help_panel=panel, epilog="Example: auditkit plugins --json")(verb(plugins))
    app.command("targets", rich_help_panel=panel, epilog="Example: auditkit targets us-labour-2022")(verb(targets))
    app.command("doctor", rich_help_panel=panel, epilog="Example: auditkit doctor")(verb(doctor))


def targets(
    name: Annotated[str | None, typer.Argument(help="A shipped table's name, to see its figures and origin.")] = None,
) -> Answer:
    """List the yardsticks that shares can be held against; none of them is the fair one."""
    from auditkit.bias.targets import shipped

    found = {one.name: one for one in shipped()}
    if name is None:
        rows = [
            {"target": "uniform", "what": "an even split over the classes"},
            {"target": "planted", "what": "what the bundled generator was trained to show"},
            *({"target": one.name, "what": f"{one.title}. {one.publisher}, {one.year}."} for one in found.values()),
            {"target": "RUN", "what": "the shares measured in another run: its folder or id"},
            {"target": "FILE.csv", "what": "your own: columns group, category, share (and attribute)"},
        ]
        cells = [(row["target"], row["what"]) for row in rows]
        return Answer(rows, lambda: output.console().print(output.table(["target", "what it is"], cells)))
    if name not in found:
        raise SpecError(f"there is no shipped target '{name}'", where=name, mend=f"use one of: {', '.join(found)}")
    return _target(found[name])


def _target(one: Any) -> Answer:
    import pandas as pd

    table = pd.read_csv(one.checked_path())

    def show() -> None:
        out = output.console()
        cells = []
        for group, rows in table.groupby("group", sort=False):
            shares = [f"{c} {100 * share:.1f}%" for c, share in zip(rows["category"], rows["share"], strict=True)]
            cells.append((str(group), ", ".join(shares), rows["official_title"].iloc[0], rows["fit"].iloc[0]))
        out.print(output.table([one.by, "share", "official title", "fit"], cells, title=one.title))
        facts = (one.about.strip(), f"Source: {one.publisher}. {one.table}. {one.year}.", one.url, one.licence)
        for line in (*facts, f"sha256 {one.sha256}"):
            out.print(line, markup=False)
        for group, why in one.left_out.items():
            out.print(f"Left out: {group}, {why}", markup=False)

    record = {key: str(value) if key == "path" else value for key, value in vars(one).items()}
    return Answer({**record, "shares": table}, show)


def suites(
    name: Annotated[str | None, typer.Argument(help="A suite's name or a .toml file, to preview it.")] = None,
    first: Annotated[int, typer.Option(min=0, help="How many prompts of a preview to show.")] = 10,
) -> Answer:
    """List the shipped suites of prompts, or preview what one expands to."""
    return _preview(name, first) if name else _list_suites()


def _list_suites() -> Answer:
    from auditkit.prompts import expand
    from auditkit.spec import load_spec
    from auditkit.spec import suites as names

    found = [(name, load_spec(name)) for name in names()]
    rows: list[dict[str, Any]] = [
        {
            "suite": name,
            "prompts": len(expand(spec)),
            "axes": list(spec.axes),
            "description": spec.description,
        }
        for name, spec in found
    ]

    def show() -> None:
        cells = [(row["suite"], row["prompts"], ", ".join(row["axes"]), row["description"]) for row in rows]
        output.console().print(output.table(["suite", ">prompts", "axes", "what it asks"], cells))

    return Answer(rows, show)


def _preview(name: str, first: int) -> Answer:
    from auditkit.prompts import expand

    spec = api.resolve_spec(name)
    prompts = expand(spec)
    images = len(prompts) * spec.images_per_prompt
    data: dict[str, Any] = {
        "suite": spec.name,
        "description": spec.description,
        "prompts": len(prompts),
        "images_per_prompt": spec.images_per_prompt,
        "images": images,
        "by": spec.by,
        "axes": {axis: len(values) for axis, values in spec.axes.items()},
        "first": [prompt.text for prompt in prompts[:first]],
    }

    def show() -> None:
        out = output.console()
        out.print(f"{spec.name}: {spec.description}" if spec.description else spec.name)
        out.print(f"{len(prompts)} prompts x {spec.images_per_prompt} images = {images} images")
        for text in data["first"]:
            out.print(f"  {text}", markup=False)
        if len(prompts) > first:
            out.print(f"  ... and {len(prompts) - first} more")

    return Answer(data, show)


def generators(
    name: Annotated[
        str | None, typer.Argument(help="A bundled one, or a checkpoint's folder, to read its card.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the cards with their pictures to this page.")] = None,
) -> Answer:
    """List the generators, what they show and what their training cost; with a name, the model card of one."""
    page = None if html is None else looking.write_cards(html, generator=name)
    return _list_generators(page) if name is None else _card(looking.model_card(name), page)


def _list_generators(page: Path | None) -> Answer:
    from app.doctor import generator_rows
    from reports.cards import overview

    known = looking.list_generators()
    cards = {one.name: one for one in known}
    rows = generator_rows()
    for row in rows:
        one = cards.get(row["generator"])
        row |= {"folder": one and one.folder, "sheet": one and one.sheet, "card": one and one.card}

    def show() -> None:
        out = output.console()
        told = {cells[0]: cells for cells in overview(known).rows}
        cells = [
            (row["generator"], row["kind"] or "?", _yes(row["planted"]), *told.get(row["generator"], [""] * 8)[3:])
            for row in rows
        ]
        heads = ["generator", "kind", "planted", "sampler, steps", ">gender", ">tone ±1", ">occupation", ">kJ"]
        out.print(output.table(heads, cells))
        for row in rows:
            if row["note"]:
                out.print(f"{row['generator']}: {row['note']}", style="red", markup=False)
        out.print(
            "Gender, tone, occupation: share of images that show what the prompt states. kJ: training, card only."
        )
        if page is None:
            out.print("With pictures: auditkit generators --html generators.html, or the dashboard's view Generators.")
        else:
            out.print(f"Cards with pictures: {page}", style="bold", soft_wrap=True)
        out.print("Any other checkpoint of diffusers: --generator path:FOLDER or hf:OWNER/MODEL")

    return Answer(rows if page is None else {"page": page, "generators": rows}, show)


def _card(one: Any, page: Path | None) -> Answer:
    from reports.cards import facts, notes, plain, tables

    def show() -> None:
        out = output.console()
        card = one.card
        out.print(one.name, style="bold", markup=False)
        out.print(output.visible(plain(card.what)) if card else f"A {one.pipeline} without a card.", markup=False)
        for title, text in facts(card).items():
            out.print(f"{title}: {output.visible(text)}", markup=False)
        for each in tables(one):
            heads = [f">{c}" if n else c for c, n in zip(each.columns, each.numeric, strict=True)]
            out.print(output.table(heads, output.visible(list(each.rows)), title=each.caption))
        for note in notes(one):
            out.print(output.visible(note), style="dim", markup=False)
        if one.sheet is not None:
            out.print(f"Samples: {one.sheet}", soft_wrap=True, markup=False)
        if page is not None:
            out.print(f"Page: {page}", style="bold", soft_wrap=True)

    data = {"generator": one.name, "folder": one.folder, "pipeline": one.pipeline, "settings": one.notes,
            "planted": one.planted, "card": one.card, "sheet": one.sheet, "page": page}  # fmt: skip
    return Answer(data, show)


def plugins() -> Answer:
    """List every plugin by group, and what is wrong with those that cannot be loaded."""
    from auditkit import registry

    rows: list[dict[str, Any]] = [
        {
            "group": plugin.group,
            "name": plugin.name,
            "target": plugin.target,
            "distribution": plugin.distribution,
            "error": None if plugin.error is None else str(plugin.error),
        }
        for plugin in registry.plugins()
    ]

    def show() -> None:
        cells = [(r["group"], r["name"], r["distribution"] or "", r["error"] or "ok") for r in rows]
        output.console().print(output.table(["group", "name", "from", "state"], cells))

    return Answer(rows, show)


def doctor() -> Answer:
    """Say what is installed, which device and weights there are, and what to do where something is wrong."""
    from app.doctor import examine

    checks = examine()
    healthy = all(check.ok or not check.essential for check in checks)

    def show() -> None:
        from rich.text import Text

        def mark(check: Any) -> Text:
            return Text("ok", "green") if check.ok else Text("wrong" if check.essential else "absent", "red")

        cells = [(mark(check), check.name, check.found, check.mend or "") for check in checks]
        output.console().print(output.table(["", "what", "found", "to do"], cells))

    return Answer({"healthy": healthy, "checks": [vars(check) for check in checks]}, show, exit_code=int(not healthy))


def _yes(value: bool | None) -> str:
    return "?" if value is None else "yes" if value else "no"
