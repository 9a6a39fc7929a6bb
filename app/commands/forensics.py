"""`auditkit forensics`: camera fingerprints and JPEG history of an image."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from app import forensics, output
from app.commands.base import Answer, verb

PRIVACY = "A fingerprint links images to one device, and so to its owner: keep it, and what it says, as personal data."


def register(app: typer.Typer) -> None:
    """Mount this theme's verbs."""
    group = typer.Typer(help="Traces of an image's history: its camera, its JPEG compressions.", no_args_is_help=True)
    group.callback(epilog="Example: auditkit forensics jpeg upload.jpg")(_forensics)
    app.add_typer(group, name="forensics", rich_help_panel="Detectors")
    group.command("fingerprint", epilog="Example: auditkit forensics fingerprint flat/*.jpg --out cam.safetensors")(
        verb(fingerprint)
    )
    group.command("match", epilog="Example: auditkit forensics match upload.jpg --camera cam.safetensors")(verb(match))
    group.command("jpeg", epilog="Example: auditkit forensics jpeg upload.jpg --map ghosts.png")(verb(jpeg))


def _forensics() -> None:
    """Traces of an image's history: the camera that took it, the JPEG compressions that it went through."""


def fingerprint(
    images: Annotated[
        list[Path], typer.Argument(help="Images of one camera at its full size, or folders; 20 to 50 are good.")
    ],
    out: Annotated[Path, typer.Option(help="File to write the fingerprint to, .safetensors.")],
) -> Answer:
    """Make the fingerprint of a camera's sensor (PRNU) from images that it took.

    It links images to one device: personal data, where its owner can be found.
    """
    made = forensics.camera_fingerprint(images, out=out, progress=True)
    height, width = made.pattern.shape
    data = {"out": out, "images": made.images, "width": width, "height": height, "privacy": PRIVACY}

    def show() -> None:
        typer.echo(f"Fingerprint of {made.images} images, {width} x {height} pixels: {output.visible(str(out))}")
        typer.echo(PRIVACY)

    return Answer(data, show)


def match(
    image: Annotated[Path, typer.Argument(help="The image to ask about.")],
    camera: Annotated[Path, typer.Option(help="Fingerprint, from `auditkit forensics fingerprint`.")],
    search: Annotated[bool, typer.Option(help="Look for crops too, at any position.")] = False,
) -> Answer:
    """Ask whether an image holds a camera's fingerprint. No match is no evidence that it was generated."""
    found = forensics.match_camera(image, camera=camera, search=search)

    def show() -> None:
        numbers = "" if found.position is None else f" (PCE {found.pce:.1f}, p {found.p_value:.2g})"
        typer.echo(f"{found.verdict}{numbers}\n{found.why}")

    return Answer(asdict(found) | {"file": image}, show)


def jpeg(
    image: Annotated[Path, typer.Argument(help="The image to ask about, a JPEG or not.")],
    ghosts: Annotated[Path | None, typer.Option("--map", help="PNG to write the maps of JPEG ghosts to.")] = None,
) -> Answer:
    """Tell the JPEG compressions that an image went through: its history, not whether it was generated."""
    found = forensics.jpeg_history(image, map=ghosts)

    def show() -> None:
        for sentence in found.sentences():
            typer.echo(sentence)
        if found.map:
            typer.echo(f"Map: {output.visible(str(found.map))}")

    return Answer(found.as_dict() | {"file": image}, show)
