"""`auditkit log prove`, `consistency`, `verify` and `verify-proof`: what a log can be held to."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app import logs, output
from app.commands.base import Answer, verb

if TYPE_CHECKING:
    from auditkit.provenance.log_proof import Check

LogOption = Annotated[
    Path | None, typer.Option("--log", help="The log's folder; the folder log of $AUDITKIT_HOME by default.")
]
PrivateKeyOption = Annotated[
    Path | None, typer.Option("--key", help="The file of the log's private key; the one beside the log by default.")
]
UnsignedOption = Annotated[bool, typer.Option("--unsigned", help="Do not sign, though the log has a key.")]
PublicKeyOption = Annotated[
    str | None, typer.Option("--key", help="The log's public key (auditkit log show), or a file that holds it.")
]


def mount(parent: typer.Typer) -> None:
    """Mount these verbs in the group `log`."""
    parent.command("prove", epilog="Example: auditkit log prove picture.png --out proof.json")(verb(prove))
    parent.command("consistency", epilog="Example: auditkit log consistency earlier.txt --out grown.json")(
        verb(consistency)
    )
    parent.command("verify", epilog="Example: auditkit log verify --checkpoint earlier.txt")(verb(verify))
    parent.command("verify-proof", epilog="Example: auditkit log verify-proof proof.json --checkpoint checkpoint.txt")(
        verb(verify_proof)
    )


def prove(
    target: Annotated[str, typer.Argument(help="A file, its sha256 or an entry's number; of several, the last entry.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The proof to write.")] = Path("proof.json"),
    checkpoint: Annotated[
        Path | None, typer.Option(help="The checkpoint to prove it against; one of the log as it is by default.")
    ] = None,
    log: LogOption = None,
    key: PrivateKeyOption = None,
    unsigned: UnsignedOption = False,
) -> Answer:
    """Prove that an entry is in the log, in a file that anybody can verify without the log."""
    from auditkit.provenance.log import Log

    opened = Log.open(log)
    index = logs.positions(opened, target)[-1]
    if checkpoint:
        against = logs.read_checkpoint_file(checkpoint)
    else:
        against = logs.current_checkpoint(opened, key=key, unsigned=unsigned)
    proof = opened.prove(index, checkpoint=against)
    proof.save(out)
    checks = proof.verify(key=opened.key if against.signed else None)
    return _checked(checks, {"path": out, **proof.as_dict()}, f"{out}: entry {index} of {proof.size}")


def consistency(
    earlier: Annotated[Path, typer.Argument(help="A checkpoint that was kept from before.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A file for the proof.")] = None,
    log: LogOption = None,
    key: PrivateKeyOption = None,
    unsigned: UnsignedOption = False,
) -> Answer:
    """Prove that the log only grew since an earlier checkpoint; exit code 1 where it was changed."""
    from auditkit.provenance.log import Log

    opened = Log.open(log)
    before = logs.read_checkpoint_file(earlier)
    proof = opened.prove_consistency(before, new=logs.current_checkpoint(opened, key=key, unsigned=unsigned))
    if out:
        proof.save(out)
    checks = proof.verify(checkpoint=before, key=None if unsigned else opened.key)
    title = f"{opened.origin}: {proof.old_size} to {proof.size} entries"
    return _checked(checks, {"path": out, **proof.as_dict()}, title)


def verify(
    checkpoint: Annotated[Path | None, typer.Option(help="An earlier checkpoint, kept elsewhere.")] = None,
    key: PublicKeyOption = None,
    log: LogOption = None,
) -> Answer:
    """Recompute the whole log from its entries, and name the first that differs; exit code 1 where one does."""
    from auditkit.errors import ProvenanceError
    from auditkit.provenance.log import Log
    from auditkit.provenance.notes import verify_note

    opened = Log.open(log)
    given = logs.read_checkpoint_file(checkpoint) if checkpoint else None
    public = logs.read_public_key(key) if key else None
    if public and given is None:
        raise ProvenanceError("a key is held against a checkpoint", where="--key", mend="give one: --checkpoint FILE")
    if public and given:
        verify_note(given.text, public)
    with output.progress_bar("verify", True) as progress:
        found = opened.verify(given, progress=progress)
    problems = [dataclasses.asdict(each) for each in found.problems]
    data = {
        "log": opened.folder, "origin": opened.origin, "ok": found.ok, "size": found.size, "root": found.root.hex(),
        "held_to_checkpoint": given is not None, "problems": problems,
    }  # fmt: skip

    def show() -> None:
        screen = output.console()
        if problems:
            rows = [("–" if each.index is None else each.index, each.kind, each.detail) for each in found.problems]
            title = f"{len(problems)} problem(s) in {opened.folder}"
            screen.print(output.table([">entry", "kind", "what"], rows, title=title))
            return
        text = f"{opened.origin}: all {found.size} entries are as they were appended; root {found.root.hex()}"
        screen.print(text, soft_wrap=True, markup=False)
        if given is None:
            screen.print("  Only a checkpoint kept elsewhere shows that it was not rewritten as a whole: --checkpoint")

    return Answer(data, show, exit_code=int(not found.ok))


def verify_proof(
    proof: Annotated[Path, typer.Argument(help="A proof, of prove or consistency.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="The log's checkpoint from elsewhere; for consistency, the earlier one.")
    ] = None,
    key: PublicKeyOption = None,
    file: Annotated[Path | None, typer.Option(help="The file that the entry must be about.")] = None,
) -> Answer:
    """Verify a proof offline, without the log; exit code 1 where it does not hold."""
    from auditkit.errors import ProvenanceError
    from auditkit.provenance.log_proof import ConsistencyProof, read_proof

    read = read_proof(proof)
    given = logs.read_checkpoint_file(checkpoint) if checkpoint else None
    public = logs.read_public_key(key) if key else None
    if isinstance(read, ConsistencyProof):
        if file is not None:
            raise ProvenanceError("a proof of consistency is about no file", where=proof, mend="leave --file out")
        checks, about = read.verify(checkpoint=given, key=public), f"{read.old_size} to {read.size} entries"
    else:
        sha256 = None if file is None else logs.sha256_of(file)
        checks = read.verify(checkpoint=given, key=public, sha256=sha256)
        about = f"{read.entry.kind} {read.entry.sha256[:16]} at {read.entry.time}"
    return _checked(checks, {"path": proof, **read.as_dict()}, f"{proof}: {about}")


_WORDS = {True: ("holds", "green"), False: ("FAILS", "bold red"), None: ("open", "yellow")}


def _checked(checks: Sequence[Check], data: dict[str, Any], title: str) -> Answer:
    """The answer of a proof: it holds where no check fails."""
    from rich.text import Text

    ok = all(check.holds is not False for check in checks)

    def show() -> None:
        rows = [(Text(*_WORDS[check.holds]), check.name, check.detail) for check in checks]
        screen = output.console()
        screen.print(title, soft_wrap=True, markup=False)
        screen.print(output.table(["", "check", "what was found"], rows))

    answered = [dataclasses.asdict(check) for check in checks]
    return Answer({"ok": ok, "checks": answered, **data}, show, exit_code=int(not ok))
