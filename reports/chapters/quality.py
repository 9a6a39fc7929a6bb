"""The chapter on quality: do pictures show what was asked, are they different, are they new?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from reports.chapters.base import Chapter, Figure, Table
from reports.chapters.dots import dots_figure
from reports.words import MISSING, group_name, group_noun, interval, listed, p_value, percent, plural

if TYPE_CHECKING:
    from auditkit.runs import Run

NAMES = {
    "clip_score": "Prompt fidelity (100 × cosine)",
    "retrieval": "Own group’s prompt is the nearest",
    "feature_distance": "Distance to reference pictures (MMD²)",
    "frechet_distance": "Fréchet distance",
    "exact_duplicates": "Same bytes as another image",
    "near_duplicates": "Near-duplicate in its own group",
    "diversity": "Effective number of different images",
    "memorised": "Training picture come again",
}
NOTES = (
    "These numbers stand beside those of bias so that trade-offs show: compare them between runs of the same prompts, "
    "encoder and number of images.",
    "Fidelity is judged by the same encoder that labels the people; a generator tuned with it would look better than "
    "it is. Absolute values mean nothing across encoders.",
    "Near-duplicates grow with the number of images that are compared; diversity grows with it too, which is why it is "
    "told at one number for all groups.",
    "A picture counts as memorised where it is nearer to a training drawing than 99% of drawings that were held out "
    "of the training; that share is what chance alone would give.",
)


def chapter(measurements: pd.DataFrame, run: Run) -> Chapter | None:
    rows = measurements[measurements["measure"].str.startswith("quality.")]
    if rows.empty:
        return None
    parts = {name: rows[rows["measure"] == f"quality.{name}"] for name in NAMES}
    by = next((str(b) for b in rows["group_by"] if b != "all"), "all")
    whole = {name: _whole(part) for name, part in parts.items()}
    lead = [*_fidelity(parts, whole, by), *_new(whole), *_varied(parts["diversity"], by), *_distant(whole)]
    blocks: list[Figure | Table] = []
    if parts["clip_score"]["estimate"].notna().any() and by != "all":
        blocks.append(_figure(parts["clip_score"], by))
    blocks.append(_overall(whole))
    if by != "all":
        blocks.append(_by_group(parts, by))
    return Chapter("quality", "Quality, diversity and memorised pictures", lead, blocks, NOTES)


def _whole(part: pd.DataFrame) -> dict[str, Any] | None:
    rows = part[part["group"] == "all"]
    return None if rows.empty else {str(k): v for k, v in rows.iloc[0].items()}


def _told(row: dict[str, Any] | None) -> bool:
    return row is not None and math.isfinite(row["estimate"])


def _fidelity(parts: dict[str, pd.DataFrame], whole: dict[str, dict[str, Any] | None], by: str) -> list[str]:
    out = []
    hit = whole["retrieval"]
    if hit is not None and _told(hit):
        out.append(
            f"For {percent(hit['estimate'], 1)} {interval(hit['ci_low'], hit['ci_high'], 1)} of {hit['n_images']:,} "
            f"images the nearest of the prompts that differ in {group_noun(by)} only is their own; by chance it would "
            f"be {percent(hit['null_value'])}."
        )
    groups = parts["clip_score"]
    groups = groups[(groups["group"] != "all") & groups["estimate"].notna()]
    if groups["p_value"].notna().any():
        differ = groups[groups["p_holm"] < 0.05].sort_values("estimate")
        tested = plural(int(groups["p_value"].notna().sum()), group_noun(by))
        if differ.empty:
            out.append(f"None of {tested} differs detectably from the others in fidelity to its prompt (Holm).")
        else:
            low, high = differ.iloc[0], differ.iloc[-1]
            verb = "differs" if len(differ) == 1 else "differ"
            ends = f"{group_name(low['group'])} ({low['estimate']:.1f})"
            if len(differ) > 1:
                ends = f"lowest of them is {ends}, highest {group_name(high['group'])} ({high['estimate']:.1f})"
            out.append(f"Of {tested}, {len(differ)} {verb} from the others in fidelity to the prompt (Holm): {ends}.")
    elif _told(whole["clip_score"]):
        row = whole["clip_score"]
        assert row is not None
        out.append(f"Mean fidelity to the prompt is {_number(row)}, as 100 × cosine.")
    else:
        out.append("Fidelity to the prompt is insufficient: too few images. Nothing is claimed.")
    return out


def _new(whole: dict[str, dict[str, Any] | None]) -> list[str]:
    out = []
    row = whole["memorised"]
    if row is not None and _told(row):
        out.append(
            f"{percent(row['estimate'], 1)} {interval(row['ci_low'], row['ci_high'], 1)} of {row['n_images']:,} images "
            "are taken for a training picture come again; of pictures held out of the training, "
            f"{percent(row['null_value'], 1)} are."
        )
    elif row is not None:
        out.append(f"Whether pictures are memorised is {row['status']}: {row['note']}.")
    row = whole["near_duplicates"]
    if row is not None and _told(row):
        out.append(
            f"{percent(row['estimate'], 1)} {interval(row['ci_low'], row['ci_high'], 1)} have a near-duplicate in "
            f"their own group{_exact(whole['exact_duplicates'])}."
        )
    elif row is not None:
        out.append(f"The share of near-duplicates is {row['status']}: {row['note']}.")
    return out


def _exact(row: dict[str, Any] | None) -> str:
    if row is None or not _told(row):
        return ""
    return f"; {percent(row['estimate'], 1) if row['estimate'] else 'none'} have the same bytes as another"


def _varied(diversity: pd.DataFrame, by: str) -> list[str]:
    told = diversity[(diversity["group"] != "all") & diversity["estimate"].notna()]
    if told.empty:
        return []
    ranked = told.sort_values("estimate")
    low, high = ranked.iloc[0], ranked.iloc[-1]
    out = [
        f"Among {low['n_images']:,} images of one {group_noun(by)}, the effective number of different ones lies "
        f"between {_number(low)} ({group_name(low['group'])}) and {_number(high)} ({group_name(high['group'])})."
    ]
    silent = diversity[(diversity["group"] != "all") & (diversity["status"] == "insufficient")]["group"]
    if len(silent):
        out.append(f"Insufficient for diversity: {listed([group_name(group) for group in silent])}.")
    return out


def _distant(whole: dict[str, dict[str, Any] | None]) -> list[str]:
    row = whole["feature_distance"]
    if row is None:
        return []
    if not _told(row):
        return [f"The distance to reference pictures is {row['status']}: {row['note']}."]
    return [
        f"The squared distance to the reference pictures ({row['reference']}) is {_number(row, 4)}; 0 would say that "
        "both are of one kind, and pictures of other subjects than the reference's lie away from it too."
    ]


def _number(row: Any, digits: int = 1) -> str:
    middle, low, high = (f"{row[key]:z.{digits}f}" for key in ("estimate", "ci_low", "ci_high"))
    return f"{middle} [{low}, {high}]".replace("-", "−")


def _cell(row: Any) -> str:
    """A number with its interval, in the form of its unit, or the status."""
    if not math.isfinite(row["estimate"]):
        return str(row["status"])
    if row["unit"] == "share":
        return f"{percent(row['estimate'], 1)} {interval(row['ci_low'], row['ci_high'], 1)}"
    return _number(row, 4 if row["unit"] == "squared distance" else 1)


def _figure(scores: pd.DataFrame, by: str) -> Figure:
    told = scores[scores["estimate"].notna()]
    spans = "; ".join(f"{group_name(r['group'])} {_number(r)}" for _, r in told.iterrows())
    return dots_figure(
        scores,
        title="Mean of 100 × cosine of image and prompt (right is closer)",
        form=".1f",
        alt_text=f"Dot-and-interval chart of prompt fidelity by {group_noun(by)}: {spans}.",
        caption="How near images lie to their own prompts, with 95% intervals between prompts; the dashed line is the "
        "mean of all images. Words differ in how near any picture can lie to them, so that groups differ by that too.",
    )


def _overall(whole: dict[str, dict[str, Any] | None]) -> Table:
    rows = []
    for name, row in whole.items():
        if row is not None:
            chance = MISSING
            if math.isfinite(row["null_value"]):
                chance = percent(row["null_value"], 1) if row["unit"] == "share" else f"{row['null_value']:.3g}"
            rows.append([NAMES[name], _cell(row), chance, f"{row['n_images']:,}", str(row["note"] or "")])
    return Table(
        "All images together",
        ["Statistic", "Estimate", "By chance alone", "Images", "Note"],
        rows,
        [False, True, True, True, False],
    )


def _by_group(parts: dict[str, pd.DataFrame], by: str) -> Table:
    shown = ["clip_score", "retrieval", "near_duplicates", "diversity", "memorised"]
    shown = [name for name in shown if (parts[name]["group"] != "all").any()]
    order = list(dict.fromkeys(parts["clip_score"]["group"]))
    cells: dict[str, dict[str, str]] = {
        name: {str(row["group"]): _cell(row) for _, row in parts[name].iterrows()} for name in shown
    }
    tests = {str(row["group"]): p_value(row["p_holm"]) for _, row in parts["clip_score"].iterrows()}
    rows = [
        [group_name(g), cells["clip_score"].get(g, MISSING), tests.get(g, MISSING)]
        + [cells[name].get(g, MISSING) for name in shown[1:]]
        for g in order
    ]
    columns = [group_noun(by).capitalize(), NAMES["clip_score"], "p (Holm)", *(NAMES[name] for name in shown[1:])]
    return Table(f"By {group_noun(by)}", columns, rows, [False, *[True] * (len(columns) - 1)])
