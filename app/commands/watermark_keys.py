"""`auditkit watermark keys`: make, list and retire the keys of watermarks, and name what payloads stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from app import output
from app.commands.base import Answer, verb

KeysOption = Annotated[
    Path | None,
    typer.Option("--keys", help="The key file; $AUDITKIT_KEYS or the user's configuration folder by default."),
]


def mount(parent: typer.Typer) -> None:
    """Mount the group `keys` in the group `watermark`."""
    keys = typer.Typer(help="Make, list and retire keys. Secrets are shown nowhere.", no_args_is_help=True)
    keys.callback(epilog="Example: auditkit watermark keys new")(_keys)
    keys.command("new", epilog="Example: auditkit watermark keys new --note 'press office'")(verb(new))
    keys.command("list", epilog="Example: auditkit watermark keys list")(verb(show_keys))
    keys.command("rotate", epilog="Example: auditkit watermark keys rotate")(verb(rotate))
    keys.command("register", epilog="Example: auditkit watermark keys register 1:42 --name alice")(verb(register))
    parent.add_typer(keys, name="keys")


def _keys() -> None:
    """Make, list and retire the keys of watermarks."""


def new(
    keys: KeysOption = None, note: Annotated[str, typer.Option(help="A line for people; not secret.")] = ""
) -> Answer:
    """Add a new key to the key file, which only its owner can read. Keep a copy of the file in a safe place."""
    from auditkit.watermark import keys as ring

    return _made(ring.create(keys, note=note).id, keys, "New key")


def rotate(
    keys: KeysOption = None, note: Annotated[str, typer.Option(help="A line for people; not secret.")] = ""
) -> Answer:
    """Retire the active keys and add a new one. Images marked with retired keys can still be verified."""
    from auditkit.watermark import keys as ring

    return _made(ring.rotate(keys, note=note).id, keys, "The older keys are retired. New key")


def register(
    payload: Annotated[str, typer.Argument(help="MODEL:USER, two numbers.")],
    name: Annotated[str, typer.Option(help="Whom or what the payload stands for.")] = "",
    key: Annotated[str | None, typer.Option(help="The key's id; the active key by default.")] = None,
    keys: KeysOption = None,
) -> Answer:
    """Name a payload, so that detection looks for it and says whose it is."""
    from auditkit.watermark import keys as ring
    from auditkit.watermark.payload import Payload

    loaded = ring.load(keys)
    entry = loaded.get(key) if key else loaded.active
    wanted = Payload.parse(payload)
    ring.register(entry.key.id, wanted, name=name, path=loaded.path)
    data = {"key_id": entry.key.id, "payload": str(wanted), "name": name}
    text = f"{wanted} is registered under {entry.key.id}" + (f" as {name}" if name else "")
    return Answer(data, lambda: output.console().print(text, soft_wrap=True, markup=False))


def show_keys(keys: KeysOption = None) -> Answer:
    """List the keys by id, with what was registered under each."""
    from auditkit.watermark import keys as ring

    loaded = ring.load(keys)
    rows: list[dict[str, Any]] = [
        {
            "key_id": entry.key.id,
            "state": "active" if entry.active else "retired",
            "created": entry.created,
            "note": entry.note,
            "payloads": [{"payload": str(one.payload), "name": one.name} for one in entry.registered],
        }
        for entry in loaded.entries
    ]

    def show() -> None:
        cells = [
            (
                row["key_id"],
                row["state"],
                row["created"][:16].replace("T", " "),
                row["note"],
                ", ".join(f"{p['payload']} {p['name']}".strip() for p in row["payloads"]) or "–",
            )
            for row in rows
        ]
        screen = output.console()
        screen.print(output.table(["key", "state", "created", "note", "payloads"], cells))
        screen.print(f"Key file: {loaded.path}", soft_wrap=True, markup=False)

    return Answer({"path": loaded.path, "keys": rows}, show)


def _made(key_id: str, path: Path | None, text: str) -> Answer:
    from auditkit.watermark.keys import default_path

    where = path or default_path()

    def show() -> None:
        screen = output.console()
        screen.print(f"{text}: {key_id}", markup=False)
        screen.print(f"Key file: {where}  (readable by you alone; without it no mark can be verified)", soft_wrap=True)

    return Answer({"key_id": key_id, "path": where}, show)
