"""The chapter on watermarks: in what share of the images the mark was verified, how surely, and what is left open."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from auditkit.watermark.measure import marked_with
from auditkit.watermark.table import COLUMNS
from reports.chapters.base import Chapter, Figure, Pictures, Table
from reports.chapters.dots import NARROW, WIDE, dots_figure
from reports.charts import to_svg
from reports.watermark_charts import VERDICTS, evidence_bins, p_values_chart
from reports.words import MISSING, group_name, group_noun, interval, listed, percent, plural, power

if TYPE_CHECKING:
    from auditkit.runs import Run

MOST_PICTURES = 8
MOST_DRAWN = 3
"""Schemes and keys that get a histogram."""
MOST_PAYLOADS = 12
HEADS = {
    "present": "Verified",
    "abstained": "No verdict",
    "payload": "Right payload",
    "bit_accuracy": "Bits right where read",
}
LATENT = ("tree-ring", "gaussian-shading", "prc")

NOTES = (
    "‘Verified’: the p-value is at most the false positive rate asked for. The p-value is the probability that a key "
    "drawn at random would match this very image at least as well, corrected for the geometries, schemes and keys "
    "that were tried.",
    "‘No mark found’ says that this key’s mark was not found. It is no proof that an image was not generated, nor that "
    "it was never marked: cropping, recompression or regeneration may have removed the mark, and other makers’ marks "
    "are read with other keys.",
    "‘No verdict’: the image could not be read, or the evidence lies between chance and the rate asked for. Such "
    "images are counted as neither.",
    "What a mark survives is measured on other images, by attack and strength: ‘auditkit watermark bench’ writes that "
    "page. Regeneration through an autoencoder or a diffusion model removes most marks in pixels.",
    "A verified mark says that the image carries a pattern made with this key, not who published it: marks can be "
    "copied from one image to another. The check for forgery looks for copies, averages and images marked again; that "
    "it finds nothing is no proof that there is none.",
)
LATENT_NOTE = (
    "This scheme marks the noise that the generator starts from. Verifying it takes the generator itself, which "
    "recovers the noise from the image by inversion; where the generator is not at hand there is no verdict."
)


def chapter(measurements: pd.DataFrame, run: Run) -> Chapter | None:
    rows = measurements[measurements["measure"].str.startswith("watermark.")]
    if rows.empty:
        return None
    found = run.watermarks()
    found = pd.DataFrame(columns=list(COLUMNS)) if found is None else found  # the measurements may outlive it
    pairs = rows[["attribute", "category"]].drop_duplicates().itertuples(index=False)
    studies = [_Study(rows, run, found, str(scheme), "" if pd.isna(key) else str(key)) for scheme, key in pairs]
    studies.sort(key=lambda study: not study.marked)
    drawn = [study for study in studies if study.marked or study.verified][:MOST_DRAWN] or studies[:1]
    told = [study for study in studies if study in drawn or study.undecided]
    lead = [sentence for study in told for sentence in study.lead()]
    silent = [study.name for study in studies if study not in told and not study.verified]
    if silent:
        names = listed(silent).replace(" and ", " or ")
        lead.append(f"No image was verified to carry the mark of {names}.")
    blocks: list[Figure | Table | Pictures] = [_overall(studies)]
    for study in drawn:
        blocks += study.blocks()
    latent = any(study.scheme in LATENT for study in studies)
    return Chapter("watermark", "Watermark", lead, blocks, [*NOTES, LATENT_NOTE] if latent else NOTES)


@dataclass(eq=False)
class _Study:
    """One scheme and key: its rows of measurements, and its verdicts where the run still has them."""

    measured: pd.DataFrame
    run: Run
    table: pd.DataFrame
    scheme: str
    key_id: str

    def __post_init__(self) -> None:
        own = (self.measured["attribute"] == self.scheme) & (self.measured["category"].fillna("") == self.key_id)
        self.measured = self.measured[own]
        self.marked = marked_with(self.run, self.scheme, self.key_id)
        self.record: dict[str, Any] = (self.run.record.get("watermark") or {}) if self.marked else {}
        self.by = next((str(by) for by in self.measured["group_by"] if by != "all"), "all")
        self.table = self.table[(self.table["scheme"] == self.scheme) & (self.table["key_id"] == self.key_id)]
        self.whole = {
            str(r["measure"]).removeprefix("watermark."): r
            for _, r in self.measured[self.measured["group"] == "all"].iterrows()
        }

    @property
    def name(self) -> str:
        return f"{self.scheme} under key {self.key_id}" if self.key_id else self.scheme

    @property
    def verified(self) -> int:
        return self.count("present")

    @property
    def undecided(self) -> bool:
        """Whether there is a verdict on no image at all."""
        return 0 < self.count("abstained") == int(self.whole["abstained"]["n_images"])

    def count(self, statistic: str) -> int:
        """Images with a yes, over all images; 0 where it was not told."""
        row = self.whole.get(statistic)
        return round(row["estimate"] * row["n_images"]) if row is not None and math.isfinite(row["estimate"]) else 0

    def parts(self, statistic: str) -> pd.DataFrame:
        return self.measured[self.measured["measure"] == f"watermark.{statistic}"]

    def lead(self) -> list[str]:
        row = self.whole["present"]
        if not math.isfinite(row["estimate"]):
            return [f"Whether the mark of {self.name} can be verified is {row['status']}: {row['note']}."]
        if self.undecided:
            why = [str(note) for note in self.table["note"].value_counts().index if note]
            told = f"There is no verdict on {self.name} for any of {row['n_images']:,} images"
            return [f"{told}: {why[0]}." if why else f"{told}."]
        return [*(self._marked(row) if self.marked else self._unmarked(row)), *self._groups(), *self._suspect()]

    def _marked(self, row: Any) -> list[str]:
        k, n, unsure = self.verified, int(row["n_images"]), self.count("abstained")
        out = [
            f"The images were marked with {self.name} when they were made. That mark was verified in {k:,} of {n:,}: "
            f"{_share(row)}, at a false positive rate of {power(row['null_value'])} for each image."
        ]
        if lost := n - k:
            out.append(
                f"The other {lost:,} are false negatives: in {n - k - unsure:,} no mark was found, and {unsure:,} have "
                "no verdict."
            )
        right = self.whole.get("payload")
        if right is not None and math.isfinite(right["estimate"]):
            hits = self.count("payload")
            told = f"The payload that they were given, {_payload(str(self.record['payload']))}, was read in {hits:,}"
            wrong = self._other_payloads()
            out.append(f"{told}; another was read in {wrong:,}." if wrong else f"{told}, and no other in any.")
        return out

    def _other_payloads(self) -> int:
        return int((self.table["payload"].notna() & (self.table["payload"] != self.record.get("payload"))).sum())

    def _unmarked(self, row: Any) -> list[str]:
        k, n = self.verified, int(row["n_images"])
        if not k:
            return [
                f"None of {n:,} images was verified to carry the mark of {self.name}; a share of up to "
                f"{percent(row['ci_high'], 1)} is still plausible. That does not say that they were not generated."
            ]
        return [
            f"Nothing in the run’s record says that it was marked with {self.name}, and the mark was verified in {k:,} "
            f"of {n:,} images: {_share(row)}. If none of them carries it, that is the false positive rate on this run, "
            f"where {power(row['null_value'])} was asked for."
        ]

    def _groups(self) -> list[str]:
        told = self.parts("present")
        told = told[(told["group"] != "all") & told["estimate"].notna()].sort_values("estimate")
        if len(told) < 2 or not self.verified:
            return []
        low, high = told.iloc[0], told.iloc[-1]
        noun = group_noun(self.by)
        if low["estimate"] == high["estimate"]:
            return [f"The share is the same for every {noun}."]
        apart = low["ci_high"] < high["ci_low"]
        claim = "these two intervals lie apart" if apart else "the intervals overlap, and no difference is claimed"
        return [
            f"By {noun} the share verified lies between {_share(low)} ({group_name(low['group'])}) and {_share(high)} "
            f"({group_name(high['group'])}); {claim}."
        ]

    def _suspect(self) -> list[str]:
        suspect = self.table[self.table["forgery"] == "suspect"]
        if suspect.empty:
            return []
        why = listed(sorted({str(note) for note in suspect["note"] if note}), 3) if suspect["note"].any() else ""
        told = f"{plural(len(suspect), 'verified mark')} {'is' if len(suspect) == 1 else 'are'} suspected of forgery"
        return [f"{told}: {why}." if why else f"{told}."]

    def blocks(self) -> list[Figure | Table | Pictures]:
        out: list[Figure | Table | Pictures] = []
        if self.table["p_value"].notna().any():
            out.append(self._histogram())
        if self.by != "all" and self.parts("present")["estimate"].notna().any():
            out += [*self._dots(), self._by_group()]
        if self.table["payload"].notna().any():
            out.append(self._payloads())
        return out + self._pictures()

    def _histogram(self) -> Figure:
        wide, narrow = (to_svg(p_values_chart(self.table, width=width)) for width in (WIDE, NARROW))
        bins = evidence_bins(self.table)
        counts = bins.groupby("verdict")["images"].sum()
        told = "; ".join(f"{counts[name]:,} {name}" for name in VERDICTS.values() if name in counts)
        middle = power(float(self.table["p_value"].median()))
        silent = int(self.table["p_value"].isna().sum())
        extra = f" Without a p-value, and not drawn: {plural(silent, 'image')}." if silent else ""
        return Figure(
            wide,
            f"Histogram of the p-values of {self.name}, on a logarithmic axis: {told}. The median p-value is {middle}.",
            f"How strongly each image speaks for {self.name}; the dashed line is the false positive rate asked for. "
            f"Of images without the mark at most one in a hundred lies below p = 0.01.{extra}",
            narrow,
        )

    def _dots(self) -> list[Figure]:
        """A chart only where groups differ; with one share for all it would be a line of dots."""
        shares = self.parts("present")
        if shares["estimate"].dropna().nunique() < 2:
            return []
        told = shares[shares["estimate"].notna()]
        spans = "; ".join(f"{group_name(r['group'])} {_share(r)}" for _, r in told.iterrows())
        return [
            dots_figure(
                shares,
                title="Share of images verified",
                form=".0%",
                alt_text=f"Dot-and-interval chart of the share verified by {group_noun(self.by)}: {spans}.",
                caption="Share of images in which the mark was verified, with 95% intervals; the dashed line is all "
                "images together.",
            )
        ]

    def _by_group(self) -> Table:
        shown = [name for name in HEADS if len(self.parts(name))]
        cells = {name: {str(r["group"]): _cell(r) for _, r in self.parts(name).iterrows()} for name in shown}
        present = self.parts("present")
        rows = [
            [group_name(str(r["group"])), f"{r['n_images']:,}"]
            + [cells[name].get(str(r["group"]), MISSING) for name in shown]
            for _, r in present.iterrows()
        ]
        return Table(
            f"{self.name} by {group_noun(self.by)}: shares in percent with 95% intervals",
            [group_noun(self.by).capitalize(), "Images", *(HEADS[name] for name in shown)],
            rows,
            [False, *[True] * (len(shown) + 1)],
        )

    def _payloads(self) -> Table:
        read = self.table[self.table["payload"].notna()]
        counts = read[["payload", "payload_name"]].value_counts().reset_index()
        rows = [
            [_payload(str(r["payload"])), str(r["payload_name"]) or MISSING, f"{r['count']:,}"]
            for _, r in counts.head(MOST_PAYLOADS).iterrows()
        ]
        more = f"; {len(counts) - MOST_PAYLOADS} more are not listed" if len(counts) > MOST_PAYLOADS else ""
        caption = f"Payloads read with {self.name}, the most frequent first{more}"
        return Table(caption, ["Payload", "Registered as", "Images"], rows, [False, False, True])

    def _pictures(self) -> list[Pictures]:
        """Of marked images those that failed, of others those that passed: what a reader would want to look at."""
        chosen = self.table[(self.table["verdict"] == "present") != self.marked]
        images = self.run.images().drop_duplicates("id").set_index("id")
        chosen = chosen[chosen["id"].isin(images.index)]
        chosen = chosen.sort_values("p_value", ascending=not self.marked, na_position="first", kind="stable")
        if chosen.empty:
            return []
        heading = f"Not verified: {self.name}" if self.marked else f"Verified without a record of a mark: {self.name}"
        if len(chosen) > MOST_PICTURES:
            heading += f" ({MOST_PICTURES} of {len(chosen):,})"
        chosen = chosen.head(MOST_PICTURES)
        captions = [
            f"{'no p-value' if pd.isna(r['p_value']) else 'p = ' + power(r['p_value'])}, {VERDICTS[r['verdict']]}: "
            f"{images.loc[r['id'], 'prompt']}"
            for _, r in chosen.iterrows()
        ]
        return [Pictures(heading, list(chosen["id"]), captions)]


def _overall(studies: list[_Study]) -> Table:
    """A column for each scheme and key: there are few, and their facts are many."""
    facts = [_facts(study) for study in studies]
    heads = [f"{study.scheme} · {study.key_id}" if study.key_id else study.scheme for study in studies]
    names = [name for name in facts[0] if any(each[name] != MISSING for each in facts)]
    return Table(
        "What was looked for; shares with 95% intervals",
        ["", *heads],
        [[name, *(each[name] for each in facts)] for name in names],
    )


def _facts(study: _Study) -> dict[str, str]:
    row = study.whole["present"]
    told, n = math.isfinite(row["estimate"]), int(row["n_images"])
    k, unsure = study.verified, study.count("abstained")
    table, payload = study.table, study.record.get("payload")
    nulls = [text for text in dict.fromkeys(table["null"]) if text]
    return {
        "Scheme’s version": listed([str(v) for v in sorted(set(table["scheme_version"]))]) if len(table) else MISSING,
        "Images looked at": f"{n:,}",
        "Verified": f"{k:,} of {n:,}: {_share(row)}" if told else str(row["status"]),
        "No verdict": f"{unsure:,}" if told else MISSING,
        "No mark found": f"{n - k - unsure:,}" if told else MISSING,
        "Marked so when made": "yes" if study.marked else "not recorded",
        "Payload given": _payload(str(payload)) if payload else MISSING,
        "That payload read": _cell(study.whole["payload"]) if "payload" in study.whole else MISSING,
        "Bits right, where a payload was read": _cell(study.whole["bit_accuracy"])
        if "bit_accuracy" in study.whole
        else MISSING,
        "False positives asked for, an image": power(row["null_value"]),
        "False positives measured on unmarked images": "; ".join(nulls) or "not measured",
        "Time for an image": f"{table['ms'].median():,.0f} ms" if table["ms"].notna().any() else MISSING,
    }


def _payload(text: str) -> str:
    """'1:42' -> 'model 1, user 42'."""
    model, _, user = text.partition(":")
    return f"model {model}, user {user}" if user not in ("", "0") else f"model {model}"


def _share(row: Any) -> str:
    return f"{percent(row['estimate'], 1)} {interval(row['ci_low'], row['ci_high'], 1)}".rstrip()


def _cell(row: Any) -> str:
    return _share(row) if math.isfinite(row["estimate"]) else str(row["status"])
