"""`write_page(folder)`: an evaluation of mitigations as one page that needs nothing else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from auditkit.guidance.evaluated import Evaluation, published, read
from auditkit.guidance.study import SET, UNBALANCED
from auditkit.guidance.verdicts import BETTER, INSUFFICIENT, headline
from reports import evaluation_page, tables
from reports.chapters.base import Chapter, Figure, Table
from reports.charts import to_svg
from reports.mitigation_charts import WITHOUT, front, groups_chart, pareto_chart
from reports.words import MISSING, interval, listed, name, p_value, percent, plural

KICKER = "An evaluation of mitigations"
FILES = ("effects.csv",)
"""For programs; each also as JSON and Parquet."""
LIMITS = (
    "‘Distance’ is total variation: the least share of images that would have to differ for the target to be met. It "
    "is corrected for the classifier’s errors. A target is a yardstick, not a claim about how things should be.",
    "Intervals are at 95%; whole prompts are drawn, each with its images of both runs, and the classifier’s own "
    "uncertainty is in them. Small samples give a distance an upward bias, and intervals allow for it: the reduction "
    "told is rather too small than too large.",
    "‘Better than doing nothing’: the two runs’ images were swapped prompt by prompt, and so large a fall came about "
    "in at most 5% of swaps, after Holm over the methods.",
    "The groups called unbalanced are those whose planted shares lie .10 or more from the target, not those that "
    "looked so: groups chosen for lying far off in one sample lie nearer in the next, whatever is done.",
    "A mitigation trades one distribution for another. What it did elsewhere is told below as far as it was measured, "
    "and no further.",
)
QUALITY = {
    "clip_score": "Image and prompt (100 × cosine)",
    "near_duplicates": "Near-duplicates",
    "exact_duplicates": "Copies to the byte",
    "diversity": "Diversity (effective images)",
    "memorised": "Training pictures come again",
    "feature_distance": "Distance to reference pictures",
}
SHARES = ("near_duplicates", "exact_duplicates", "memorised")


def write_page(folder: str | Path, out: str | Path | None = None) -> Path:
    """Write the page of an evaluation; `index.html` in its folder, or `out`.

    Raises:
        TableError: the folder holds no evaluation. RunError: the page cannot be written.
    """
    return evaluation_page.write(assemble(read(folder)), folder, out)


def assemble(made: Evaluation) -> dict[str, Any]:
    """All that the page shows, as plain values."""
    record = made.record
    spec = record["spec"]
    facts = {
        "Generator": record["generator"],
        "Target": target_words(record),
        "Prompts": f"{spec['prompts']:,} of {spec['name']}",
        "Pairs of images": f"{spec['images']:,} for each method",
        "Judged by": record["judge"],
        "Tuned with": record["tuned_with"],
        "Time": f"{record['seconds'] / 60:.1f} min",
    }
    title = f"{record['generator']}: what {plural(len(made.methods), 'mitigation')} did"
    return evaluation_page.values(title, KICKER, facts, chapters(made), FILES)


def chapters(made: Evaluation, *, width: int = 860) -> list[Chapter]:
    """What the evaluation says, chapter by chapter."""
    return [_whole(made, width), _by_group(made, width), _elsewhere(made), _encoders(made), _papers(made)]


def target_words(record: dict[str, Any]) -> str:
    """The target as it was asked for."""
    asked = record["target"]
    return "; ".join(f"{k}={v}" for k, v in asked.items()) if isinstance(asked, dict) else str(asked)


def verdict_sentences(made: Evaluation) -> list[str]:
    """A sentence for each method."""
    out = []
    for label, each in made.verdicts.items():
        if each.verdict == INSUFFICIENT:
            out.append(f"{label}: insufficient ({each.why or 'no estimate'}). Nothing is claimed.")
            continue
        row = headline(_own(made, label), made.record["attribute"])
        cut = headline(_own(made, label), made.record["attribute"], "reduction")
        over = str(row["note"]).partition(";")[0]  # such as 'over 2 of 3 groups'
        over = over.replace("group", "unbalanced group") if each.headline == UNBALANCED else over
        fell = f"{row['before']:.2f} to {row['after']:.2f} {over}"
        if each.verdict == BETTER and cut["status"] == "ok":
            fell += f", {percent(cut['estimate'])} {interval(cut['ci_low'], cut['ci_high'])} less"
        price = f" Price: {listed(each.prices)}." if each.prices else " No price was found beyond chance."
        out.append(f"{label}: {each.verdict}; distance {fell} (p {p_value(each.p_holm)}).{price}")
    return out


def summary_table(made: Evaluation, *, brief: bool = False) -> Table:
    """A row a method: distance, reduction, joint, fidelity, near-duplicates, seconds, joules, verdict."""
    attribute = made.record["attribute"]
    joint = next((a for a in ("gender+skin_tone",) if a != attribute and _has(made, a)), None)
    rows = []
    for label in made.methods:
        own, verdict = _own(made, label), made.verdicts[label]
        row, cut = headline(own, attribute), headline(own, attribute, "reduction")
        fidelity, near = _one(own, "fidelity"), _one(own, "near_duplicates")
        told = f"{row['before']:.2f} → {row['after']:.2f}" if row["status"] == "ok" else MISSING
        cells = [told, _share(cut), *([_share(headline(own, joint, "reduction"))] if joint else [])]
        price = [_points(fidelity), _points(near)]
        said = verdict.verdict
        if brief:
            price, said = [each.partition(" ")[0] for each in price], said.removesuffix(" than doing nothing")
            cells = [*cells[:2], *(each.partition(" ")[0] for each in cells[2:])]
        rows.append([label, said, *cells, *price, _ratio(_one(own, "seconds")), _ratio(_one(own, "joules"))])
    heads = [
        "Method", "Verdict", "Distance", "Reduction", *(["Joint reduction"] if joint else []), "Fidelity, points",
        "Near-duplicates, points", "Seconds", "Joules",
    ]  # fmt: skip
    if brief:
        heads = [
            "Method", "Than nothing", "Distance", "Less", *(["Joint"] if joint else []), "Fidelity", "Near-dup.",
            "Sec.", "Joules",
        ]  # fmt: skip
    over = "unbalanced groups" if any(v.headline == UNBALANCED for v in made.verdicts.values()) else "all groups"
    caption = f"{name(attribute).capitalize()}, mean over {over}, without → with; judged by {made.record['judge']}"
    return Table(caption, heads, rows, [False, False, *[True] * (len(heads) - 2)])


def _whole(made: Evaluation, width: int) -> Chapter:
    blocks: list[Figure | Table] = [summary_table(made)]
    for measure, title, is_share in (
        ("fidelity", "Fall of occupation fidelity", True), ("seconds", "Seconds an image, over those without", False),
    ):  # fmt: skip
        rows = pareto_rows(made, measure)
        known = rows.dropna(subset=["estimate", "price"])
        if len(known) < 2:
            continue
        names = [WITHOUT, *made.methods]
        best = [label for label in front(known) if label != WITHOUT]
        spoken = "; ".join(
            f"{r['method']} {r['estimate']:.2f} at {percent(r['price'], 1) if is_share else format(r['price'], '.2f')}"
            for r in tables.rows(known)
        )  # fmt: skip
        on = f" On the front: {listed(best)}." if best else " No method is on the front."
        caption = f"Distance to the target against {title[0].lower()}{title[1:]}; lower left is better.{on}"
        drawn = [
            to_svg(pareto_chart(rows, title=title, percent=is_share, names=names, width=w))
            for w in (min(width, 620), 380)
        ]
        blocks.append(Figure(drawn[0], f"Pareto chart. {spoken}.{on}", caption, drawn[1]))
        cells = [
            [str(r["method"]), f"{r['estimate']:.3f} [{r['ci_low']:.3f}, {r['ci_high']:.3f}]",
             _plain(r["price"], r["price_low"], r["price_high"], 100) if is_share else f"{r['price']:.2f}",
             "yes" if r["method"] in front(known) else "no"]
            for r in tables.rows(known)
        ]  # fmt: skip
        unit = f"{title}, points" if is_share else title
        blocks.append(Table(f"Behind the chart: {title.lower()}", ["Method", "Distance", unit, "On the front"], cells,
                            [False, True, True, False]))  # fmt: skip
    return Chapter("whole", "What it did, and what it cost", verdict_sentences(made), blocks,
                   [*made.record["notes"], *LIMITS])  # fmt: skip


def pareto_rows(made: Evaluation, measure: str) -> pd.DataFrame:
    """Distance after and a price by method, and the run without: `method`, `estimate`, `ci_low`, `ci_high`, `price`,
    `price_low`, `price_high`; for fidelity the price is its fall."""
    attribute, nan = made.record["attribute"], float("nan")
    rows: list[list[str | float]] = []
    for label in made.methods:
        own = _own(made, label)
        if not rows:
            start = headline(own, attribute, "level_before")
            free = 0.0 if measure == "fidelity" else 1.0
            rows.append([WITHOUT, start["estimate"], start["ci_low"], start["ci_high"], free, free, free])
        level, price = headline(own, attribute, "level_after"), _one(own, measure)
        cost = [nan, nan, nan]
        if price is not None and price["status"] == "ok":
            cost = [price["estimate"], price["ci_low"], price["ci_high"]]
            if measure == "fidelity":
                cost = [-cost[0], -cost[2], -cost[1]]
            cost = [c if math.isfinite(c) else cost[0] for c in cost]
        rows.append([label, level["estimate"], level["ci_low"], level["ci_high"], *cost])
    columns = ["method", "estimate", "ci_low", "ci_high", "price", "price_low", "price_high"]
    return pd.DataFrame(rows, columns=columns)


def _by_group(made: Evaluation, width: int) -> Chapter:
    attribute = made.record["attribute"]
    judged = made.judged[(made.judged["attribute"] == attribute) & (made.judged["group_by"] != SET)]
    groups = list(dict.fromkeys(judged["group"]))
    drawn = group_rows(made)
    names = [WITHOUT, *made.methods]
    blocks: list[Figure | Table] = []
    if drawn["estimate"].notna().any():
        spoken = "; ".join(
            f"{r['group']} {r['method']} {r['estimate']:.2f}" for r in tables.rows(drawn[drawn["estimate"].notna()])
        )
        charts = [to_svg(groups_chart(drawn, names=names, width=w)) for w in (width, 380)]
        blocks.append(
            Figure(charts[0], f"Distance to the target by group and method. {spoken}.",
                   "Distance to the target by group, with 95% intervals; 0 is on target.", charts[1])
        )  # fmt: skip
    rows: list[list[str]] = []
    flips: list[list[str]] = []
    for group in groups:
        for label in made.methods:
            own = judged[(judged["group"] == group) & (judged["method"] == label)]
            row = _first(own[own["measure"] == "distance"])
            if row is None:
                continue
            bounds = _first(own[own["measure"] == "bounds_after"])
            told = row["status"] == "ok"
            rows.append([
                group, label, f"{row['before']:.2f} → {row['after']:.2f}" if told else str(row["status"]),
                _plain(row["estimate"], row["ci_low"], row["ci_high"]), p_value(row["p_holm"]),
                f"[{bounds['ci_low']:.2f}, {bounds['ci_high']:.2f}]" if bounds is not None else MISSING,
            ])  # fmt: skip
    heads = ["Group", "Method", "Distance", "Change", "p (nearer, Holm)", "As counted, unknown bounded"]
    if rows:
        blocks.append(Table("By group", heads, rows, [False, False, True, True, True, True]))
    changed = made.judged[(made.judged["measure"] == "flips") & (made.judged["status"] == "ok")]
    for r in tables.rows(changed[changed["group"] != "all"]):
        counted = str(r["note"]).partition(";")[0]
        flips.append([
            str(r["group"]), str(r["method"]), f"{name(r['attribute'])}: {r['category']}",
            f"{percent(r['before'])} → {percent(r['after'])}", counted, p_value(r["p_value"]), p_value(r["p_holm"]),
        ])  # fmt: skip
    if flips:
        heads = ["Group", "Method", "Class", "As classified", "Pairs", "McNemar's p", "Holm"]
        blocks.append(Table("Pairs of images that changed their class", heads, flips,
                            [False, False, False, True, False, True, True]))  # fmt: skip
    return Chapter("groups", "Group by group", _turned(made), blocks)


def group_rows(made: Evaluation) -> pd.DataFrame:
    """Distances by group and method, the run without first: `method`, `group`, `estimate`, `ci_low`, `ci_high`."""
    attribute = made.record["attribute"]
    judged = made.judged[(made.judged["attribute"] == attribute) & (made.judged["group_by"] != SET)]
    before = judged[(judged["measure"] == "level_before") & (judged["method"] == made.methods[0])]
    after = judged[judged["measure"] == "level_after"]
    whole = pd.concat([before.assign(method=WITHOUT), after], ignore_index=True)
    return whole[["method", "group", "estimate", "ci_low", "ci_high"]]


def _turned(made: Evaluation) -> list[str]:
    out = []
    for label in made.methods:
        own = _own(made, label)
        for r in tables.rows(own[own["measure"] == "majority_turned"]):
            if r["estimate"] > 0:
                out.append(
                    f"{label} turned the majority of {name(r['attribute'])} in {r['estimate']:.0f}: {r['note']}."
                )
        stayed = own[own["measure"] == "stayed_balanced"]
        off = stayed[stayed["p_holm"] <= 0.05]
        if len(stayed):
            bad = f" {listed(list(off['group']))} did not." if len(off) else ""
            word = "no worse than their sampling noise"
            out.append(
                f"{label}: {len(stayed) - len(off)} of {plural(len(stayed), 'balanced group')} stayed {word}.{bad}"
            )
    return out or ["No group was balanced before, and no majority turned."]


def _elsewhere(made: Evaluation) -> Chapter:
    rows: list[list[str]] = []
    lead: list[str] = []
    for label in made.methods:
        own = _own(made, label)
        found = own[own["measure"] == "shift"]
        for r in tables.rows(found):
            rows.append([
                label, name(r["attribute"]), _plain(r["estimate"], r["ci_low"], r["ci_high"]) if r["status"] == "ok"
                else str(r["status"]), f"{r['null_value']:.2f}" if math.isfinite(r["null_value"]) else MISSING,
                p_value(r["p_holm"]), str(r["note"]),
            ])  # fmt: skip
        moved = [name(a) for a in found[found["p_holm"] <= 0.05]["attribute"]]
        if len(found):
            told = f"shifted {listed(moved)} beyond chance" if moved else "shifted nothing else beyond chance"
            lead.append(f"{label} {told}.")
    blocks: list[Figure | Table] = []
    if rows:
        heads = ["Method", "Attribute", "Shift", "By chance", "p (Holm)", "How"]
        blocks.append(Table("Attributes that were not targeted: total variation between without and with", heads, rows,
                            [False, False, True, True, True, False]))  # fmt: skip
    cells: list[list[str]] = []
    for label in made.methods:
        own = _own(made, label)
        for measure, words in {"fidelity": "Occupation as prompted", "unknown": "Images without a label", **QUALITY,
                               "left_alone": "Left alone, the same to the byte"}.items():  # fmt: skip
            one = _one(own, measure)
            if one is None:
                continue
            r = one
            share = measure in (*SHARES, "fidelity", "unknown", "left_alone")
            scale = 100 if share else 1
            both = [f"{scale * r[c]:.1f}" if math.isfinite(r[c]) else MISSING for c in ("before", "after")]
            change = (
                _plain(r["estimate"], r["ci_low"], r["ci_high"], scale) if r["status"] == "ok" else str(r["status"])
            )
            cells.append([label, words + (", %" if share else ""), *both, change, str(r["encoder"]), str(r["note"])])
    if cells:
        heads = ["Method", "What", "Without", "With", "Change", "Encoder", "Note"]
        blocks.append(Table("Fidelity, copies and diversity", heads, cells,
                            [False, False, True, True, True, False, False]))  # fmt: skip
    return Chapter("elsewhere", "What else changed", lead, blocks)


def _encoders(made: Evaluation) -> Chapter:
    judge, attribute, rows = made.record["judge"], made.record["attribute"], []
    parts = list(dict.fromkeys([attribute, *attribute.split("+"), "gender+skin_tone"]))
    for label in made.methods:
        for encoder in made.record["encoders"]:
            own = made.effects[(made.effects["method"] == label) & (made.effects["encoder"] == encoder)]
            for part in parts:
                cut, row = headline(own, part, "reduction"), headline(own, part)
                square = headline(own, part, "squared_distance")
                if "measure" not in row:
                    continue
                rows.append([
                    label, name(part), encoder + (" (judge)" if encoder == judge else ""), str(row["group"]),
                    f"{row['before']:.3f} → {row['after']:.3f}" if row["status"] == "ok" else str(row["status"]),
                    _share(cut), _both(square),
                ])  # fmt: skip
    heads = ["Method", "Attribute", "Encoder", "Groups", "Distance", "Reduction", "Squared distance"]
    lead = [
        f"{judge} judges. Where the encoder that a method was tuned with sees more of a gain than the judge, the "
        "method may have learned to please that encoder."
    ]
    notes = ["The squared distance has no upward bias at small samples; it may fall below 0."]
    table = Table("As each encoder saw it", heads, rows, [False, False, False, False, True, True, True])
    return Chapter("encoders", "As another encoder saw it", lead, [table], notes)


def _papers(made: Evaluation) -> Chapter:
    known, rows = published(), []
    for label, about in made.record["methods"].items():
        cut = headline(_own(made, label), made.record["attribute"], "reduction")
        for p in known.get(about["name"], [{}]):
            rows.append([
                label, p.get("paper", MISSING), p.get("model", MISSING), p.get("measured", MISSING),
                p.get("figure", "no comparable figure"), _share(cut), p.get("differs", MISSING),
            ])  # fmt: skip
    heads = ["Method", "Paper", "Model", "What they measured", "Their figure", "Our reduction", "What differs"]
    lead = ["Figures of other models, prompts and judges are no yardstick for these; they are here to be told apart."]
    table = Table("Published figures", heads, rows, [False, False, False, False, False, True, False])
    return Chapter("papers", "Beside the methods’ papers", lead, [table])


def _own(made: Evaluation, label: str) -> pd.DataFrame:
    """A method's rows as the judge saw them."""
    return made.judged[made.judged["method"] == label]


def _has(made: Evaluation, attribute: str) -> bool:
    return bool(((made.judged["measure"] == "reduction") & (made.judged["attribute"] == attribute)).any())


def _one(own: pd.DataFrame, measure: str) -> dict[str, Any] | None:
    """A method's row of a measure over all groups."""
    return _first(own[(own["measure"] == measure) & (own["group_by"] == SET)])


def _first(rows: pd.DataFrame) -> dict[str, Any] | None:
    return tables.rows(rows)[0] if len(rows) else None


def _share(row: dict[str, Any]) -> str:
    if row["status"] != "ok" or not math.isfinite(row["estimate"]):
        return str(row["status"]) if row["status"] != "ok" else MISSING
    return f"{percent(row['estimate'])} {interval(row['ci_low'], row['ci_high'])}".rstrip()


def _both(row: dict[str, Any]) -> str:
    return f"{row['before']:.3f} → {row['after']:.3f}" if row["status"] == "ok" else MISSING


def _points(row: dict[str, Any] | None) -> str:
    if row is None:
        return MISSING
    return _plain(row["estimate"], row["ci_low"], row["ci_high"], 100) if row["status"] == "ok" else str(row["status"])


def _ratio(row: dict[str, Any] | None) -> str:
    return f"{row['estimate']:.2f}×" if row is not None and row["status"] == "ok" else MISSING


def _plain(value: float, low: float, high: float, scale: float = 1) -> str:
    """'-1.2 [-3.0, 0.4]': a change, with its interval where there is one."""
    if not math.isfinite(value):
        return MISSING
    digits = 1 if scale == 100 else 2
    told, *ends = (f"{round(scale * each, digits) + 0.0:+.{digits}f}" for each in (value, low, high))
    if not (math.isfinite(low) and math.isfinite(high)):
        return told
    return f"{told} [{', '.join(ends)}]"
