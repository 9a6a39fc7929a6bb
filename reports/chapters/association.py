"""The chapter of `association`: which groups lie nearer to which pole in CLIP space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from reports.chapters.base import Chapter, Figure, Table
from reports.chapters.dots import dots_figure
from reports.tables import ALPHA
from reports.tables import rows as as_dicts
from reports.words import MISSING, group_name, group_noun, listed, many, name, p_value, plural

if TYPE_CHECKING:
    from auditkit.runs import Run

NOTES = (
    "An effect size d is how much nearer a group’s images lie to the first pole than the other groups’ images do, "
    "in standard deviations of all images. It compares groups with each other: 0 means like the others, not even.",
    "It speaks of the encoder’s space as much as of the images. What else goes with a group, such as its clothes or "
    "tools, may lie nearer to a pole too. Whom the images show is what the shares say, which are corrected for the "
    "classifier’s errors; an association is not.",
    "Names and sentences hold no image at all: what they show is the encoder’s own association. Their p-values speak "
    "of other words for the poles and of other sentences, not of other names for the group.",
    "Do not use it as a measure of harm, nor with poles that the encoder does not know; such poles are refused.",
)


def chapter(measurements: pd.DataFrame, run: Run) -> Chapter | None:
    rows = measurements[measurements["measure"].str.startswith("association.")]
    if rows.empty:
        return None
    rows = rows.assign(statistic=rows["measure"].str.removeprefix("association."))
    lead: list[str] = []
    blocks: list[Figure | Table] = []
    for poles, part in rows.groupby("attribute", sort=False):
        tables = {str(key): each for key, each in part.groupby("statistic", sort=False)}
        images = tables.get("ieat", part.iloc[:0])
        if not images.empty and (images["group"] != "all").any():
            lead += _findings(images, tables)
            blocks += [_figure(str(poles), images), _table(str(poles), images, tables)]
    lead += _places(rows[rows["statistic"] == "t2iat"])
    placed = rows[(rows["statistic"] == "t2iat") & rows["estimate"].notna()]
    blocks += [_place_figure(str(poles), part) for poles, part in placed.groupby("attribute", sort=False)]
    lead += _silences(rows)
    return Chapter("association", "Association", lead, blocks, NOTES)


def _findings(images: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> list[str]:
    a, b = images["category"].iloc[0], images["reference"].iloc[0]
    noun, tested = group_noun(str(images["group_by"].iloc[0])), images[images["p_holm"].notna()]
    about = f"to ‘{a}’ or to ‘{b}’"
    if tested.empty:
        return [f"How near the images lie {about} is insufficient for every {noun}: {images['note'].iloc[0]}."]
    found = tested[tested["p_holm"] < ALPHA].sort_values("estimate", kind="stable")
    if found.empty:
        out = [
            f"The images of no {noun} of {len(tested)} lie detectably nearer {about} than the others’ do (Holm); that "
            "is no proof that they are alike."
        ]
    else:
        ends = [end for end, sign in ((found.iloc[-1], 1), (found.iloc[0], -1)) if sign * end["estimate"] > 0]
        told = listed([f"{group_name(str(end['group']))} {_effect(end)}" for end in ends])
        out = [
            f"The images of {len(found)} of {plural(len(tested), noun)} lie detectably nearer {about} than the "
            f"others’ do (Holm); furthest out: {told}."
        ]
    silent = images.loc[images["status"] == "insufficient", "group"]
    if len(silent):
        out.append(f"Insufficient, and nothing is claimed: {listed([group_name(str(group)) for group in silent])}.")
    ranges = tables.get("ieat_range")
    flips = set() if ranges is None else set(ranges.loc[(ranges["ci_low"] < 0) & (ranges["ci_high"] > 0), "group"])
    if shaky := [group_name(str(group)) for group in found["group"] if group in flips]:
        out.append(f"For {listed(shaky)} the sign changes with the wording or the encoder: the finding depends on it.")
    return out + _text_beside(images, tables, many(noun))


def _text_beside(images: pd.DataFrame, tables: dict[str, pd.DataFrame], nouns: str) -> list[str]:
    """Whether the encoder's own sentences would have put the groups in this order."""
    if "seat" not in tables:
        return []
    both = images.set_index("group")["estimate"].to_frame("images")
    both["text"] = tables["seat"].set_index("group")["estimate"]
    both = both.dropna()
    if len(both) < 5 or both.nunique().min() < 2:
        return []
    rho = both["images"].rank().corr(both["text"].rank())
    return [
        f"The encoder’s own sentences about the {nouns} put them in an order that agrees with the images’ at a rank "
        f"correlation of {_signed(rho)}."
    ]


def _effect(row: pd.Series) -> str:
    low, high = _signed(row["ci_low"]), _signed(row["ci_high"])
    return f"(d = {_signed(row['estimate'])}, 95% interval {low} to {high})"


def _signed(value: float) -> str:
    return MISSING if pd.isna(value) else f"{value:+.2f}".replace("-", "−")


def _figure(poles: str, images: pd.DataFrame) -> Figure:
    a, b = images["category"].iloc[0], images["reference"].iloc[0]
    zero = images.iloc[:1].assign(group="all", estimate=0.0)
    known = images[images["estimate"].notna()]
    noun = group_noun(str(images["group_by"].iloc[0]))
    spread = "none has an estimate"
    if not known.empty:
        top, bottom = (known.loc[known["estimate"].agg(way)] for way in ("idxmax", "idxmin"))
        spread = (
            f"from {group_name(str(bottom['group']))} at {_signed(bottom['estimate'])} to "
            f"{group_name(str(top['group']))} at {_signed(top['estimate'])}"
        )
    return dots_figure(
        pd.concat([images, zero], ignore_index=True),
        title=f"nearer to ‘{b}’ ← effect size d → nearer to ‘{a}’",
        alt_text=f"Dot-and-interval chart of the association of {plural(len(images), noun)} with {name(poles)}: "
        f"{spread}. The table holds every number.",
        caption=f"Association of the images with ‘{a}’ rather than ‘{b}’, by {noun}, with 95% intervals over prompts. "
        "The dashed line is where a group is like the others.",
        form="+.1f",
    )


def _table(poles: str, images: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> Table:
    indexed = {key: table.set_index("group") for key, table in tables.items()}

    def value(statistic: str, group: str, column: str) -> float:
        table = indexed.get(statistic)
        return float(table[column][group]) if table is not None and group in table.index else float("nan")

    rows = []
    for row in as_dicts(images.sort_values("estimate", ascending=False, na_position="last", kind="stable")):
        group, told = str(row["group"]), bool(pd.notna(row["estimate"]))
        edges = [_signed(value("ieat_range", group, edge)) for edge in ("ci_low", "ci_high")]
        rows.append(
            [
                group_name(group),
                _signed(row["estimate"]) if told else str(row["status"]),
                f"{_signed(row['ci_low'])} to {_signed(row['ci_high'])}" if told else "",
                p_value(row["p_holm"]),
                " to ".join(edges) if told else "",
                _signed(value("seat", group, "estimate")),
                _signed(value("weat", group, "estimate")),
            ]
        )
    a, b = images["category"].iloc[0], images["reference"].iloc[0]
    return Table(
        f"Association with ‘{a}’ rather than ‘{b}’ ({name(poles)}): effect sizes d",
        [
            group_noun(str(images["group_by"].iloc[0])),
            "images",
            "95% interval",
            "p (Holm)",
            "over wordings and encoders",
            "sentences",
            "name",
        ],
        rows,
        [False, *[True] * 6],
    )


def _places(placed: pd.DataFrame) -> list[str]:
    out = []
    for _, part in placed.groupby("attribute", sort=False):
        a, b = part["category"].iloc[0], part["reference"].iloc[0]
        whole = part[(part["group"] == "all") & part["estimate"].notna()]
        groups = part[(part["group"] != "all") & part["p_holm"].notna()]
        if whole.empty:
            continue
        row = next(whole.itertuples())
        found = int((groups["p_holm"] < ALPHA).sum())
        out.append(
            f"Between the images of prompts that state ‘{b}’ (0) and of those that state ‘{a}’ (1), the neutral "
            f"prompts’ images lie at {row.estimate:.2f} (95% interval {row.ci_low:.2f} to {row.ci_high:.2f}); "
            f"{found} of {plural(len(groups), 'group')} {'lies' if found == 1 else 'lie'} detectably off the middle "
            "(Holm)."
        )
        if groups["note"].str.contains("cannot fall").any() and not found:
            out.append("With so few neutral prompts a group the test could hardly find more; the intervals tell more.")
    return out


def _place_figure(poles: str, part: pd.DataFrame) -> Figure:
    a, b = part["category"].iloc[0], part["reference"].iloc[0]
    groups = part[part["group"] != "all"]
    middle = part.iloc[:1].assign(group="all", estimate=0.5)
    return dots_figure(
        pd.concat([groups, middle], ignore_index=True),
        title=f"0 as if ‘{b}’ were asked for, 1 as if ‘{a}’ were",
        alt_text=f"Dot-and-interval chart of where the images of neutral prompts lie between the images of the two "
        f"poles of {name(poles)}, for {plural(len(groups), 'group')}.",
        caption=f"Where neutral prompts’ images lie between images that were asked for as ‘{b}’ and as ‘{a}’. If they "
        "are a mixture of the two kinds, this is the share of the second. The dashed line is the middle.",
        form=".1f",
        against="the middle",
    )


def _silences(rows: pd.DataFrame) -> list[str]:
    """What is refused and why: said of poles, not of every group."""
    out = []
    silent = rows[(rows["group"] == "all") & rows["estimate"].isna() & (rows["status"] != "ok")]
    unknown = silent[silent["status"] == "uncalibrated"]
    if not unknown.empty:
        pairs = listed([f"{r.category} or {r.reference}" for r in unknown.drop_duplicates("attribute").itertuples()])
        encoder = str(unknown["encoder"].iloc[0])
        out.append(f"Nothing is said of {pairs}: {encoder} does not tell the words for them apart (uncalibrated).")
    for note, part in silent[silent["status"] == "insufficient"].groupby("note", sort=False):
        asked = {"ieat": "The images’ association", "t2iat": "The place of neutral prompts"}
        what = asked.get(str(part["statistic"].iloc[0]), "This")
        out.append(f"{what} with respect to {listed([name(str(a)) for a in part['attribute']])} is left out: {note}.")
    return out
