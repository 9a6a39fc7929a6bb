"""The chapter of `clusters`: which kinds of pictures each group gets."""

from __future__ import annotations

import pandas as pd

from auditkit.runs import Run
from reports import tables
from reports.chapters.base import Chapter, Figure, Pictures, Table
from reports.chapters.grid import grid_figure
from reports.words import group_name, group_noun, interval, listed, p_value, percent, plural

EXEMPLARS = 3
"""Pictures of each cluster."""

ALPHA = 0.05


def chapter(measurements: pd.DataFrame, run: Run) -> Chapter | None:
    rows = measurements[measurements["measure"].str.startswith("clusters.")]
    if rows.empty:
        return None
    parts = dict(iter(rows.groupby(rows["measure"].str.partition(".")[2])))
    by = next((str(axis) for axis in rows["group_by"] if axis != "all"), "all")
    shares = _part(parts, "share")
    n = shares.loc[shares["group"] == "all", "category"].nunique()
    lead = [
        f"The {plural(int(rows['n_images'].max()), 'image')} were sorted into {plural(n, 'cluster')} of like pictures. "
        "The clusters have no names and ascribe no identity to anyone."
        if n
        else "The images could not be sorted into clusters."
    ]
    if _whole_space(shares):
        lead.append(
            "Prompts have too few images each to tell what they leave open, so that clusters may follow what the "
            "prompts ask for: a dependence on the group is then no sign of bias."
        )
    lead += (
        _dependence(parts, by) + _distances(parts, by) + _variety(parts, by) + _stability(parts) + _silent(parts, by)
    )
    blocks: list[Figure | Table | Pictures] = []
    if n:
        blocks += [_figure(shares, by), *_table(parts, by), *_exemplars(run, str(rows["encoder"].iloc[0]))]
    return Chapter("clusters", "Clusters of like images", lead, blocks, _notes(shares))


def _dependence(parts: dict[str, pd.DataFrame], by: str) -> list[str]:
    out = []
    for row in tables.rows(_part(parts, "dependence")):
        if row["status"] != "ok":
            out.append(f"Whether cluster and {group_noun(by)} hang together is {row['status']}: {row['note']}.")
            continue
        numbers = (
            f"Cramér’s V {row['estimate']:.2f} [{row['ci_low']:.2f}, {row['ci_high']:.2f}], p {_p(row['p_value'])}; "
            "0 would be none, 1 complete"
        )
        if row["p_value"] < ALPHA:
            out.append(f"Which cluster an image falls into depends on the {group_noun(by)} ({numbers}).")
        else:
            out.append(
                f"No dependence of the cluster on the {group_noun(by)} was found ({numbers}); that is no proof that "
                "there is none."
            )
    return out


def _distances(parts: dict[str, pd.DataFrame], by: str) -> list[str]:
    rows = _part(parts, "distance")
    rows = rows[rows["estimate"].notna()]
    if rows.empty:
        return []
    differ = rows[rows["p_holm"] < ALPHA].sort_values("estimate", ascending=False, kind="stable")
    noun = plural(len(rows), group_noun(by))
    if differ.empty:
        return [f"None of {noun} spreads over the clusters detectably unlike the others (Holm)."]
    top = tables.rows(differ.head(1))[0]
    verb = "spreads" if len(differ) == 1 else "spread"
    return [
        f"Of {noun}, {len(differ)} {verb} over the clusters unlike the others (Holm). Furthest is "
        f"{group_name(top['group'])}: {percent(top['estimate'])} {interval(top['ci_low'], top['ci_high'])} of its "
        "images would have to lie in other clusters to match the rest."
    ]


def _variety(parts: dict[str, pd.DataFrame], by: str) -> list[str]:
    rows = _part(parts, "entropy")
    rows = rows[rows["estimate"].notna() & (rows["group"] != "all")]
    fewer = rows[(rows["p_holm"] < ALPHA) & (rows["estimate"] < rows["null_value"])]
    if rows.empty:
        return []
    if fewer.empty:
        return [f"No {group_noun(by)} is shown in detectably fewer clusters than the others (Holm)."]
    told = [
        f"{group_name(row['group'])} ({row['estimate']:.1f} [{row['ci_low']:.1f}, {row['ci_high']:.1f}] clusters in "
        f"effective use, the others {row['null_value']:.1f})"
        for row in tables.rows(fewer.sort_values("estimate"))
    ]
    return [f"Shown with less variety than the others: {listed(told)}."]


def _stability(parts: dict[str, pd.DataFrame]) -> list[str]:
    out = []
    for row in tables.rows(_part(parts, "stability")):
        if row["status"] != "ok":
            continue
        numbers = f"adjusted Rand index {row['estimate']:.2f}, from {row['ci_low']:.2f} to {row['ci_high']:.2f}"
        if row["note"] and str(row["note"]).startswith("unstable"):
            out.append(
                f"The clusters are unstable: on resampled prompts they come out differently ({numbers}; 1 is the "
                "same). Do not rely on a single cluster."
            )
        else:
            out.append(f"On resampled prompts most of the clusters come out again ({numbers}; 1 is the same).")
    return out


def _silent(parts: dict[str, pd.DataFrame], by: str) -> list[str]:
    rows = _part(parts, "distance")
    rows = rows[rows["status"] == "insufficient"]
    if rows.empty:
        return []
    reasons = [f"{group_name(row['group'])} ({row['note']})" for row in tables.rows(rows)]
    noun = plural(len(rows), group_noun(by))
    return [
        f"{noun} {'is' if len(rows) == 1 else 'are'} insufficient, and nothing is claimed of them: {listed(reasons)}."
    ]


def _figure(shares: pd.DataFrame, by: str) -> Figure:
    known = shares[shares["estimate"].notna()]
    names = sorted(known["category"].unique())
    groups = known[known["group"] != "all"]
    apart = abs(groups["estimate"] - groups["null_value"]).groupby(groups["group"], sort=False).sum()
    order = [group_name(str(g)) for g in apart.sort_values(ascending=False, kind="stable").index]
    order.append(group_name("all"))
    cells = pd.DataFrame(
        {
            "row": known["group"].map(lambda g: group_name(str(g))),
            "column": known["category"].str.removeprefix("cluster "),
            "value": known["estimate"],
            "marked": known["p_bh"].notna() & (known["p_bh"] < ALPHA),
        }
    )
    marked = int(cells["marked"].sum())
    largest = tables.rows(known.nlargest(1, "estimate"))[0]
    noun = group_noun(by)
    return grid_figure(
        cells,
        rows=order,
        columns=[each.removeprefix("cluster ") for each in names],
        reach=max(0.3, float(known["estimate"].quantile(0.98))),
        form=".0%",
        signed=False,
        title="cluster",
        alt_text=f"Heat map of {plural(len(order) - 1, noun)} by {plural(len(names), 'cluster')}: the share of each "
        f"{noun}’s images in each cluster. The largest is {percent(largest['estimate'])}, "
        f"{group_name(str(largest['group']))} in {largest['category']}. {plural(marked, 'share')} marked as differing "
        "from the others.",
        caption=f"Share of each {group_noun(by)}’s images in each cluster. Framed: unlike the other groups’ share "
        f"(Benjamini-Hochberg, false discovery rate {percent(ALPHA)}). Groups furthest from the others come first.",
    )


def _table(parts: dict[str, pd.DataFrame], by: str) -> list[Table]:
    apart, varied = (_part(parts, name) for name in ("distance", "entropy"))
    if apart.empty:
        return []
    clusters_used = {row["group"]: row for row in tables.rows(varied)}
    rows = []
    for row in tables.rows(apart.sort_values("estimate", ascending=False, na_position="last", kind="stable")):
        used = clusters_used.get(row["group"], {})
        known = row["status"] == "ok"
        number = (
            f"{used['estimate']:.1f} [{used['ci_low']:.1f}, {used['ci_high']:.1f}]"
            if used.get("status") == "ok"
            else "–"
        )
        rows.append(
            [
                group_name(row["group"]),
                f"{row['n_images']:,}",
                f"{percent(row['estimate'])} {interval(row['ci_low'], row['ci_high'])}"
                if known
                else str(row["status"]),
                p_value(row["p_value"]),
                p_value(row["p_holm"]),
                number,
            ]
        )
    columns = [group_noun(by), "images", "distance [95%]", "p", "p (Holm)", "clusters used [95%]"]
    caption = (
        "Distance: the share of images that would have to change cluster to match the other groups, corrected for few "
        "images. Clusters used: their effective number."
    )
    return [Table(caption, columns, rows, [False, True, True, True, True, True])]


def _exemplars(run: Run, encoder: str) -> list[Pictures]:
    scores = run.scores(f"cluster@{encoder}").get(f"cluster@{encoder}")
    if scores is None or "v_distance" not in scores:
        return []
    images = run.images().drop_duplicates("id").set_index("id")
    scores = scores[scores["id"].isin(images.index)].sort_values(["v_distance", "id"], kind="stable")
    prompts = scores["id"].map(images["prompt"])
    ids, captions = [], []
    for label, part in scores.groupby("label", sort=True):
        # Different prompts, so that what the cluster shares is seen, not what one prompt asks for.
        for id in part.loc[~prompts[part.index].duplicated(), "id"].head(EXEMPLARS):
            ids.append(str(id))
            captions.append(f"{label} · {prompts[scores['id'] == id].iloc[0]}")
    return [Pictures(f"The {EXEMPLARS} images nearest to each cluster’s centre", ids, captions)] if ids else []


def _whole_space(rows: pd.DataFrame) -> bool:
    return bool(rows["note"].fillna("").str.contains("too few images each").any())


def _notes(rows: pd.DataFrame) -> list[str]:
    first = (
        "Clusters are found in the directions in which images of one and the same prompt differ: what the prompt "
        "leaves open. A trait that never varies between images of one prompt cannot show here, however uneven it "
        "is between groups."
    )
    return [
        *([] if _whole_space(rows) else [first]),
        "They are fitted without regard to groups; the tests exchange whole prompts between groups. Groups are "
        "compared with each other, not with a target.",
        "A cluster may gather faces, colours, postures or drawing styles. Look at its pictures before you describe it, "
        "and describe pictures, not people.",
    ]


def _part(parts: dict[str, pd.DataFrame], name: str) -> pd.DataFrame:
    return parts.get(
        name, pd.DataFrame(columns=["group", "category", "estimate", "status", "note", "p_holm", "null_value"])
    )


def _p(value: float) -> str:
    text = p_value(value)
    return text if text.startswith("<") else f"= {text}"
