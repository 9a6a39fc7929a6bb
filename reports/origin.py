"""Where a run comes from and how it was looked at: the report's facts, methods and reproduction parts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from auditkit.clip.calibration import Calibration, load_calibration
from auditkit.errors import AuditkitError, RunError
from auditkit.files import sha256_file
from auditkit.runs import changed_since

if TYPE_CHECKING:
    from auditkit.runs import Run


@dataclass(frozen=True)
class Confusion:
    """A calibration as the report shows it: in each column, where the images of one true class went."""

    attribute: str
    classes: list[str]
    outcomes: list[str]
    shares: list[list[float]]
    """[outcome][true class], each column summing to 1."""
    images: list[int]
    """Calibration images of each true class."""
    sources: list[int]
    """Distinct pictures that those images were made from: the sample size that counts."""
    source: str
    threshold: float


@dataclass(frozen=True)
class Origin:
    """The facts of a run, ready to print: a value that is not known is left out."""

    facts: dict[str, str]
    encoders: dict[str, str]
    """Scorer -> encoder."""
    confusions: list[Confusion]
    in_domain: float | None
    """Share of images that lie within the calibration's domain; None where no scorer judged it."""
    commands: list[str]
    passed: str
    resolved: str
    versions: dict[str, str]
    weights: dict[str, str]
    seal: str
    """sha256 of the run's SEAL; empty where it is not sealed."""
    unlike_seal: list[str]
    """Tables and records that were changed or added since it was sealed; SEAL itself where it is damaged."""


def origin(run: Run, measurements: pd.DataFrame, *, by: str, target: str) -> Origin:
    """Read the run's record, scores and calibrations."""
    record = run.record
    used = measured_encoder(run, measurements)
    scores = {key: table for key, table in run.scores().items() if key.endswith(f"@{used}")}
    generator = record.get("generator") or {}
    images = run.images()
    encoders = {str(t["scorer"].iloc[0]): str(t["encoder"].iloc[0]) for t in scores.values() if len(t)}
    shares = measurements["measure"] == "representation.share"
    attributes = list(dict.fromkeys(measurements.loc[shares, "attribute"]))
    # Only what was corrected by its confusion matrix is shown with it; occupation serves as a check alone.
    rows = measurements["measure"] == "representation.corrected"
    corrected = set("+".join(measurements.loc[rows, "attribute"]).split("+"))
    found = {name: _calibration(encoder, name) for name, encoder in encoders.items() if name in corrected}
    judged = [table["in_domain"].dropna() for table in scores.values() if "in_domain" in table]
    judged = [flags for flags in judged if len(flags)]
    spec = record.get("spec") or {}
    facts = {
        "Generator": _generator(generator),
        "Images": f"{len(images):,} ({_size(images)})",
        "Prompts": f"{images['prompt_id'].nunique():,}",
        "Date": _date(record.get("created")),
        "Specification": str(run.spec.name) if run.spec else "",
        "Encoder": ", ".join(dict.fromkeys(encoders.values())),
        "Sampling": _sampling(images),
        "Run": run.id,
    }
    return Origin(
        facts={key: value for key, value in facts.items() if value},
        encoders=encoders,
        confusions=[_confusion(c) for c in found.values() if c is not None],
        in_domain=float(pd.concat(judged).astype(float).mean()) if judged else None,
        commands=_commands(run, by=by, target=target, encoders=encoders, attributes=attributes),
        passed=to_toml(spec.get("as_passed") or {}),
        resolved=to_toml(spec.get("resolved") or {}),
        versions=_versions(record),
        weights={str(k): str(v) for k, v in (generator.get("weights") or {}).items()},
        seal=_seal(run),
        unlike_seal=_unlike_seal(run),
    )


def measured_encoder(run: Run, measurements: pd.DataFrame) -> str:
    """The encoder whose scores give the measured shares; a run may hold scores of several.

    Rows say it themselves; those of auditkit 0.1.0 did not, and there it is inferred from the shares.
    """
    shares = measurements["measure"].str.startswith("representation.")
    said = list(measurements.loc[shares, "encoder"].dropna().unique()) if "encoder" in measurements else []
    if said and said[0]:
        return str(said[0])
    tables = run.scores()
    encoders = list(dict.fromkeys(key.rpartition("@")[2] for key in tables))
    rows = measurements[(measurements["measure"] == "representation.share") & (measurements["group"] == "all")]
    for encoder in encoders if len(encoders) > 1 else ():
        agreed = []
        for attribute in rows["attribute"].unique():
            part = rows[(rows["attribute"] == attribute) & rows["estimate"].notna()]
            if (table := tables.get(f"{attribute}@{encoder}")) is not None:
                labels = run.images()["id"].map(table.set_index("id")["label"])
                shares = part["category"].map(labels.value_counts(normalize=True)).fillna(0)
                agreed.append(bool(np.allclose(shares, part["estimate"], atol=1e-6)))
        if agreed and all(agreed):
            return encoder
    return encoders[0] if encoders else ""


def _calibration(encoder: str, attribute: str) -> Calibration | None:
    """None too where the calibration is not this encoder's: the measure did without it then."""
    try:
        return load_calibration(encoder, attribute)
    except AuditkitError:
        return None


def to_toml(data: dict[str, Any]) -> str:
    """A spec as TOML: plain values first, then tables; null values are left out."""
    plain = {key: value for key, value in data.items() if not isinstance(value, dict)}
    lines = [f"{_key(key)} = {_value(value)}" for key, value in plain.items() if value is not None]
    for key, table in data.items():
        if isinstance(table, dict) and table:
            lines += ["", f"[{_key(key)}]"]
            lines += [f"{_key(k)} = {_value(v)}" for k, v in table.items() if v is not None]
    return "\n".join(lines)


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        inline = "[" + ", ".join(_value(one) for one in value) + "]"
        return inline if len(inline) < 80 else "[\n" + "".join(f"    {_value(one)},\n" for one in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)  # TOML's strings, numbers and booleans are JSON's


def _generator(info: dict[str, Any]) -> str:
    kind = str(info.get("kind") or "")
    return str(info.get("name") or "") + (f" ({kind})" if kind else "")


def _size(images: pd.DataFrame) -> str:
    sizes = images[["width", "height"]].drop_duplicates()
    return f"{int(sizes['width'].iloc[0])} × {int(sizes['height'].iloc[0])} px" if len(sizes) == 1 else "several sizes"


def _date(text: Any) -> str:
    try:
        return f"{datetime.fromisoformat(str(text)):%-d %B %Y}"
    except ValueError:
        return str(text or "")


def _sampling(images: pd.DataFrame) -> str:
    parts = []
    for column, words in (("sampler", "{}"), ("steps", "{:.0f} steps"), ("guidance", "guidance {:g}")):
        values = images[column].dropna().unique()
        if len(values) == 1:
            parts.append(words.format(values[0]))
    return ", ".join(parts)


def _confusion(calibration: Calibration) -> Confusion:
    return Confusion(
        attribute=calibration.attribute,
        classes=calibration.classes,
        outcomes=calibration.outcomes,
        shares=calibration.weights,
        images=[sum(column) for column in zip(*calibration.counts, strict=True)],
        sources=calibration.n_sources,
        source=calibration.source,
        threshold=calibration.threshold,
    )


def _versions(record: dict[str, Any]) -> dict[str, str]:
    """Versions that numbers depend on; what was not installed is left out."""
    code, machine = record.get("code") or {}, record.get("machine") or {}
    named = {
        "auditkit": code.get("version"),
        "revision": code.get("revision"),
        "python": machine.get("python"),
        **(record.get("packages") or {}),
        "platform": machine.get("platform"),
        "device": (record.get("generator") or {}).get("device"),
    }
    return {key: str(value) for key, value in named.items() if value}


def _commands(run: Run, *, by: str, target: str, encoders: dict[str, str], attributes: list[str]) -> list[str]:
    encoder = next(iter(encoders.values()), "personas-clip")
    named = "".join(f" -a {attribute}" for attribute in attributes if attribute in encoders or "+" in attribute)
    make = "auditkit generate spec.toml" if run.spec else "auditkit import FOLDER --prompts prompts.csv"
    grouped = "" if by == "all" else f" --by {by}"
    return [
        make,
        f"auditkit score {run.id} --encoder {encoder}",
        f"auditkit measure {run.id}{grouped} --target {target} --encoder {encoder}{named}",
        f"auditkit report {run.id}",
    ]


def _unlike_seal(run: Run) -> list[str]:
    if not (run.path / "SEAL").is_file():
        return []
    try:
        return changed_since(run)
    except RunError:
        return ["SEAL"]


def _seal(run: Run) -> str:
    path = run.path / "SEAL"
    return sha256_file(path) if path.is_file() else ""
