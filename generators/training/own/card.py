"""What a folder held and what training drew from it: tables for the terminal, and the exported model's card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from generators.training.folders import Card
from generators.training.own.balance import EVERYTHING
from generators.training.own.buckets import Size, cropped
from generators.training.own.choices import Choices
from generators.training.own.reading import Data

if TYPE_CHECKING:
    from generators.training.own.start import Start

SHOWN = 40
"""Rows of the table of what was drawn that are printed; drawn.csv has all."""
VALUES = 12
"""Values of an attribute that are listed."""


def found(data: Data, sizes: Sequence[Size], buckets: NDArray[np.int64]) -> str:
    """A line for each fact of the data: images, resolutions, buckets, captions, attributes.

    Args:
        sizes: of the buckets that are used. buckets: of each image, int64 [images].
    """
    items = data.items
    counts = np.bincount(buckets, minlength=len(sizes))
    small = sum(i.size[0] < sizes[b][0] or i.size[1] < sizes[b][1] for i, b in zip(items, buckets, strict=True))
    lost = float(np.mean([cropped(item.size, sizes[b]) for item, b in zip(items, buckets, strict=True)]))
    pixels = sorted((item.size for item in items), key=lambda size: size[0] * size[1])
    words = [len(item.caption.split()) for item in items]
    distinct = len({item.caption for item in items})
    lines = [
        ("images", f"{len(items):,}; left out {len(data.bad)}; pictures that come again {data.duplicates}"),
        ("resolution", " to ".join(dict.fromkeys(_size(pixels[at]) for at in (0, len(pixels) // 2, -1)))),
        ("buckets", ", ".join(f"{_size(size)}: {n:,}" for size, n in zip(sizes, counts.tolist(), strict=True))),
        ("", f"{lost:.1%} of the picture cropped away on average; {small:,} images enlarged"),
        ("captions", f"{distinct:,} different, {min(words)} to {max(words)} words, median {int(np.median(words))}"),
    ]
    for name, values in data.attributes.items():
        shown = ", ".join(f"{value} {n:,}" for value, n in values.most_common(VALUES))
        more = f", {len(values) - VALUES} more" if len(values) > VALUES else ""
        missing = len(items) - sum(values.values())
        lines.append((name, shown + more + (f"; {missing:,} without" if missing else "")))
    return "\n".join(f"{name:<12} {text}" for name, text in lines)


def drawn_table(drawn: pd.DataFrame) -> pd.DataFrame:
    """`OwnDraws.count` for people: shares in percent, columns that say nothing left out."""
    made = pd.DataFrame({"context": drawn["context"], "group": drawn["group"], "images": drawn["images"]})
    for title, column in (
        ("in data %", "share_in_data"),
        ("target %", "target"),
        ("expected %", "expected"),
    ):
        made[title] = _percent(drawn[column])
    made["draws"] = drawn["drawn"]
    made["drawn %"] = _percent(drawn["drawn_share"])
    made["swapped"], made["neutralised"] = drawn["borrowed"], drawn["neutralised"]
    made["unnamed %"] = _percent(drawn["unnamed_share"])
    if (made["context"] == EVERYTHING).all():
        made = made.drop(columns="context")
    silent = [name for name in ("swapped", "neutralised") if not made[name].any()]
    silent += ["unnamed %"] if drawn["unnamed_share"].isna().all() else []
    return made.drop(columns=silent)


LEGEND = (
    "Shares are of the context's draws. Expected: what the weights give. Swapped: the caption of another group's "
    "image, turned to this group. Unnamed: share among the draws whose caption names no group, which is what a prompt "
    "that leaves the group out is taught."
)


def as_text(drawn: pd.DataFrame) -> str:
    """The table of what was drawn, for a terminal."""
    table = drawn_table(drawn)
    rest = f"\n... {len(table) - SHOWN} more rows in drawn.csv" if len(table) > SHOWN else ""
    return f"What training drew\n\n{table.head(SHOWN).to_string(index=False)}{rest}\n\n{LEGEND}"


def card(
    data: Data,
    out: Path,
    start: Start,
    choices: Choices,
    report: str,
    drawn: pd.DataFrame,
    psnr: float,
    hardware: str,
) -> Card:
    """The model card of a checkpoint trained on `data`; what is not known is said to be unknown."""
    kept = "" if choices.init is None else f", fine-tuned from `{choices.init.resolve().name}`"
    parts = "UNet and text encoder" if choices.init is None or choices.train_text_encoder else "UNet"
    millions = sum(p.numel() for p in start.pipeline.unet.parameters()) / 1e6
    rows = drawn_table(drawn).head(SHOWN)
    more = (
        f"## What the data held\n\n```\n{report}\n```\n\n## What training drew\n\n{_markdown(rows)}\n\n{LEGEND} "
        "All rows: [drawn.csv](drawn.csv).\n"
    )
    return Card(
        title=out.resolve().name,
        what=(
            f"Latent diffusion at {start.resolution} px in diffusers' own format (`StableDiffusionPipeline.from_"
            f"pretrained` loads the folder){kept}; {parts} trained ({millions:.1f} M parameters in the UNet, "
            f"{start.prediction})."
        ),
        sampler=start.sampler,
        steps=start.steps,
        guidance=start.guidance,
        command=choices.command(data.folder),
        note="Trained on own data by auditkit train generator --data.",
        part=parts,
        device=hardware,
        batch_size=None,
        use="Not stated: state what it is for.",
        data=(
            f"{len(data.items):,} captioned images of the folder `{data.folder.resolve().name}` "
            f"(sha256 of pictures, captions and attributes: `{data.sha256[:16]}`), described below."
        ),
        limits=(
            f"{start.context} tokens; what the data does not show it cannot draw, and pictures that were drawn often "
            "may come back as copies.",
        ),
        licence="unknown: state yours, and that of the images.",
        points={
            "Autoencoder": f"as it was; it gives these images back at {psnr:.1f} dB (PSNR).",
            "Rebalancing": _rebalancing(choices),
            "Shares under neutral prompts": "not measured; `auditkit audit` measures them.",
        },
        more=more,
    )


def _rebalancing(choices: Choices) -> str:
    if not choices.balance:
        return "none: every image was as likely as any other."
    within = f" within {', '.join(choices.balance_within)}" if choices.balance_within else ""
    parts = [f"a mitigation in the data: groups of {', '.join(choices.balance)} weighed alike{within}, no image more "
             f"than {choices.max_repeat:g} times as likely as without"]  # fmt: skip
    if choices.mix.neutral:
        parts.append(f"the group left out of {choices.mix.neutral:.0%} of the captions")
    if choices.mix.swap:
        parts.append(f"{choices.mix.swap:.0%} of the wordings drawn from all groups alike")
    return "; ".join(parts) + ". What the model shows is another question, and not measured here."


def _markdown(table: pd.DataFrame) -> str:
    rows = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows)


def _percent(shares: pd.Series) -> pd.Series:
    return shares.map(lambda share: "–" if pd.isna(share) else f"{100 * share:.1f}")


def _size(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
