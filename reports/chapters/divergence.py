"""The chapter on divergence: how far each prompt's images lie from the target, beside what chance alone would give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from reports.chapters.base import Chapter, Figure, Table
from reports.chapters.chance import (
    axis_of,
    chance_figure,
    differing,
    estimated,
    furthest,
    of_group,
    perceived,
    silences,
)
from reports.words import MISSING, group_name, group_noun, p_value, percent, plural, target_name

if TYPE_CHECKING:
    from auditkit.runs import Run

LONE = "one image a prompt is all or nothing"
"""Begins the note of rows that rest on single images."""

NOTES = (
    "The distance is the total variation: the least share of a prompt's images that would have to show someone else "
    "for the prompt to meet the target. Each prompt has its own and they are averaged, so that prompts skewed in "
    "opposite ways do not cancel.",
    "Few images a prompt look uneven by chance, however fair the prompt: hold a distance against the one by chance and "
    "never against 0, and never against a run with another number of images a prompt.",
    "The squared distance alone is right on average at any number of images; below 0 it says that no distance shows.",
    "Intervals are for what prompts like these would give, with as many images each.",
)


def chapter(measurements: pd.DataFrame, run: Run) -> Chapter | None:
    rows = measurements[measurements["measure"].str.startswith("divergence.")]
    if rows.empty:
        return None
    lead: list[str] = []
    blocks: list[Figure | Table] = []
    for attribute, part in rows.groupby("attribute", sort=False):
        of = {str(m).partition(".")[2]: found for m, found in part.groupby("measure", sort=False)}
        tv, about = of["tv"], perceived(str(attribute))
        by = axis_of(part)
        if tv["note"].fillna("").str.contains(LONE, regex=False).any():
            lead.append(
                f"With one image a prompt nothing can be told of {about} within prompts; see the shares instead."
            )
            continue
        lead += _finding(tv, by, about)
        if (tv["group"] != "all").sum() > 1 and tv["estimate"].notna().any():
            blocks.append(_figure(tv[tv["group"] != "all"], by, about))
        if tv["estimate"].notna().any():
            blocks.append(_table(of, by, about))
    return Chapter("divergence", "Divergence within prompts", lead, blocks, NOTES)


def _finding(tv: pd.DataFrame, by: str, about: str) -> list[str]:
    whole, groups = tv[(tv["group"] == "all") & tv["estimate"].notna()], tv[tv["group"] != "all"]
    out = []
    for _, row in whole.iterrows():
        target = target_name(str(row["reference"]))
        out.append(
            f"Prompt by prompt, {_over(groups, by)}{about} lies {estimated(row)} from {target} on average; "
            f"prompts that met it would lie {percent(row['null_value'], 1)} from it by chance."
        )
    out.append(differing(groups, by, "lies further from it than by chance", "lie further from it than by chance"))
    told = groups[groups["estimate"].notna()]
    if len(told) > 1:
        top = furthest(told)
        out.append(f"Furthest: {group_name(str(top['group']))}, {estimated(top)}.")
    if len(whole) and not groups.empty and not (groups["p_holm"] < 0.05).any() and groups["p_value"].notna().any():
        out.append("That no difference was found is no proof of evenness: the intervals say how much could be there.")
    return [sentence for sentence in [*out, *silences(tv, by, about)] if sentence]


def _over(groups: pd.DataFrame, by: str) -> str:
    told = int(groups["estimate"].notna().sum())
    return f"over {told} of {plural(len(groups), group_noun(by))}, " if told < len(groups) else ""


def _figure(groups: pd.DataFrame, by: str, about: str) -> Figure:
    told = groups[groups["estimate"].notna()]
    low, high = furthest(told, highest=False), furthest(told)
    return chance_figure(
        groups,
        title="Mean distance within prompts",
        found="Further than by chance",
        expected="By chance alone",
        alt_text=(
            f"Mean distance within prompts of {about} by {group_noun(by)}, from {estimated(low)} "
            f"({group_name(str(low['group']))}) to {estimated(high)} ({group_name(str(high['group']))}), each beside "
            "what chance alone would give. The table holds every number."
        ),
        caption=f"Mean distance of a prompt's images from the target in {about}, with 95% intervals, beside chance",
    )


def _table(of: dict[str, pd.DataFrame], by: str, about: str) -> Table:
    rows = []
    for _, tv in of["tv"].iterrows():
        group = tv["group"]
        squared, ens, kl = (of_group(of[name], group) for name in ("squared", "ens", "kl"))
        rows.append(
            [
                group_name(str(group)),
                f"{tv['n_prompts']:,}",
                estimated(tv),
                percent(tv["null_value"], 1),
                p_value(tv["p_holm"]),
                _plain(squared, 3),
                p_value(squared["p_holm"]),
                _plain(ens, 2),
                _plain(kl, 3),
            ]
        )
    return Table(
        f"{about.capitalize()}: distance of a prompt's images from the target, averaged over prompts, 95% intervals",
        [
            group_noun(by).capitalize(),
            "Prompts",
            "Distance",
            "By chance",
            "p (Holm)",
            "Squared distance",
            "p (Holm)",
            "Effective classes",
            "KL (nats)",
        ],
        rows,
        [False, *[True] * 8],
    )


def _plain(row: pd.Series, digits: int) -> str:
    if not pd.notna(row["estimate"]):
        return MISSING
    ends = f" [{row['ci_low']:.{digits}f}, {row['ci_high']:.{digits}f}]" if pd.notna(row["ci_low"]) else ""
    return f"{row['estimate']:.{digits}f}{ends}"
