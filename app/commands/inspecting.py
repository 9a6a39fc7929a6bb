"""`auditkit inspect` and `scan`: where an image came from, as a card, and for a whole folder, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app import output, provenance
from app.commands.base import Answer, verb
from app.commands.trusting import DayOption, parse_day
from app.commands.watermark_keys import KeysOption

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

TrustOption = Annotated[
    list[Path],
    typer.Option("--trust", help="PEM file of trust anchors for this call, besides your lists; repeat for more."),
]
StoreOption = Annotated[
    Path | None, typer.Option("--store", help="Folder of the manifest store to ask; the user's own by default.")
]
NoStoreOption = Annotated[bool, typer.Option("--no-store", help="Ask no manifest store.")]
NoWatermarkOption = Annotated[bool, typer.Option("--no-watermark", help="Read no watermark.")]
SchemeOption = Annotated[
    list[str], typer.Option("--scheme", help="Watermark scheme to look for; all in the pixels by default.")
]
SearchOption = Annotated[bool, typer.Option(help="Look for rotated, scaled and cropped watermarks too.")]
BankOption = Annotated[
    list[str], typer.Option("--bank", help="Hash bank to compare with; all that are kept by default.")
]

DetectorOption = Annotated[
    list[str],
    typer.Option(
        "--detector",
        help="Detector to ask, or path:FOLDER of one; by default all installed, but those to be named.",
    ),
]
NoDetectorOption = Annotated[bool, typer.Option("--no-detector", help="Ask no detector.")]

COLORS = {
    "trusted": "green", "recovered-exact": "green", "recovered-soft": "green", "valid-untrusted": "yellow",
    "expired": "yellow", "remote-only": "yellow", "no-manifest": "default", "unsupported": "default",
    "malformed": "yellow", "tampered-content": "red", "tampered-manifest": "red", "tampered-ancestor": "red",
}  # fmt: skip


DETECTOR = {"generated": "red", "abstain": "yellow"}
DEPTH = 12
"""Generations of ingredients that the card shows; the JSON has all."""


def register(app: typer.Typer) -> None:
    """Mount this theme's verbs."""
    panel = "Mark and trace"
    app.command("inspect", rich_help_panel=panel, epilog="Example: auditkit inspect upload.jpg --trust anchors.pem")(
        verb(inspect)
    )
    app.command("scan", rich_help_panel=panel, epilog="Example: auditkit scan uploads/ --out verdicts.parquet")(
        verb(scan)
    )


def inspect(
    file: Annotated[Path, typer.Argument(help="An image from anybody; other media are looked at for a manifest.")],
    trust: TrustOption = [],  # noqa: B006
    as_of: DayOption = None,
    store: StoreOption = None,
    no_store: NoStoreOption = False,
    keys: KeysOption = None,
    no_watermark: NoWatermarkOption = False,
    scheme: SchemeOption = [],  # noqa: B006
    search: SearchOption = True,
    bank: BankOption = [],  # noqa: B006
    detector: DetectorOption = [],  # noqa: B006
    no_detector: NoDetectorOption = False,
) -> Answer:
    """Ask a file where it came from: its C2PA manifest, watermarks, hashes, detector and opt-out signals, kept apart.

    The network is never used. A verdict about a file, also a bad one, exits with 0; a file that cannot be read with 1.
    """
    found = provenance.inspect(
        file, trust=trust, as_of=parse_day(as_of), store="" if no_store else store, keys="" if no_watermark else keys,
        schemes=scheme, search=search, banks=bank or None, detectors=() if no_detector else detector or None,
    )  # fmt: skip
    data = found.as_dict()
    return Answer(data, lambda: output.console().print(card(data)))


def scan(
    folder: Annotated[Path, typer.Argument(help="The folder; every file below it is looked at.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The table to write, .parquet.")] = Path("verdicts.parquet"),
    trust: TrustOption = [],  # noqa: B006
    as_of: DayOption = None,
    store: StoreOption = None,
    no_store: NoStoreOption = False,
    keys: KeysOption = None,
    no_watermark: NoWatermarkOption = False,
    scheme: SchemeOption = [],  # noqa: B006
    search: SearchOption = True,
    bank: BankOption = [],  # noqa: B006
    detector: DetectorOption = [],  # noqa: B006
    no_detector: NoDetectorOption = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> Answer:
    """Inspect every file below a folder into a Parquet table. Interrupted, the same command goes on where it stopped.

    A file that cannot be read, or that breaks its reader, is a row with an error; the scan goes on.
    """
    done = provenance.scan(
        folder, out, trust=trust, as_of=parse_day(as_of), store="" if no_store else store,
        keys="" if no_watermark else keys, schemes=scheme, search=search, banks=bank or None,
        detectors=() if no_detector else detector or None, workers=workers, progress=True,
    )  # fmt: skip
    from auditkit.provenance.scan_table import read_scan

    table = read_scan(done.path)
    counts = {name: int(n) for name, n in table["c2pa"].value_counts().items()}
    data = {
        "table": done.path, "files": len(table), "made": done.made, "kept": done.kept, "errors": done.errors,
        "seconds": round(done.seconds, 3), "c2pa": counts, "watermarks": int((table["watermark"] == "present").sum()),
        "hash_matches": int((table["hash"] == "match").sum()),
        "detector": {name: int(n) for name, n in table["detector"].value_counts().items()},
    }  # fmt: skip
    return Answer(data, lambda: _show_scan(table, data))


def card(found: dict[str, Any]) -> RenderableType:
    """The parts of an inspection, one under the other, each with its own words."""
    from rich import box
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    found = output.visible(found)
    c2pa = found["c2pa"]
    parts: list[RenderableType] = [
        *_part("C2PA", c2pa["verdict"], c2pa["sentence"], COLORS.get(c2pa["verdict"], "default")),
        *[Text(f"  {note}", style="dim") for note in c2pa["notes"]],
        *_signer(c2pa),
        *_graph(c2pa["graph"]),
    ]
    mark = found["watermark"]
    parts += _part(
        "Watermark", mark["verdict"], mark["sentence"], "green" if mark["verdict"] == "present" else "default"
    )
    hashed = found["hash"]
    parts += _part("Hash", hashed["verdict"], hashed["sentence"], "yellow" if hashed["matches"] else "default")
    pdq = f", PDQ {hashed['pdq'][:16]}… (quality {hashed['pdq_quality']})" if hashed["pdq"] else ""
    parts.append(Text(f"  sha256 {hashed['sha256'][:16]}…{pdq}", style="dim"))
    asked = found["detector"]
    parts += _part("Detector", asked["verdict"], asked["sentence"], DETECTOR.get(asked["verdict"], "default"))
    parts += _judgements(asked["judgements"])
    said = found["consent"]["signals"]
    parts += _part("Opt-out", f"{len(said)} signals" if said else "none", found["consent"]["sentence"], "default")
    if found["label"]:
        parts += _part("Label", "GB 45438", f"AIGC label in the metadata: {found['label']}", "default")
    title = Text(f"{Path(found['file']).name}  ({found['media_type'] or 'unknown kind'}, {found['bytes']:,} bytes)")
    return Panel(Group(*parts), title=title, title_align="left", box=box.ROUNDED, padding=(0, 1))


def _part(name: str, verdict: str, sentence: str, color: str) -> list[RenderableType]:
    from rich.text import Text

    head = Text.assemble((f"{name:<10}", "bold"), (verdict, f"bold {color}" if color != "default" else "bold"))
    return [head, Text(f"  {sentence}")]


def _judgements(rows: list[dict[str, Any]]) -> list[RenderableType]:
    """What each detector says, a line each."""
    from rich.text import Text

    def number(name: str, value: float | None) -> str:
        return "" if value is None else f", {name} {value:.3g}"

    return [
        Text(
            f"  {row['detector']}: {row['verdict']}{number('score', row['score'])}"
            f"{number('threshold', row['threshold'])}{number('p', row['probability'])}"
            f"{number('unfamiliar', row['unfamiliar'])}",
            style="dim",
        )
        for row in rows
    ]


def _signer(c2pa: dict[str, Any]) -> list[RenderableType]:
    from rich.text import Text

    rows = []
    if signer := c2pa["signer"]:
        rows.append(("signer", f"{signer['name']}, certified by {signer['issuer'] or 'unknown'}"))
        stamp = f"{signer['signed_at']} ({signer['timestamp_authority']})" if signer["signed_at"] else "none"
        rows.append(("timestamp", stamp))
    if c2pa["codes"]:
        rows.append(("codes", ", ".join(c2pa["codes"])))
    if c2pa["recovery"]:
        evidence = {key: value for key, value in c2pa["recovery"]["evidence"].items() if value is not None}
        rows.append(("found by", c2pa["recovery"]["how"] + ": " + ", ".join(f"{k} {v}" for k, v in evidence.items())))
    return [Text(f"  {name + ':':<11}{value}", style="dim") for name, value in rows]


def _graph(graph: dict[str, Any]) -> list[RenderableType]:
    """Manifests and ingredients as a tree, the active manifest at its root."""
    from rich.text import Text
    from rich.tree import Tree

    nodes = {node["label"]: node for node in graph.get("nodes", [])}
    active = next((label for label, node in nodes.items() if node["active"]), None)
    if active is None or not graph["edges"]:
        return []

    shown: set[str] = set()  # each manifest's own ingredients are shown once: a forged graph may go round, or explode

    def grow(tree: Tree, label: str, depth: int) -> None:
        shown.add(label)
        for edge in graph["edges"]:
            if edge["from"] == label:
                wrong = f"  {', '.join(edge['codes'])}" if edge["codes"] else ""
                below = nodes.get(edge["to"])
                by = f", by {below['signer'] or 'unknown'}" if below else ", without a manifest"
                branch = tree.add(Text(f"{edge['relationship']}: {edge['title'] or 'untitled'}{by}{wrong}"))
                if below and edge["to"] not in shown and depth < DEPTH:
                    grow(branch, edge["to"], depth + 1)

    root = Tree(
        Text(f"  {nodes[active]['title'] or 'this file'}: {', '.join(nodes[active]['actions']) or 'no actions'}")
    )
    grow(root, active, 1)
    return [root]


def _show_scan(table: pd.DataFrame, data: dict[str, Any]) -> None:
    from auditkit.provenance.sentences import NAMES

    screen = output.console()
    rows = [(name, n, NAMES.get(name, "")) for name, n in data["c2pa"].items()]
    screen.print(output.table(["C2PA", ">files", ""], rows))
    bad = table[table["error"] != ""]
    if len(bad):
        cells = output.visible(list(bad[["file", "error"]].head(20).itertuples(index=False)))
        screen.print(output.table(["file", "could not be read"], cells, title=f"{len(bad)} with an error (first 20)"))
    screen.print(
        f"{data['watermarks']:,} with a watermark of your keys, {data['hash_matches']:,} in a hash bank, of "
        f"{data['files']:,} files ({data['made']:,} looked at in {output.duration(data['seconds'])}, {data['kept']:,} "
        "kept)."
    )
    if asked := ", ".join(f"{n:,} {name}" for name, n in data["detector"].items() if name != "not asked"):
        screen.print(f"Detectors: {asked}. No sign is no proof of a real picture.")
    screen.print(f"All verdicts: {data['table']}", soft_wrap=True, markup=False)
