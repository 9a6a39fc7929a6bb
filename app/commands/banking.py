"""`auditkit bank`: lists of hashes of known images, exchanged with others, and matched against uploads."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app import output
from app.commands.base import Answer, verb

if TYPE_CHECKING:
    from auditkit.provenance.bank_matching import Match
    from auditkit.provenance.banks import Bank

BankArgument = Annotated[str, typer.Argument(help="A bank's name, or its .sqlite file.")]
BanksOption = Annotated[
    Path | None, typer.Option("--banks", help="The folder of banks; 'banks' in $AUDITKIT_HOME by default.")
]
FormatOption = Annotated[
    str | None, typer.Option("--format", help="csv, text, threatexchange or vics; seen from the file by default.")
]
SHOWN = 20


def register(app: typer.Typer) -> None:
    """Mount this theme's verbs."""
    group = typer.Typer(help="Keep hash banks of known images, and match images against them.", no_args_is_help=True)
    group.callback(epilog="Example: auditkit bank match upload.jpg")(_bank)
    group.command("new", epilog="Example: auditkit bank new known-harm --kind harm")(verb(new))
    group.command("list", epilog="Example: auditkit bank list")(verb(show_banks))
    group.command("add", epilog="Example: auditkit bank add known-harm pictures --label weapon")(verb(add))
    group.command("import", epilog="Example: auditkit bank import known-harm list.csv")(verb(import_list))
    group.command("export", epilog="Example: auditkit bank export known-harm list.csv")(verb(export_list))
    group.command("remove", epilog="Example: auditkit bank remove known-harm --label weapon")(verb(remove))
    group.command("match", epilog="Example: auditkit bank match upload.jpg --bank known-harm")(verb(match))
    app.add_typer(group, name="bank", rich_help_panel="Mark and trace")


def _bank() -> None:
    """Keep hash banks of known images, and match images against them."""


def new(
    name: Annotated[str, typer.Argument(help="Letters, digits and - _ . only.")],
    kind: Annotated[str, typer.Option(help="harm (known harmful images) or own (images of your own).")],
    banks: BanksOption = None,
) -> Answer:
    """Make an empty bank: a file that only its owner can read."""
    from auditkit.provenance.banks import create

    made = create(name, kind, where=banks)
    return _said({"bank": made.name, "kind": made.kind, "path": made.path}, f"New bank: {made.path}")


def show_banks(banks: BanksOption = None) -> Answer:
    """List the banks, with how many hashes each has of which type."""
    from auditkit.provenance.banks import folder, load, paths

    loaded = [load(path) for path in paths(banks)]
    rows = [{"bank": one.name, "kind": one.kind, **one.counts(), "path": one.path} for one in loaded]

    def show() -> None:
        screen = output.console()
        cells = [(row["bank"], row["kind"], f"{row['pdq']:,}", f"{row['sha256']:,}") for row in rows]
        screen.print(output.table(["bank", "kind", ">PDQ", ">SHA-256"], cells))
        screen.print(f"Folder: {banks or folder()}", soft_wrap=True, markup=False)

    return Answer({"banks": rows}, show)


def add(
    bank: BankArgument,
    source: Annotated[list[Path], typer.Argument(help="Images, and folders of images.")] = [],  # noqa: B006
    hash: Annotated[list[str], typer.Option(help="pdq:HEX or sha256:HEX; repeat for more.")] = [],  # noqa: B006
    label: Annotated[str, typer.Option(help="What they show.")] = "",
    note: Annotated[str, typer.Option(help="Where they come from; the file's name by default.")] = "",
    banks: BanksOption = None,
) -> Answer:
    """Add images to a bank, by PDQ and SHA-256, or hashes. Only hashes are kept, never an image."""
    from auditkit.errors import ProvenanceError
    from auditkit.provenance.bank_entries import entry
    from auditkit.provenance.banks import load

    into = load(bank, where=banks)
    if not source and not hash:
        raise ProvenanceError("there is nothing to add", mend="name images or folders, or give --hash pdq:HEX")
    pairs = [text.partition(":") for text in hash]
    entries = [entry(type, value, label=label, note=note) for type, _, value in pairs]
    files = [path for each in source for path in _images(each)]
    with output.progress_bar("hash", len(files) > 1) as progress:
        done = into.add_images(files, label=label, note=note, progress=progress)
    given = into.add(entries)
    done.added, done.known = done.added + given.added, done.known + given.known
    failed = [{"file": path, "why": why} for path, why in done.failed]
    data = {"bank": into.name, "added": done.added, "known": done.known, "unusable": done.unusable, "failed": failed}

    def show() -> None:
        screen = output.console()
        cells = [(into.name, done.added, done.known, len(done.unusable), len(failed))]
        screen.print(output.table(["bank", ">added", ">there already", ">too flat for PDQ", ">failed"], cells))
        if done.unusable:
            screen.print("Of images too flat for PDQ only the SHA-256 was added: only exact copies will match.")
        if failed:
            screen.print(output.table(["file", "why"], [(row["file"], row["why"]) for row in failed[:SHOWN]]))

    return Answer(data, show, exit_code=int(bool(failed)))


def _images(path: Path) -> list[Path]:
    from auditkit.watermark.folders import image_files

    return [path / name for name, why in image_files(path) if not why] if path.is_dir() else [path]


def import_list(
    bank: BankArgument,
    file: Annotated[Path, typer.Argument(help="A list: CSV, text, ThreatExchange JSON or Project VIC JSON.")],
    format: FormatOption = None,
    type: Annotated[str, typer.Option(help="pdq or sha256, where the list does not say it.")] = "pdq",
    label: Annotated[str, typer.Option(help="For hashes that have none.")] = "",
    banks: BanksOption = None,
) -> Answer:
    """Import a list of hashes, all of it or nothing. Kinds of hashes that a bank cannot match are counted."""
    from auditkit.provenance.bank_reading import read_hashes
    from auditkit.provenance.banks import load

    into, found = load(bank, where=banks), read_hashes(file, format=format, type=type)
    labelled = [one if one.label else dataclasses.replace(one, label=label) for one in found.entries]
    done = into.add(labelled)
    data = {"bank": into.name, "added": done.added, "known": done.known, "left_out": dict(found.left_out)}

    def show() -> None:
        left = ", ".join(f"{n:,} {why}" for why, n in found.left_out.most_common()) or "none"
        cells = [(into.name, f"{done.added:,}", f"{done.known:,}", left)]
        output.console().print(output.table(["bank", ">added", ">there already", "left out"], cells))

    return Answer(data, show)


def export_list(
    bank: BankArgument,
    out: Annotated[Path, typer.Argument(help="The file to write.")],
    format: Annotated[
        str | None, typer.Option("--format", help="csv, text, threatexchange or vics; by the name's ending by default.")
    ] = None,
    type: Annotated[str | None, typer.Option(help="Only these: pdq or sha256.")] = None,
    banks: BanksOption = None,
) -> Answer:
    """Export a bank as a list that others can import."""
    from auditkit.provenance.bank_writing import write_hashes
    from auditkit.provenance.banks import load

    endings = {".csv": "csv", ".txt": "text"}
    chosen = format or endings.get(out.suffix.lower(), "threatexchange")
    written = write_hashes(load(bank, where=banks).entries(type=type), out, format=chosen)
    return _said({"path": out, "format": chosen, "hashes": written}, f"{written:,} hashes as {chosen}: {out}")


def remove(
    bank: BankArgument,
    hash: Annotated[list[str], typer.Option(help="64 hexadecimal digits; repeat for more.")] = [],  # noqa: B006
    label: Annotated[str | None, typer.Option(help="All hashes with this label.")] = None,
    banks: BanksOption = None,
) -> Answer:
    """Remove hashes from a bank, by value or label."""
    from auditkit.errors import ProvenanceError
    from auditkit.provenance.banks import load

    if not hash and label is None:
        raise ProvenanceError("it was not said what to remove", mend="give --hash HEX or --label LABEL")
    removed = load(bank, where=banks).remove(values=hash, label=label)
    return _said({"bank": bank, "removed": removed}, f"{removed:,} hashes removed from {bank}")


def match(
    target: Annotated[str, typer.Argument(help="An image, a folder of images, or a hash: pdq:HEX or sha256:HEX.")],
    bank: Annotated[list[str], typer.Option(help="A bank; repeat for more. All of the folder by default.")] = [],  # noqa: B006
    threshold: Annotated[int, typer.Option(min=0, max=63, help="Bits of 256 that may differ.")] = 31,
    dihedral: Annotated[bool, typer.Option(help="Match images rotated and flipped too.")] = True,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write all matches here as CSV.")] = None,
    banks: BanksOption = None,
) -> Answer:
    """Match an image, or all images of a folder, against hash banks.

    No match does not show that an image is harmless: it may be unknown, or cropped. A match is for a person to look at.
    """
    from auditkit.errors import ImageError
    from auditkit.provenance.bank_matching import hashes
    from auditkit.provenance.bank_matching import match as matched

    loaded = _loaded(bank, banks)
    given = _hash(target)
    files = [target] if given else [str(path) for path in _images(Path(target))]
    rows: list[dict[str, Any]] = []
    flat: list[str] = []
    failed: list[dict[str, str]] = []
    with output.progress_bar("match", len(files) > 1) as progress:
        for number, file in enumerate(files, 1):
            try:
                known = given or hashes(file, dihedral=dihedral)
            except ImageError as error:
                if len(files) == 1:
                    raise
                failed.append({"file": file, "why": error.what})
            else:
                flat += [file] if known.unusable else []
                rows += [_row(file, one) for one in matched(known, loaded, threshold=threshold, dihedral=dihedral)]
            if progress:
                progress(number, len(files))
    if out is not None:
        _write(rows, out)
    data = {"matches": rows, "images": len(files), "unusable": flat, "failed": failed}
    return Answer(data, lambda: _show(data, loaded, threshold, out), exit_code=int(bool(failed)))


def _loaded(names: list[str], where: Path | None) -> list[Bank]:
    from auditkit.errors import ProvenanceError
    from auditkit.provenance.banks import folder, load, paths

    found = [load(name, where=where) for name in names] or [load(path) for path in paths(where)]
    if not found:
        mend = "make one: auditkit bank new known-harm --kind harm"
        raise ProvenanceError("there are no banks", where=where or folder(), mend=mend)
    return found


def _hash(target: str) -> Any:
    """The hashes of 'pdq:HEX' or 'sha256:HEX'; None of anything else, which is a path."""
    from auditkit.provenance.bank_entries import TYPES, entry
    from auditkit.provenance.bank_matching import Hashes
    from auditkit.provenance.pdq import Pdq

    type, colon, value = target.partition(":")
    if not colon or type not in TYPES:
        return None
    one = entry(type, value)
    return Hashes((Pdq.from_hex(one.value),)) if type == "pdq" else Hashes(sha256=one.value)


def _row(file: str, one: Match) -> dict[str, Any]:
    return {
        "file": file, "bank": one.bank, "kind": one.kind, "label": one.entry.label, "type": one.entry.type,
        "exact": one.exact, "distance": one.distance, "form": one.form, "value": one.entry.value,
        "note": one.entry.note,
    }  # fmt: skip


def _write(rows: list[dict[str, Any]], out: Path) -> None:
    import pandas as pd

    from auditkit.files import write_atomic

    names = ["file", "bank", "kind", "label", "type", "exact", "distance", "form", "value", "note"]
    write_atomic(out, pd.DataFrame(rows, columns=names).to_csv(index=False).encode())


def _show(data: dict[str, Any], banks: list[Bank], threshold: int, out: Path | None) -> None:
    screen = output.console()
    rows = data["matches"]
    if rows:
        cells = [
            (row["file"][-40:], row["bank"], row["kind"], row["label"] or "–",
             "exact" if row["exact"] else f"{row['distance']} bits", row["form"])
            for row in rows[:SHOWN]
        ]  # fmt: skip
        title = f"First {SHOWN} of {len(rows):,} matches" if len(rows) > SHOWN else None
        screen.print(output.table(["file", "bank", "kind", "label", ">differs", "form"], cells, title=title))
    hit = len({row["file"] for row in rows})
    names = ", ".join(one.name for one in banks)
    images = "1 was" if hit == 1 else f"{hit:,} were"
    said = [f"{images} matched of {data['images']:,}, within {threshold} bits, in: {names}"]
    said += [f"  {file}: unusable for PDQ (too flat), only exact copies match" for file in data["unusable"][:SHOWN]]
    for line in said:
        screen.print(line, soft_wrap=True, markup=False)
    if data["failed"]:
        screen.print(output.table(["file", "why"], [(row["file"], row["why"]) for row in data["failed"][:SHOWN]]))
    if out is not None:
        screen.print(f"All matches: {out}", soft_wrap=True, markup=False)


def _said(data: dict[str, Any], text: str) -> Answer:
    return Answer(data, lambda: output.console().print(text, soft_wrap=True, markup=False))
