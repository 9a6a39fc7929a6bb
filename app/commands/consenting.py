"""`auditkit consent`: what an image and its site say of text and data mining and of AI training, side by side."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app import output
from app.commands.base import Answer, verb

if TYPE_CHECKING:
    from auditkit.provenance.consent import Signal


def register(app: typer.Typer) -> None:
    """Mount this theme's verbs."""
    example = "Example: auditkit consent photograph.jpg --robots robots.txt --path /img/photograph.jpg"
    app.command("consent", rich_help_panel="Mark and trace", epilog=example)(verb(consent))


def consent(
    image: Annotated[Path | None, typer.Argument(help="A PNG, JPEG or WebP file.")] = None,
    robots: Annotated[Path | None, typer.Option(help="The site's robots.txt, as a file.")] = None,
    ai_txt: Annotated[Path | None, typer.Option("--ai-txt", help="The site's ai.txt.")] = None,
    tdmrep: Annotated[Path | None, typer.Option(help="The site's /.well-known/tdmrep.json.")] = None,
    headers: Annotated[Path | None, typer.Option(help="HTTP headers of the answer, as curl -I prints them.")] = None,
    html: Annotated[Path | None, typer.Option(help="The page that shows the image.")] = None,
    path: Annotated[str, typer.Option(help="The image's path on the site.")] = "/",
) -> Answer:
    """Show what an image and its site say of AI training and data mining: the very words, and no verdict.

    Nothing is fetched. Where no signal is found that is not consent.
    """
    from auditkit.errors import ProvenanceError
    from auditkit.provenance import consent as signals_of

    files = {"robots": robots, "ai_txt": ai_txt, "tdmrep": tdmrep, "headers": headers, "html": html}
    if image is None and not any(files.values()):
        raise ProvenanceError(
            "there is nothing to look at", where="consent", mend="name an image, or a file of its site with --robots"
        )
    signals: list[Signal] = []
    if image is not None:
        data = _read(image)
        signals += signals_of.read_file_signals(data, assertions=_assertions(data))
    texts = {name: _read(file).decode("utf-8", errors="replace") for name, file in files.items() if file is not None}
    signals += signals_of.read_site_signals(path=path, **texts)
    rows = signals_of.summary(signals)
    data_out = {"signals": [dataclasses.asdict(one) for one in signals], "uses": rows}
    return Answer(data_out, lambda: _show(signals, rows))


def _show(signals: list[Signal], rows: list[dict[str, Any]]) -> None:
    screen = output.console()
    if signals:
        cells = [(f"{one.source}: {one.where}", one.says if one.uses else "–", one.text) for one in signals]
        screen.print(output.table(["source", "says", "words"], cells))
    screen.print(output.table(["use", "what the sources say"], [(row["name"], row["state"]) for row in rows]))
    if any(one.source == "C2PA" for one in signals):
        screen.print("Whether the C2PA manifest is to be believed is not checked here.", soft_wrap=True)
    note = "Signals are preferences or reservations of rights, not permissions checked. This is no legal advice."
    screen.print(note, soft_wrap=True, markup=False)


def _assertions(data: bytes) -> list[dict[str, Any]]:
    """The assertions of the file's active manifest, where it has one that can be read."""
    from auditkit.provenance.containers import find

    if find(data) is None:
        return []
    from auditkit.provenance.reading import read
    from auditkit.provenance.verdict import assertions

    return assertions(read(data))


def _read(path: Path) -> bytes:
    from auditkit.errors import ProvenanceError

    try:
        return path.read_bytes()
    except OSError as error:
        what = "there is no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise ProvenanceError(what, where=path, mend="check the path") from None
