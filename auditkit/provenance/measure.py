"""The measure `provenance`: what share of a run's images has a signed copy, and does each copy verify today?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from auditkit.bias.base import Mask, Options, Row, adjust, table, without_estimate
from auditkit.bias.counted import Layout
from auditkit.errors import AuditkitError, TableError
from auditkit.provenance import trust
from auditkit.provenance.containers import find, strip
from auditkit.provenance.inspection import read_file
from auditkit.provenance.run_signing import FOLDER
from auditkit.provenance.sentences import NAMES
from auditkit.provenance.signing import sha256

if TYPE_CHECKING:
    from auditkit.provenance.verdict import Signer
    from auditkit.runs import Run

VERSION = 1
ATTRIBUTE = "c2pa"
HOLDS = ("trusted", "valid-untrusted")
"""Verdicts under which the signature fits and neither image nor manifest was changed."""
NO_LISTS = "no trust list is kept here, so that every signer is unknown (auditkit trust import NAME FILE)"
CHECKS = [
    "id", "verdict", "holds", "trusted", "why", "signer", "issuer", "valid_from", "valid_to", "development",
]  # fmt: skip


class Provenance:
    """Rows `provenance.signed`, `.verified` and `.trusted`; the attribute is c2pa, for every image of the run."""

    name = "provenance"
    version = VERSION
    title = "Signed copies, and whether they verify today, by group"

    def applies(self, run: Run, options: Options) -> str:
        signed = run.provenance()
        return f"none of its images is signed: auditkit sign {run.id}" if signed is None or signed.empty else ""

    def measure(self, run: Run, options: Options) -> pd.DataFrame:
        """By group, as the trust lists and certificates are today.

        `provenance.signed` is the share of images of which the run records a signed copy. Among those, `.verified` is
        the share whose copy verifies now (see `check_run`), and `.trusted` the share that verifies and whose signer is
        in a trust list; without any list it is not told. All have Clopper and Pearson's interval on the effective
        number of images. Where a certificate runs out, `.verified` says when in its note.

        Raises:
            TableError: none of the images is signed, or there is no such axis.
        """
        if self.applies(run, options):
            raise TableError("none of the images is signed", where=run.path, mend=f"auditkit sign {run.path}")
        return measured(run, options, check_run(run))


provenance = Provenance()


def measured(run: Run, options: Options, checks: pd.DataFrame) -> pd.DataFrame:
    """The measure's rows, from the copies as `check_run` found them."""
    layout = Layout.read(run, options)
    ordered = checks.set_index("id").reindex(layout.images["id"])
    return table(adjust(_Study(layout, ordered, bool(trust.lists()), max(options.min_n, 2)).rows()))


def check_run(run: Run, *, anchors: str | None = None) -> pd.DataFrame:
    """Verify the signed copies of a run's images as they lie there now; a row for each image that the run records.

    A copy holds where its manifest verifies, the image without it is, byte for byte, the run's own, and the signer is
    the one that the run names.

    Args:
        anchors: trust anchors, PEM; None takes the trust lists in force.

    Returns:
        Columns `CHECKS`: `verdict` as `inspect` gives it ('' where there is no copy), `holds`, `trusted`, and `why` a
        copy does not hold, in words. No copy raises, whatever it holds.

    Raises:
        TrustError: a trust list is damaged. TableError: the run's table is.
    """
    signed = run.provenance()
    rows = [] if signed is None else signed.to_dict("records")
    held = trust.anchors() if anchors is None else anchors
    return pd.DataFrame([_check(run.path, row, held) for row in rows], columns=CHECKS)


def _check(folder: Path, row: dict[Any, Any], anchors: str) -> dict[str, Any]:
    from auditkit.provenance.reading import read
    from auditkit.provenance.verdict import judge

    made: dict[str, Any] = dict.fromkeys(CHECKS, "")
    made |= {"id": row["id"], "holds": False, "trusted": False, "development": False}
    path = _copy_path(folder, row["path"])
    if path is None:
        return made | {"why": f"The copy that the run names lies outside its folder {FOLDER}"}
    try:
        data = read_file(path)
    except AuditkitError as error:
        missing = not path.exists()
        return made | {"why": "The signed copy is missing" if missing else f"The signed copy: {error.what}"}
    verdict = judge(read(data, anchors=anchors))
    made |= {"verdict": verdict.verdict} | (_signer(verdict.signer) if verdict.signer is not None else {})
    if verdict.verdict not in HOLDS:
        return made | {"why": NAMES[verdict.verdict]}
    if sha256(strip(data)) != row["id"]:
        return made | {"why": "The signed copy is not of this image"}
    if sha256(data) != row["sha256"] and _certificate(data, verdict.label) != row["certificate_sha256"]:
        return made | {"why": "Signed by somebody else than the run says"}
    return made | {"holds": True, "trusted": verdict.verdict == "trusted"}


def _signer(signer: Signer) -> dict[str, Any]:
    return {
        "signer": signer.name,
        "issuer": signer.issuer,
        "valid_from": signer.valid_from,
        "valid_to": signer.valid_to,
        "development": signer.development,
    }


def _certificate(data: bytes, label: str) -> str:
    """sha256 of the signing certificate in a file; '' where it cannot be read."""
    from auditkit.provenance.certificates import fingerprint
    from auditkit.provenance.jumbf import signing_chain

    found = find(data)
    chain = signing_chain(found.store, label) if found is not None else []
    return fingerprint(chain[0]) if chain else ""


def _copy_path(folder: Path, told: str) -> Path | None:
    """The signed copy; None where the table leads out of the run's folder of signed copies, as a forged one may."""
    parts = PurePosixPath(told).parts
    if not parts or parts[0] != FOLDER or ".." in parts:
        return None
    path = folder.joinpath(*parts)
    return path if path.resolve().is_relative_to((folder / FOLDER).resolve()) else None


@dataclass
class _Study:
    """The checks in the order of the images table; NaN where an image was not signed."""

    layout: Layout
    checks: pd.DataFrame
    lists: bool
    least: int

    def rows(self) -> list[Row]:
        signed = self.checks["holds"].notna().to_numpy(bool)
        everybody = np.ones(len(signed), bool)
        rows = self._shares("signed", signed, everybody)
        rows += self._shares("verified", self._yes("holds"), signed, note=self._expiry())
        if self.lists:
            return rows + self._shares("trusted", self._yes("trusted"), signed)
        untold = self._shares("trusted", self._yes("trusted"), signed)
        return rows + [without_estimate(row, "insufficient", NO_LISTS) | {"ci_method": ""} for row in untold]

    def _yes(self, column: str) -> Mask:
        return (self.checks[column] == True).to_numpy(bool)  # noqa: E712 (NaN is no)

    def _shares(self, statistic: str, yes: Mask, among: Mask, note: str = "") -> list[Row]:
        rows = []
        for part, share in self.layout.shares(yes, among=among, exact=True).items():
            row = self.layout.row(
                f"provenance.{statistic}", part, chosen=self.layout.parts[part] & among, version=VERSION,
                attribute=ATTRIBUTE, direction="higher is closer", note=note,
            )  # fmt: skip
            rows.append(share.fill(row, self.least))
        return rows

    def _expiry(self) -> str:
        """When the certificate runs out that runs out first."""
        told = sorted({str(each)[:10] for each in self.checks["valid_to"].dropna() if each})
        return f"the signing certificate is valid until {told[0]}" if told else ""
