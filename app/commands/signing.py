"""`auditkit sign` and `auditkit keys pki`: say under a signature where an image comes from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app import api, output, provenance
from app.commands.base import Answer, RunsOption, verb
from app.commands.watermark_keys import KeysOption
from auditkit.errors import ProvenanceError

if TYPE_CHECKING:
    import pandas as pd

CertOption = Annotated[
    Path | None,
    typer.Option("--cert", help="Certificate chain, PEM, end entity first; the development PKI's by default."),
]
SignKeyOption = Annotated[Path | None, typer.Option("--key", help="Its private key, PEM (PKCS #8).")]
CommandOption = Annotated[
    str | None,
    typer.Option("--sign-with", help="A command that signs its standard input, for a key that lives elsewhere."),
]
TimestampOption = Annotated[
    str | None, typer.Option("--tsa", help="URL of an RFC 3161 time-stamping authority (uses the network).")
]
StoreOption = Annotated[
    Path | None, typer.Option("--store", help="Folder of the manifest store; the user's own by default.")
]
NoStoreOption = Annotated[bool, typer.Option("--no-store", help="Keep no manifest: the image cannot be recovered.")]
LogOption = Annotated[
    Path | None, typer.Option("--log", help="Folder of the transparency log; the user's own by default.")
]
NoLogOption = Annotated[bool, typer.Option("--no-log", help="Write nothing into the transparency log.")]
TrainingOption = Annotated[
    str | None, typer.Option(help="AI training and data mining: allowed, notAllowed or constrained.")
]
TermsOption = Annotated[str, typer.Option(help="Where the terms of a constrained use stand.")]


def register(app: typer.Typer) -> None:
    """Mount this theme's verbs."""
    panel = "Mark and trace"
    app.command(
        "sign", rich_help_panel=panel,
        epilog="Example: auditkit sign picture.png --source-type trainedAlgorithmicMedia --watermark spread",
    )(verb(sign))  # fmt: skip
    keys = typer.Typer(help="Keys and certificates for signing.", no_args_is_help=True)
    keys.callback(epilog="Example: auditkit keys pki")(_keys)
    keys.command("pki", epilog="Example: auditkit keys pki --out pki")(verb(pki))
    app.add_typer(keys, name="keys", rich_help_panel=panel)


def _keys() -> None:
    """Keys and certificates for signing (watermark keys: auditkit watermark keys)."""


def pki(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The folder to write; where `sign` looks for it by default.")
    ] = None,
    name: Annotated[str, typer.Option(help="Put into the signer's name.")] = "development signer",
    days: Annotated[int, typer.Option(min=1, help="How long the signer's certificate is valid.")] = 365,
) -> Answer:
    """Make a root, an intermediate and a signing certificate for development. Not for production.

    Anybody can make such certificates: they are trusted by those alone whom you give root.pem.
    """
    made = provenance.make_pki(out, name=name, days=days)
    default = f" --cert '{made.chain}' --key '{made.key}'" if out is not None else ""

    def show() -> None:
        screen = output.console()
        screen.print(f"Development certificates (not for production) in {made.folder}", soft_wrap=True)
        screen.print(f"  sign:    auditkit sign IMAGE{default}", soft_wrap=True, markup=False)
        screen.print(f"  inspect: auditkit inspect IMAGE --trust '{made.root}'", soft_wrap=True, markup=False)
        screen.print(f"The signing certificate is valid until {made.expires:%Y-%m-%d}.")

    data = {"folder": made.folder, "root": made.root, "cert": made.chain, "key": made.key,
            "expires": made.expires.isoformat(), "production": False}  # fmt: skip
    return Answer(data, show)


def sign(
    target: Annotated[str, typer.Argument(help="An image, a folder of images, or a run (folder, id, 'latest').")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File or folder to write; 'NAME-signed' beside an image by default."),
    ] = None,
    source_type: Annotated[
        str | None,
        typer.Option(help="How it came to be: trainedAlgorithmicMedia, digitalCapture ... Without one: 'opened'."),
    ] = None,
    action: Annotated[
        list[str], typer.Option(help="What was done to it since: cropped, resized ... Repeat for more.")
    ] = [],  # noqa: B006
    parent: Annotated[Path | None, typer.Option(help="The image that it was made from.")] = None,
    ingredient: Annotated[list[Path], typer.Option(help="An image that was placed into it; repeat for more.")] = [],  # noqa: B006
    generator: Annotated[str | None, typer.Option(help="Name of the generator that made it.")] = None,
    generator_version: Annotated[str | None, typer.Option(help="Its version.")] = None,
    weights_sha256: Annotated[str | None, typer.Option(help="sha256 of its weights.")] = None,
    prompt: Annotated[str | None, typer.Option(help="The prompt; only its salted hash is written.")] = None,
    seed: Annotated[int | None, typer.Option(help="The seed.")] = None,
    training: TrainingOption = None,
    training_terms: TermsOption = "",
    watermark: Annotated[
        str | None, typer.Option(help="Mark it first, with a payload of its own: spread, codec.")
    ] = None,
    watermark_key: Annotated[
        str | None, typer.Option(help="The watermark key's id; the active key by default.")
    ] = None,
    keys: KeysOption = None,
    sidecar: Annotated[
        bool, typer.Option("--sidecar", help="Keep the manifest beside the image, in a .c2pa file.")
    ] = False,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Replace the image, once the signed one verifies.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    cert: CertOption = None,
    key: SignKeyOption = None,
    sign_with: CommandOption = None,
    tsa: TimestampOption = None,
    store: StoreOption = None,
    no_store: NoStoreOption = False,
    log: LogOption = None,
    no_log: NoLogOption = False,
    runs: RunsOption = api.RUNS,
) -> Answer:
    """Sign an image (PNG, JPEG, WebP) with a C2PA manifest, and remember it, so that it is known again when stripped.

    Of a run every image gets a signed copy in the run's folder 'signed', whose manifest names generator, weights and
    seed. Folders and runs resume. What is written is read back first.
    """
    signer: dict[str, Any] = {
        "cert": cert, "key": key, "command": sign_with, "timestamp": tsa, "store": "" if no_store else store,
        "log": "" if no_log else log,
    }  # fmt: skip
    path = Path(target)
    permission: dict[str, Any] = {"training": training, "training_terms": training_terms}
    marking: dict[str, Any] = {"watermark": watermark, "watermark_key": watermark_key, "keys": keys}
    of_one = {"--action": action, "--parent": parent, "--ingredient": ingredient, "--generator": generator,
              "--generator-version": generator_version, "--weights-sha256": weights_sha256, "--prompt": prompt,
              "--seed": seed is not None, "--in-place": in_place, "--overwrite": overwrite}  # fmt: skip
    run = _run(target, runs)
    if run is not None:
        of_files = {"--out": out, "--source-type": source_type, "--watermark": watermark, "--sidecar": sidecar}
        _refuse("a run, which knows what made its images", of_one | of_files)
        return _run_answer(run, signer, permission)
    if path.is_dir():
        _refuse("a folder", of_one)
        if out is None:
            raise ProvenanceError(
                "nothing says where the signed images go", where=path, mend="name a folder: --out signed"
            )
        table = provenance.sign_folder(
            path, out, source_type=source_type, sidecar=sidecar, progress=True, **permission, **marking, **signer
        )
        return _folder_answer(table, out)
    from auditkit.provenance.manifest import Generation

    if in_place and out is not None:
        raise ProvenanceError("--in-place and --out contradict each other", where=out, mend="leave one of them out")
    known = Generation(generator, generator_version, weights_sha256, seed, prompt=prompt)
    done = provenance.sign(
        path, path if in_place else out, source_type=source_type, actions=action, parent=parent, components=ingredient,
        generation=None if known == Generation() else known, sidecar=sidecar, overwrite=overwrite or in_place,
        **permission, **marking, **signer,
    )  # fmt: skip

    def show() -> None:
        screen = output.console()
        screen.print(f"Signed: {done.out}", style="bold", soft_wrap=True)
        facts = [("signer", done.signer["signer"]), ("manifest", done.label)]
        facts += [("sidecar", done.sidecar)] if done.sidecar else []
        facts += [("timestamp", done.timestamp or "none: it ends with the certificate")]
        facts += [("watermark", done.payload)] if done.payload else []
        facts += [("prompt salt", done.salt + "  (keep it: it opens the prompt's hash)")] if done.salt else []
        facts += [("remembered", done.remembered or "no: it cannot be recovered once stripped")]
        for name, value in facts:
            screen.print(f"  {name + ':':<13}{value}", soft_wrap=True, markup=False)
        if done.signer["trust"] == "development":
            screen.print("The certificate is for development: it tells nobody who you are.", style="yellow")

    return Answer(dataclasses.asdict(done), show)


def _refuse(what: str, options: dict[str, Any]) -> None:
    """Raise ProvenanceError where options were given that would do nothing: nobody should think that they had."""
    given = [name for name, value in options.items() if value]
    if given:
        raise ProvenanceError(f"{' and '.join(given)} cannot be used with {what}", mend="leave it out")


def _run(target: str, runs: Path) -> Any:
    path = Path(target)
    if path.is_file() or (path.is_dir() and not (path / "run.json").exists()):
        return None
    if not path.exists() and target != "latest" and not (runs / target).exists():
        raise ProvenanceError("there is no such image, folder or run", where=target, mend="check the path")
    return api.find_run(target, folder=runs)


def _run_answer(run: Any, signer: dict[str, Any], permission: dict[str, Any]) -> Answer:
    table = provenance.sign_run(run, progress=True, **permission, **signer)
    record = run.record.get("signing") or {"signer": table["signer"].iloc[0]}  # killed before it, and sealed

    def show() -> None:
        screen = output.console()
        screen.print(f"{len(table)} signed images in {run.path / 'signed'}", style="bold", soft_wrap=True)
        screen.print(f"  signer: {record['signer']}", soft_wrap=True, markup=False)

    return Answer({"run": run.id, "folder": run.path / "signed", "images": len(table), "signing": record}, show)


def _folder_answer(table: pd.DataFrame, out: Path) -> Answer:
    failed = table[table["status"] == "failed"]

    def show() -> None:
        screen = output.console()
        counts = ", ".join(f"{n} {status}" for status, n in table["status"].value_counts().items()) or "no images"
        screen.print(f"{counts} in {out}", soft_wrap=True, markup=False)
        if len(failed):
            screen.print(output.table(["file", "why"], failed[["file", "note"]].itertuples(index=False)))

    return Answer({"out": out, "files": table}, show, exit_code=int(bool(len(failed))))
