"""`auditkit log`: an append-only log of what was generated and signed, that anybody can hold its keeper to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app import logs, output
from app.api import RUNS
from app.commands import transparency_proofs
from app.commands.base import Answer, RunsOption, verb
from app.commands.transparency_proofs import LogOption, PrivateKeyOption, UnsignedOption

if TYPE_CHECKING:
    from auditkit.provenance.log import Log


def register(app: typer.Typer) -> None:
    """Mount this theme's verbs."""
    text = "Keep an append-only log of what was generated and signed, and prove what is in it."
    group = typer.Typer(help=text, no_args_is_help=True)
    group.callback(epilog="Example: auditkit log add latest")(_log)
    group.command("new", epilog="Example: auditkit log new --origin example.com/images")(verb(new))
    group.command("add", epilog="Example: auditkit log add latest")(verb(add))
    group.command("checkpoint", epilog="Example: auditkit log checkpoint --out checkpoint.txt")(verb(checkpoint))
    transparency_proofs.mount(group)
    group.command("show", epilog="Example: auditkit log show picture.png")(verb(show))
    app.add_typer(group, name="log", rich_help_panel="Mark and trace")


def _log() -> None:
    """Keep an append-only log of what was generated and signed, and prove what is in it."""


def new(
    log: LogOption = None,
    origin: Annotated[
        str | None, typer.Option(help="The log's name: a URL of yours without scheme; random by default.")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option("--key", help="The private key's file, made where missing; else beside the log."),
    ] = None,
    unsigned: Annotated[bool, typer.Option("--unsigned", help="Make no key: checkpoints have no signature.")] = False,
) -> Answer:
    """Make an empty log, and a key that signs its checkpoints. Give the public key to those who verify."""
    from secrets import token_hex

    from auditkit.provenance.log import RECORD, Log, default_folder
    from auditkit.provenance.notes import load_signer, new_key

    folder = log or default_folder()
    name = origin or f"auditkit-log/{token_hex(8)}"
    path = None if unsigned else key or logs.key_path(folder)
    public = None
    if path is not None and not (folder / RECORD).exists():  # where there is a log, `create` says so
        public = load_signer(path, name).key if path.exists() else new_key(path, name)
    made = Log.create(folder, origin=name, key=public)

    def show() -> None:
        screen = output.console()
        screen.print(f"New log: {made.origin} in {made.folder}", soft_wrap=True, markup=False)
        if public is None:
            screen.print("It has no key: anybody could have written its checkpoints.")
            return
        screen.print(f"Public key, for those who verify: {public}", soft_wrap=True, markup=False)
        screen.print(f"Private key: {path}  (readable by you alone)", soft_wrap=True, markup=False)

    return Answer({"log": folder, "origin": made.origin, "public_key": public and str(public), "key": path}, show)


def add(
    targets: Annotated[list[str], typer.Argument(help="Files; runs (folder, id or 'latest'), with all their images.")],
    kind: Annotated[str, typer.Option(help="generated, signed or retired.")] = "generated",
    key_id: Annotated[list[str], typer.Option(help="Id of a key that marked or signed them; repeat for more.")] = [],  # noqa: B006
    runs: RunsOption = RUNS,
    log: LogOption = None,
) -> Answer:
    """Log that files, or the images of runs, were generated, signed or retired. What is logged already stays as it is.

    Hashes, ids and the time go into the log; prompts and pixels never do.
    """
    from auditkit.provenance.log import Log

    opened = Log.open(log)
    added, known = logs.add_to_log(opened, targets, kind=kind, keys=key_id, runs=runs, progress=True)
    data = {"added": len(added), "known": known, "first": added.start if added else None, "size": len(opened)}

    def show() -> None:
        where = f" (from number {added.start} on)" if added else ""
        text = f"{len(added)} entries added{where}, {known} were there already; the log has {len(opened)}"
        output.console().print(text, soft_wrap=True)

    return Answer(data, show)


def checkpoint(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A file to write it to as well.")] = None,
    log: LogOption = None,
    key: PrivateKeyOption = None,
    unsigned: UnsignedOption = False,
) -> Answer:
    """Say what the log is now, in a signed note to publish: it pins every entry up to here (C2SP tlog-checkpoint)."""
    from auditkit.files import write_atomic
    from auditkit.provenance.log import Log

    made = logs.current_checkpoint(Log.open(log), key=key, unsigned=unsigned)
    if out:
        write_atomic(out, made.text.encode())
    data = {"origin": made.origin, "size": made.size, "root": made.root.hex(), "signed": made.signed}

    def show() -> None:
        output.console().print(made.text, end="", soft_wrap=True, markup=False)
        if not made.signed:
            output.say("It is not signed: anybody could have written it.")

    return Answer({**data, "text": made.text, "path": out}, show)


def show(
    target: Annotated[
        str | None, typer.Argument(help="A file, its sha256 or an entry's number; the last entries by default.")
    ] = None,
    last: Annotated[int, typer.Option(min=0, max=10_000, help="How many of the last entries.")] = 10,
    log: LogOption = None,
) -> Answer:
    """Show the log, its public key and its last entries, or every entry about one asset."""
    from auditkit.provenance.log import Log

    opened = Log.open(log)
    places = logs.positions(opened, target) if target else list(range(max(len(opened) - last, 0), len(opened)))
    rows = [{"index": i, **opened.entry(i).as_dict()} for i in places]
    data = {
        "log": opened.folder,
        "origin": opened.origin,
        "public_key": opened.key and str(opened.key),
        "size": len(opened),
        "root": opened.root().hex(),
        "entries": rows,
    }
    return Answer(data, lambda: _show(opened, rows))


def _show(log: Log, rows: list[dict[str, Any]]) -> None:
    screen = output.console()
    screen.print(f"{log.origin}: {len(log)} entries, root {log.root().hex()}", soft_wrap=True, markup=False)
    key = str(log.key) if log.key else "none, its checkpoints are not signed"
    screen.print(f"Public key: {key}", soft_wrap=True, markup=False)
    cells = [
        (
            row["index"],
            row["time"].replace("T", " ").removesuffix("Z"),
            row["kind"],
            row["sha256"][:16],
            row.get("run", "–"),
            ", ".join(row.get("keys", [])) or "–",
        )
        for row in rows
    ]
    screen.print(output.table([">entry", "time (UTC)", "kind", "sha256", "run", "keys"], cells))
