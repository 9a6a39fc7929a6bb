"""The measure `watermark`: in what share of a run's images was a mark verified, by group, and was it the right one?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from auditkit.bias.base import Mask, Options, Row, adjust, table, without_estimate
from auditkit.bias.counted import Layout
from auditkit.errors import TableError

if TYPE_CHECKING:
    from auditkit.runs import Run

VERSION = 1
VERDICTS = ("present", "abstain", "absent")


class Watermark:
    """Rows `watermark.present`, `.abstained`, `.payload`, `.bit_accuracy`; attribute: the scheme, category: the key."""

    name = "watermark"
    version = VERSION
    title = "Watermarks verified, by group"

    def applies(self, run: Run, options: Options) -> str:
        if run.watermarks() is None:
            return f"no watermark has been looked for: auditkit watermark detect {run.id}"
        return ""

    def measure(self, run: Run, options: Options) -> pd.DataFrame:
        """By group, scheme and key, over the images that were looked at.

        `watermark.present` is the share verified and `.abstained` the share without a verdict, both with Clopper and
        Pearson's interval on the effective number of images. `null_value` of the first is the false positive rate
        asked for: what the share would be in images without the mark. In a run that was not marked with this scheme
        and key the share verified *is* the false positive rate; see `marked_with`. `.payload` is the share with the
        payload that run.json names, where it names one. `.bit_accuracy` is the mean share of the word's bits that
        agree with the payload read, over the images in which one was read.

        Raises:
            TableError: no watermark has been looked for, or there is no such axis.
        """
        found = run.watermarks()
        if found is None:
            raise TableError(
                "no watermark has been looked for", where=run.path, mend=f"auditkit watermark detect {run.path}"
            )
        layout = Layout.read(run, options)
        rows: list[Row] = []
        for (scheme, key_id), part in found.groupby(["scheme", "key_id"], sort=False):
            rows += _Study.read(layout, str(scheme), str(key_id), part, options).rows()
        return table(adjust(rows, family=("measure", "attribute", "category", "group_by")))


watermark = Watermark()


def marked_with(run: Run, scheme: str, key_id: str) -> bool:
    """Whether run.json says that the images were marked so when they were made."""
    record = run.record.get("watermark") or {}
    return (record.get("scheme"), record.get("key_id")) == (scheme, key_id)


@dataclass
class _Study:
    """The verdicts of one scheme and key, in the order of the images table."""

    layout: Layout
    scheme: str
    key_id: str
    found: pd.DataFrame
    looked: Mask
    least: int

    @classmethod
    def read(cls, layout: Layout, scheme: str, key_id: str, part: pd.DataFrame, options: Options) -> _Study:
        found = part.set_index("id").reindex(layout.images["id"]).reset_index()
        return cls(layout, scheme, key_id, found, found["verdict"].notna().to_numpy(bool), max(options.min_n, 2))

    def rows(self) -> list[Row]:
        fpr = self.found["fpr"].max()
        chance = {"null_value": float(fpr), "reference": "images without this mark"}
        rows = self._shares("present", self.found["verdict"] == "present", direction="higher is closer", **chance)
        rows += self._shares("abstained", self.found["verdict"] == "abstain", direction="lower is closer")
        if payload := self._expected():
            hits = self.found["payload"] == payload
            rows += self._shares("payload", hits, direction="higher is closer", reference=f"payload {payload}")
        return rows + self._bits()

    def _expected(self) -> str:
        run = self.layout.run
        return str(run.record["watermark"].get("payload") or "") if marked_with(run, self.scheme, self.key_id) else ""

    def _row(self, statistic: str, part: tuple[str, str], chosen: Mask, **more: Any) -> Row:
        common: Row = {"version": VERSION, "attribute": self.scheme, "category": self.key_id}
        return self.layout.row(f"watermark.{statistic}", part, chosen=chosen, **common, **more)

    def _shares(self, statistic: str, hits: pd.Series, **more: Any) -> list[Row]:
        yes = hits.fillna(False).to_numpy(bool)
        shares = self.layout.shares(yes, among=self.looked, exact=True)
        rows = []
        for part, share in shares.items():
            chosen = self.layout.parts[part]
            row = self._row(statistic, part, chosen & self.looked, **more)
            unseen = int((chosen & ~self.looked).sum())
            row["note"] = f"{unseen} images were not looked at" if unseen else ""
            rows.append(share.fill(row, self.least))
        return rows

    def _bits(self) -> list[Row]:
        """Agreement where a payload was read: it says how near to failing the marks are that were found."""
        bits = self.found["bits"].to_numpy(float, na_value=np.nan)
        read = self.looked & (bits > 0)
        if not read.any():
            return []
        matched = self.found["matched"].to_numpy(float, na_value=np.nan)
        agree = np.divide(matched, bits, out=np.full(len(bits), np.nan), where=read)
        rows = []
        for part, chosen in self.layout.parts.items():
            row = self._row("bit_accuracy", part, chosen & read, direction="higher is closer", unit="share of bits")
            n = int((chosen & read).sum())
            if n < self.least:
                why = f"a payload was read in {n} images; {self.least} are needed"
                rows.append(without_estimate(row, "insufficient", why))
            else:
                row = self.layout.fill_mean(row, part, agree, self.least)
                if row["ci_low"] == row["ci_high"]:  # a spread of 0 is no certainty
                    note = "the same in every image, so that there is no interval"
                    row |= {"ci_low": np.nan, "ci_high": np.nan, "ci_method": "", "note": note}
                low, high = np.clip([row["ci_low"], row["ci_high"]], 0.0, 1.0)
                rows.append(row | {"ci_low": float(low), "ci_high": float(high)})
        return rows
