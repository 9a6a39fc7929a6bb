"""`auditkit trust`: whom to trust, in named and versioned lists."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app import output
from app.commands.base import Answer, verb
from auditkit.errors import TrustError

if TYPE_CHECKING:
    from auditkit.provenance.trust import TrustList

DayOption = Annotated[str | None, typer.Option("--as-of", help="Another day than today: 2026-01-31.")]


def register(app: typer.Typer) -> None:
    """Mount this theme's verbs."""
    group = typer.Typer(help="Whom to trust: named, versioned lists of trust anchors.", no_args_is_help=True)
    group.callback(epilog="Example: auditkit trust list")(_trust)
    group.command("list", epilog="Example: auditkit trust list --as-of 2026-01-31")(verb(list_))
    group.command("import", epilog="Example: auditkit trust import c2pa C2PA-TRUST-LIST.pem --kind official")(
        verb(import_)
    )
    group.command("show", epilog="Example: auditkit trust show c2pa@2026-01-31")(verb(show))
    group.command("forecast", epilog="Example: auditkit trust forecast --days 180")(verb(forecast))
    group.command("diff", epilog="Example: auditkit trust diff c2pa@2026-01-31 c2pa")(verb(diff))
    group.command("remove", epilog="Example: auditkit trust remove mine")(verb(remove))
    app.add_typer(group, name="trust", rich_help_panel="Mark and trace")


def _trust() -> None:
    """Whom to trust: named, versioned lists of trust anchors. Nothing is downloaded."""


def parse_day(text: str | None) -> date | None:
    """A day in ISO 8601, or None.

    Raises:
        TrustError: it is none.
    """
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise TrustError("this is no day", where=text, mend="write it like 2026-01-31") from None


def list_(as_of: DayOption = None) -> Answer:
    """List the trust lists in force, with their versions."""
    from auditkit.provenance import trust

    found = trust.lists(as_of=parse_day(as_of))
    rows = [_row(each) for each in found]

    def show() -> None:
        screen = output.console()
        if not found:
            screen.print("There is no trust list: every signer is unknown. Add one: auditkit trust import NAME FILE")
            return
        cells = [(r["name"], r["version"], r["kind"], r["anchors"], r["source"]) for r in rows]
        screen.print(output.table(["list", "version", "kind", ">anchors", "from"], cells))

    return Answer({"lists": rows}, show)


def import_(
    name: Annotated[str, typer.Argument(help="The list's name; a new version is added to one that is there.")],
    file: Annotated[Path, typer.Argument(help="Certificates in PEM.")],
    version: Annotated[str | None, typer.Option(help="The version's name; the day by default.")] = None,
    in_force: Annotated[str | None, typer.Option(help="The day from which it counts; today by default.")] = None,
    kind: Annotated[str, typer.Option(help="private or official: who answers for it.")] = "private",
) -> Answer:
    """Keep a file of certificates as a version of a trust list. Its earlier versions stay, for --as-of."""
    from auditkit.provenance import trust

    made = trust.import_list(name, file, version=version, in_force=parse_day(in_force), kind=kind)
    text = f"{made.name}, version {made.version}: {len(made.anchors)} anchors"
    return Answer(_row(made), lambda: output.console().print(text, markup=False))


def show(spec: Annotated[str, typer.Argument(help="A list, NAME@VERSION, or a PEM file.")]) -> Answer:
    """Show the anchors of a list."""
    from auditkit.provenance import trust

    found = trust.get(spec)
    rows = [each.row() for each in trust.diff(found, found).kept]
    return Answer(_row(found) | {"certificates": rows}, lambda: _print(rows, f"{found.name}, version {found.version}"))


def forecast(days: Annotated[int, typer.Option(min=0, help="How far to look ahead.")] = 90) -> Answer:
    """Show which anchors run out soon, or have run out."""
    from auditkit.provenance import trust

    rows = [each.row() for each in trust.forecast(days=days)]
    none = f"No anchor of the lists in force runs out within {days} days."
    return Answer({"days": days, "expiring": rows}, lambda: _print(rows, f"Run out within {days} days", none))


def diff(
    first: Annotated[str, typer.Argument(help="A list, NAME@VERSION, or a PEM file.")],
    second: Annotated[str, typer.Argument(help="Another one.")],
) -> Answer:
    """Show which anchors the second list has and lacks, beside the first."""
    from auditkit.provenance import trust

    found = trust.diff(trust.get(first), trust.get(second))
    data = {
        "added": [each.row() for each in found.added],
        "removed": [each.row() for each in found.removed],
        "kept": len(found.kept),
    }

    def show() -> None:
        cells = [("+", each.name, each.fingerprint[:16], f"{each.valid_to:%Y-%m-%d}") for each in found.added]
        cells += [("-", each.name, each.fingerprint[:16], f"{each.valid_to:%Y-%m-%d}") for each in found.removed]
        screen = output.console()
        if cells:
            screen.print(output.table(["", "anchor", "sha256", "valid until"], cells))
        screen.print(f"{len(found.added)} added, {len(found.removed)} removed, {len(found.kept)} kept.")

    return Answer(data, show)


def remove(name: Annotated[str, typer.Argument(help="The list.")]) -> Answer:
    """Forget a trust list with all its versions: its signers are unknown from now on."""
    from auditkit.provenance import trust

    count = trust.remove(name)
    return Answer(
        {"removed": name, "versions": count}, lambda: output.console().print(f"Removed {name} ({count} versions).")
    )


def _row(found: TrustList) -> dict[str, Any]:
    return {
        "name": found.name, "version": found.version, "in_force": str(found.in_force), "kind": found.kind,
        "anchors": len(found.anchors), "source": found.source,
    }  # fmt: skip


def _print(rows: list[dict[str, Any]], title: str, none: str = "No anchors.") -> None:
    screen = output.console()
    if not rows:
        screen.print(none)
        return
    cells = [
        (r["name"], r["sha256"][:16], r["valid_from"][:10], r["valid_to"][:10], ", ".join(r["lists"])) for r in rows
    ]
    screen.print(output.table(["anchor", "sha256", "valid from", "until", "lists"], cells, title=title))
