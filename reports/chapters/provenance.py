"""The chapter on signed copies: how many images have one, who signed, whether they verify, what that leaves open."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from auditkit.errors import AuditkitError
from auditkit.provenance.measure import check_run
from auditkit.provenance.vocabulary import GENERATED, short_source_type
from reports.chapters.base import Chapter, Figure, Pictures, Table
from reports.chapters.dots import dots_figure
from reports.words import MISSING, group_name, group_noun, interval, listed, percent, plural

if TYPE_CHECKING:
    from auditkit.runs import Run

MOST_PICTURES = 8
HEADS = {"signed": "With a signed copy", "verified": "Copy verifies", "trusted": "Verifies, signer trusted"}
TRAINING = {
    "allowed": "allowed",
    "notAllowed": "not allowed",
    "constrained": "allowed under conditions",
}
DEVELOPMENT = "not for production"

NOTES = (
    "A signature says that whoever holds the key made these statements about these very bytes, and that nobody changed "
    "either since. It does not say that the statements are true, that the image shows something true, or who may use "
    "it.",
    "Only the signed copies carry a manifest; the run’s own images stay as they were made. Most platforms, editors and "
    "messengers take manifests off, so that a file without one may well come from here. A watermark, or the manifest "
    "store, can lead back to it.",
    "‘Verifies’: the manifest’s signature fits, the image without its manifest is byte for byte the run’s own, and the "
    "signer is the one that the run names; all as it was on the day of the measurement.",
    "‘Trusted’ says that the certificate leads to an anchor in a trust list that is kept on this machine. Others keep "
    "other lists, and may come to another verdict on the same file.",
    "All copies were looked at. The intervals speak of further images made and signed in the same way.",
)


def chapter(measurements: pd.DataFrame, run: Run, *, checks: pd.DataFrame | None = None) -> Chapter | None:
    """`checks`: the signed copies as `check_run` found them; they are looked at now where they are not given."""
    rows = measurements[measurements["measure"].str.startswith("provenance.")]
    if rows.empty:
        return None
    problem = ""
    if checks is None:
        try:
            checks = check_run(run)
        except AuditkitError as error:  # a trust list that cannot be read: what was measured is still told
            checks, problem = check_run(run, anchors=""), error.what
    study = _Study(rows, run, checks, problem)
    return Chapter("provenance", "Provenance", study.lead(), study.blocks(), NOTES)


@dataclass(eq=False)
class _Study:
    """The rows of the measure, and the signed copies where the run still has them."""

    measured: pd.DataFrame
    run: Run
    checks: pd.DataFrame
    problem: str
    """Why the trust lists could not be read; '' where they could."""

    def __post_init__(self) -> None:
        self.by = next((str(by) for by in self.measured["group_by"] if by != "all"), "all")
        self.whole = {
            str(row["measure"]).removeprefix("provenance."): row
            for _, row in self.measured[self.measured["group"] == "all"].iterrows()
        }
        found = self.run.record.get("signing")
        self.record: dict[str, Any] = found if isinstance(found, dict) else {}
        signed = self.run.provenance()
        self.signed = pd.DataFrame() if signed is None else signed  # the measurements may outlive it
        holds = self.checks["holds"].astype(bool)
        self.sound, self.failed = self.checks[holds], self.checks[~holds]

    def parts(self, statistic: str) -> pd.DataFrame:
        return self.measured[self.measured["measure"] == f"provenance.{statistic}"]

    def count(self, statistic: str) -> int:
        """Images with a yes, over all images; 0 where it was not told."""
        row = self.whole[statistic]
        return round(row["estimate"] * row["n_images"]) if math.isfinite(row["estimate"]) else 0

    def told(self, name: str, otherwise: str) -> str:
        """What the copies that hold say of their signer, else what run.json does."""
        held = [str(each) for each in self.sound[name].unique() if each]
        return listed(held, 3) if held else str(self.record.get(otherwise) or "")

    @property
    def development(self) -> bool:
        return bool(self.sound["development"].any()) or self.record.get("trust") == "development"

    @property
    def until(self) -> str:
        return self.told("valid_to", "expires")[:10]

    def lead(self) -> list[str]:
        row = self.whole["signed"]
        if not math.isfinite(row["estimate"]):
            return [f"How many images have a signed copy is {row['status']}: {row['note']}."]
        out = [f"{self.count('signed'):,} of {int(row['n_images']):,} images have a signed copy{self._who()}."]
        if self.development:
            out.append(
                "The certificate is marked as not for production: anybody can make one like it, and it does not "
                "show who signed."
            )
        out += [*self._verified(), *self._trusted(), *self._groups(), *self._time(), *self._said()]
        return [*out, f"The trust lists could not be read now: {self.problem}."] if self.problem else out

    def _who(self) -> str:
        signer, issuer = self.told("signer", "signer"), self.told("issuer", "issuer")
        if not signer:
            return ""
        return f", signed by “{signer}”" + (f", certified by “{issuer}”" if issuer else "")

    def _verified(self) -> list[str]:
        row = self.whole["verified"]
        if not math.isfinite(row["estimate"]):
            return [f"How many of the copies verify is {row['status']}: {row['note']}."]
        k, n = self.count("verified"), int(row["n_images"])
        told = f"{k:,} of these {n:,} copies verify: {_share(row)}."
        out = [told if k < n else f"All {n:,} copies verify: {_share(row)}."]
        if len(self.failed):
            why = self.failed["why"].value_counts()
            out.append("The others: " + listed([f"{_lower(str(reason))} ({n:,})" for reason, n in why.items()]) + ".")
        now = int(self.run.images()["id"].isin(self.sound["id"]).sum())
        if len(self.checks) and now != k:
            out.append(f"Looked at again for this page, {now:,} verify: the copies or the certificate changed since.")
        return out

    def _trusted(self) -> list[str]:
        row = self.whole["trusted"]
        if not math.isfinite(row["estimate"]):
            return [f"Whether the signer is trusted is not told: {row['note']}."]
        k, n = self.count("trusted"), int(row["n_images"])
        if not k:
            return ["The signer is in none of the trust lists kept here: anybody could write that name."]
        if k == self.count("verified"):
            return ["The signer of all that verify is in a trust list kept here."]
        return [f"The signer of {k:,} of {n:,} copies is in a trust list kept here."]

    def _by_estimate(self) -> pd.DataFrame:
        """The groups of which it is told how many copies verify, the lowest share first."""
        told = self.parts("verified")
        return told[(told["group"] != "all") & told["estimate"].notna()].sort_values("estimate", kind="stable")

    def _groups(self) -> list[str]:
        told = self._by_estimate()
        if self.by != "all" and told.empty:
            return [f"No {group_noun(self.by)} has enough images for a share of its own."]
        if len(told) < 2 or told["estimate"].iloc[0] == told["estimate"].iloc[-1]:
            return []
        low, high = told.iloc[0], told.iloc[-1]
        apart = low["ci_high"] < high["ci_low"]
        claim = "these two intervals lie apart" if apart else "the intervals overlap, and no difference is claimed"
        return [
            f"By {group_noun(self.by)} the share that verifies lies between {_share(low)} ({group_name(low['group'])}) "
            f"and {_share(high)} ({group_name(high['group'])}); {claim}."
        ]

    def _time(self) -> list[str]:
        if self.signed.empty:
            return []
        n, stamped = len(self.signed), int((self.signed["timestamp"] != "").sum())
        end = f" on {self.until}" if self.until else ""
        if not stamped:
            return [f"No copy has a timestamp: the signatures stop being valid when the certificate runs out{end}."]
        who = "Every copy" if stamped == n else f"{stamped:,} of {n:,} copies"
        return [
            f"{who} carries a timestamp, which shows that it was signed before that time; with it the signature can be "
            f"verified after the certificate runs out{end}."
        ]

    def _said(self) -> list[str]:
        """What the manifests say of the images; every one of them the same."""
        out = []
        kinds = [short_source_type(str(each)) for each in self.signed.get("source_type", pd.Series(dtype=str)).unique()]
        if kinds and all(kind in GENERATED for kind in kinds):
            out.append(f"The manifests say that a trained model made the images ({listed(kinds)}).")
        elif kinds:
            out.append(f"The manifests give as source of the images: {listed(kinds)}.")
        if self.record:
            says = TRAINING.get(str(self.record.get("training")))
            out.append(
                f"They say that AI training and data mining with the images is {says}."
                if says
                else "They do not say whether the images may be used for AI training; that is no consent."
            )
        return out

    def blocks(self) -> list[Figure | Table | Pictures]:
        out: list[Figure | Table | Pictures] = [self._overall()]
        told = self._by_estimate()
        if len(told):
            if told["estimate"].iloc[0] < told["estimate"].iloc[-1]:
                out.append(self._dots(told))
            out.append(self._by_group())
        if len(self.failed):
            out.append(self._reasons())
        return out + self._pictures()

    def _overall(self) -> Table:
        facts = {
            "With a signed copy": self._of("signed"),
            "Copies that verify": self._of("verified"),
            "Copies of a trusted signer": self._of("trusted"),
            "Signer": self.told("signer", "signer"),
            "Certified by": self.told("issuer", "issuer"),
            "Kind of certificate": f"development, {DEVELOPMENT}" if self.development else "",
            "Certificate valid until": self.until,
            "Signature algorithm": str(self.record.get("algorithm") or ""),
            "Signed": self._span("signed"),
            "Timestamp": self._stamps(),
            "Source type": listed(sorted({short_source_type(str(t)) for t in self.signed["source_type"]}))
            if len(self.signed)
            else "",
            "Soft binding: watermark": self._bound(watermark=True),
            "Soft binding: fingerprint": self._bound(watermark=False),
            "AI training and data mining": TRAINING.get(str(self.record.get("training")), "not stated")
            if self.record
            else "",
        }
        rows = [[name, value] for name, value in facts.items() if value]
        return Table("Signed copies of the run’s images; shares with 95% intervals", ["", "This run"], rows)

    def _of(self, statistic: str) -> str:
        row = self.whole[statistic]
        told = f"{self.count(statistic):,} of {int(row['n_images']):,}: {_share(row)}"
        return told if math.isfinite(row["estimate"]) else "not told"

    def _span(self, column: str) -> str:
        if self.signed.empty:
            return ""
        times = sorted(str(each)[:16].replace("T", " ") for each in self.signed[column])
        return f"{times[0]} UTC" if times[0] == times[-1] else f"{times[0]} to {times[-1]} UTC"

    def _stamps(self) -> str:
        if self.signed.empty:
            return ""
        stamped = int((self.signed["timestamp"] != "").sum())
        return f"{stamped:,} of {len(self.signed):,}" if stamped else "none"

    def _bound(self, *, watermark: bool) -> str:
        """Algorithms and numbers of images, of the bindings that lead from a copy back to its manifest."""
        if self.signed.empty:
            return ""
        each = self.signed["bindings"].str.split().explode().dropna()
        chosen = each[each.str.contains(".watermark.", regex=False) == watermark].value_counts()
        return "; ".join(f"{name} ({plural(int(n), 'image')})" for name, n in chosen.items()) or "none"

    def _dots(self, told: pd.DataFrame) -> Figure:
        spans = "; ".join(f"{group_name(r['group'])} {_share(r)}" for _, r in told.iterrows())
        return dots_figure(
            self.parts("verified"),
            title="Share of signed copies that verify",
            form=".0%",
            alt_text=f"Dot-and-interval chart of the share that verifies by {group_noun(self.by)}: {spans}.",
            caption="Share of signed copies that verified, with 95% intervals; the dashed line is all images together.",
        )

    def _by_group(self) -> Table:
        cells = {name: {str(r["group"]): _cell(r) for _, r in self.parts(name).iterrows()} for name in HEADS}
        shown = [name for name in HEADS if self.parts(name)["estimate"].notna().any()]
        rows = [
            [group_name(str(r["group"])), f"{r['n_images']:,}"] + [cells[name][str(r["group"])] for name in shown]
            for _, r in self.parts("signed").iterrows()
        ]
        noun = group_noun(self.by)
        caption = f"Signed copies by {noun}: shares in percent with 95% intervals"
        heads = [noun.capitalize(), "Images", *(HEADS[name] for name in shown)]
        return Table(caption, heads, rows, [False, *[True] * (len(shown) + 1)])

    def _reasons(self) -> Table:
        counts = self.failed[["why", "verdict"]].value_counts().reset_index()
        rows = [[str(r["why"]), str(r["verdict"]) or MISSING, f"{r['count']:,}"] for _, r in counts.iterrows()]
        caption = "Why copies do not verify now, the most frequent reason first"
        return Table(caption, ["Reason", "Verdict", "Copies"], rows, [False, False, True])

    def _pictures(self) -> list[Pictures]:
        """Images whose signed copy fails: what a reader would want to look at."""
        images = self.run.images().drop_duplicates("id").set_index("id")
        chosen = self.failed[self.failed["id"].isin(images.index)]
        if chosen.empty:
            return []
        more = f" ({MOST_PICTURES} of {len(chosen):,})" if len(chosen) > MOST_PICTURES else ""
        shown = chosen.head(MOST_PICTURES)
        captions = [f"{r['why']}: {images.loc[r['id'], 'prompt']}" for _, r in shown.iterrows()]
        return [Pictures(f"Images of the run whose signed copy does not verify{more}", list(shown["id"]), captions)]


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _share(row: Any) -> str:
    return f"{percent(row['estimate'], 1)} {interval(row['ci_low'], row['ci_high'], 1)}".rstrip()


def _cell(row: Any) -> str:
    return _share(row) if math.isfinite(row["estimate"]) else str(row["status"])
