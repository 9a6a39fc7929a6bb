"""`auditkit serve` and `auditkit store`: manifests given back to those who find a watermark or a copy."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import Annotated

import typer

from app import output
from app.commands.base import Answer, verb
from app.commands.watermark_keys import KeysOption
from auditkit.errors import ProvenanceError

StoreOption = Annotated[
    Path | None, typer.Option("--store", help="Folder of the manifest store; the user's own by default.")
]
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def register(app: typer.Typer) -> None:
    """Mount this theme's verbs."""
    panel = "Mark and trace"
    app.command("serve", rich_help_panel=panel, epilog="Example: auditkit serve --port 8700")(verb(serve))
    group = typer.Typer(help="The manifest store: what was signed here.", no_args_is_help=True)
    group.callback(epilog="Example: auditkit store list")(_store)
    group.command("list", epilog="Example: auditkit store list --limit 20")(verb(list_))
    group.command("export", epilog="Example: auditkit store export urn:c2pa:1234 --out manifest.c2pa")(verb(export))
    app.add_typer(group, name="store", rich_help_panel=panel)


def _store() -> None:
    """The manifest store: what was signed here."""


def serve(
    store: StoreOption = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8700,
    keys: KeysOption = None,
    no_watermark: Annotated[bool, typer.Option("--no-watermark", help="Read no watermark in uploads.")] = False,
    public: Annotated[
        bool, typer.Option("--public", help="Allow another address than this machine's own: there is no login.")
    ] = False,
) -> Answer:
    """Serve the C2PA Soft Binding Resolution API over the manifest store. Its documentation is at /docs.

    Uploads are looked at in memory and kept nowhere. There is no login: put it behind a server that has one.
    """
    if host not in LOOPBACK and not public:
        raise ProvenanceError(
            "the service has no login, and would be open to others", where=f"host={host}",
            mend="listen at 127.0.0.1, or say --public behind a server that lets in whom you want",
        )  # fmt: skip
    import uvicorn

    from app.service import create_app

    service = create_app(store, keys="" if no_watermark else None if keys is None else str(keys))
    with _listening(host, port) as door:
        port = door.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        output.say(f"Serving at http://{shown}:{port} (documentation: /docs). Ctrl+C stops it.")
        with contextlib.suppress(KeyboardInterrupt):  # raised once more when all is closed
            uvicorn.Server(uvicorn.Config(service, log_level="warning")).run(sockets=[door])
    return Answer({"host": host, "port": port, "stopped": True}, lambda: output.say("Stopped."))


def _listening(host: str, port: int) -> socket.socket:
    """A socket at that address, opened here so that port 0 becomes a port that can be told."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ProvenanceError(
            f"nothing can listen there: {error.strerror}", where=f"{host}:{port}", mend="name another --port or --host"
        ) from None


def list_(
    store: StoreOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Newest entries to show.")] = 20,
) -> Answer:
    """List what was signed here, the newest first."""
    from auditkit.provenance.store import open_store

    with open_store(store) as held:
        rows, count = held.rows(limit=limit), len(held)

    def show() -> None:
        screen = output.console()
        cells = [
            (r["signed"][:16].replace("T", " "), r["title"], r["signer"], r["run"] or "–", r["label"]) for r in rows
        ]
        screen.print(output.table(["signed", "title", "signer", "run", "manifest"], cells))
        screen.print(f"{count:,} signed images in {held.folder}", soft_wrap=True, markup=False)

    return Answer({"folder": held.folder, "count": count, "manifests": rows}, show)


def export(
    label: Annotated[str, typer.Argument(help="The manifest's name, urn:c2pa:...")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The sidecar file to write, .c2pa.")],
    store: StoreOption = None,
) -> Answer:
    """Write a stored manifest as a sidecar file. It verifies beside the image as it was when it was signed."""
    from auditkit.files import write_atomic
    from auditkit.provenance.store import open_store

    with open_store(store) as held:
        entry = held.get(label)
    if entry is None:
        raise ProvenanceError("the store has no manifest of that name", where=label, mend="auditkit store list")
    if out.exists():
        raise ProvenanceError("there is a file already", where=out, mend="name another file")
    write_atomic(out, entry.manifest)
    said = output.visible(f"{out}: {entry.title}")
    return Answer(
        entry.row() | {"out": out}, lambda: output.console().print(said, soft_wrap=True, markup=False)
    )  # fmt: skip
