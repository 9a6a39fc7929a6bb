"""What a run says for one field of a disclosure: a value with the place that it was read, or None.

A reader never fills in what the run does not hold. Each is named in disclosure.toml.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from auditkit.energy import HOW, JOULES_PER_KWH, Amount
from auditkit.schemas import SCHEMA_VERSION

if TYPE_CHECKING:
    import pandas as pd

    from auditkit.runs import Run

RUN = "run.json"


@dataclass(frozen=True)
class Found:
    """A value, exactly where it was read, and what must be known to read it rightly."""

    value: str
    source: str
    note: str = ""


class Facts:
    """A run, as readers look at it: what is missing or of another kind is empty."""

    def __init__(self, run: Run):
        self.run = run
        self.record = run.record

    def part(self, name: str) -> dict[str, Any]:
        """A table of run.json."""
        found = self.record.get(name)
        return found if isinstance(found, dict) else {}

    @property
    def generator(self) -> dict[str, Any]:
        return self.part("generator")

    @property
    def details(self) -> dict[str, Any]:
        found = self.generator.get("details")
        return found if isinstance(found, dict) else {}

    @property
    def made_here(self) -> bool:
        """Whether the record says what generator made the images; of imported ones nobody knows."""
        return bool(self.generator.get("name")) and self.generator.get("kind") != "import"

    @cached_property
    def images(self) -> int:
        """Different images; 0 where the run is not complete."""
        return int(self.run.images()["id"].nunique()) if self.run.complete else 0

    @cached_property
    def verdicts(self) -> pd.DataFrame | None:
        """Verdicts on the watermark that run.json says was put in; where it says of none, on the one found most often.

        A generator may mark its images by itself, which the record of a run does not know.
        """
        mark, found = self.part("watermark"), self.run.watermarks()
        if found is None:
            return None
        if mark:
            own = found[(found["scheme"] == mark.get("scheme")) & (found["key_id"] == mark.get("key_id"))]
            return own if len(own) else None
        present = found[found["verdict"] == "present"].groupby(["scheme", "key_id"]).size()
        if present.empty:
            return None
        best: Any = present.idxmax()
        return found[(found["scheme"] == best[0]) & (found["key_id"] == best[1])]


READERS: dict[str, Callable[[Facts], Found | None]] = {}


def reader(function: Callable[[Facts], Found | None]) -> Callable[[Facts], Found | None]:
    """Enter a reader under its name."""
    READERS[function.__name__] = function
    return function


@reader
def marking(facts: Facts) -> Found | None:
    parts, sources = [], []
    if scheme := facts.part("watermark").get("scheme"):
        parts.append(f"a watermark in the pixels ({scheme})")
        sources.append(f"{RUN}: watermark.scheme")
    elif facts.verdicts is not None:
        parts.append(f"a watermark in the pixels ({facts.verdicts['scheme'].iloc[0]}), found by looking for it")
        sources.append("watermarks.parquet: verdict")
    if facts.part("signing"):
        parts.append("signed metadata (C2PA)")
        sources.append(f"{RUN}: signing")
    return Found(" and ".join(parts), "; ".join(sources)) if parts else None


@reader
def detected(facts: Facts) -> Found | None:
    own = facts.verdicts
    if own is None:
        return None
    n, present = len(own), int((own["verdict"] == "present").sum())
    unsure = int((own["verdict"] == "abstain").sum())
    value = f"{own['scheme'].iloc[0]}: verified in {present} of {n} images looked at ({_percent(present, n)})"
    value += f"; too weak to tell in {unsure}" if unsure else ""
    note = f"{facts.images - n} images were not looked at." if facts.images > n else ""
    return Found(value, "watermarks.parquet: verdict", note)


@reader
def false_positives(facts: Facts) -> Found | None:
    own = facts.verdicts
    if own is None:
        return None
    rates = sorted(own["fpr"].unique())
    value = f"in at most {' or '.join(f'{rate:g}' for rate in rates)} of unmarked images, by the threshold asked for"
    return Found(value, "watermarks.parquet: fpr", "This is the rate that was set, not one that was measured here.")


@reader
def standard(facts: Facts) -> Found | None:
    if not facts.part("signing"):
        return None
    note = "The watermark itself has no open standard: it is read with its key."
    return Found("C2PA manifests", f"{RUN}: signing", note if facts.part("watermark") else "")


@reader
def signed(facts: Facts) -> Found | None:
    given = facts.part("signing")
    if not given.get("signer"):
        return None
    parts = [str(given["signer"])]
    parts += [f"certificate issued by {given['issuer']}"] if given.get("issuer") else []
    parts += [str(given["algorithm"])] if given.get("algorithm") else []
    parts += [f"certificate sha256 {given['certificate_sha256']}"] if given.get("certificate_sha256") else []
    files = _files(facts, "signed")
    counted = f"{given['images']} images recorded" if given.get("images") is not None else "images not counted"
    notes = [f"{counted}, {files} files in signed/." if files is not None else f"{counted}."]
    if given.get("trust") == "development":
        notes.append("A development certificate: nobody else trusts it, and it proves nothing to others.")
    source = f"{RUN}: signing" + ("; signed/" if files is not None else "")
    return Found("; ".join(parts), source, " ".join(notes))


@reader
def time_stamped(facts: Facts) -> Found | None:
    given = facts.part("signing")
    if not isinstance(given.get("timestamped"), bool):
        return None
    if not given["timestamped"]:
        note = "Without a time stamp, a signature fails when its certificate expires."
        return Found("no", f"{RUN}: signing.timestamped", note)
    by = f", by {given['tsa']}" if given.get("tsa") else ""
    return Found(f"yes{by}", f"{RUN}: signing.timestamped" + ("; signing.tsa" if by else ""))


@reader
def source_type(facts: Facts) -> Found | None:
    return _plain(facts.part("signing").get("digital_source_type"), f"{RUN}: signing.digital_source_type")


@reader
def watermark(facts: Facts) -> Found | None:
    mark = facts.part("watermark")
    if not mark.get("scheme"):
        return None
    names = {"scheme_version": "version", "payload": "payload", "key_id": "key"}
    more = [f"{name} {mark[key]}" for key, name in names.items() if mark.get(key)]
    return Found(", ".join([str(mark["scheme"]), *more]), f"{RUN}: watermark")


@reader
def logged(facts: Facts) -> Found | None:
    if not facts.images:
        return None
    note = "An exact hash: it no longer matches after any change. It is no perceptual fingerprint."
    return Found(f"the sha256 of each of {facts.images:,} images", "images.parquet: id", note)


@reader
def provenance(facts: Facts) -> Found | None:
    if not facts.made_here or not facts.images:
        return None
    return Found(
        "prompt, seed, sampler, steps and guidance of each image, and the weights by hash",
        f"images.parquet; {RUN}: generator.weights",
        "Kept with the run; the images themselves do not carry it unless they are signed with it.",
    )


@reader
def architecture(facts: Facts) -> Found | None:
    pipeline = facts.details.get("pipeline")
    if not facts.made_here or not (kind := facts.generator.get("kind")):
        return None
    if pipeline:
        return Found(f"{kind} ({pipeline})", f"{RUN}: generator.kind; generator.details.pipeline")
    return Found(str(kind), f"{RUN}: generator.kind")


@reader
def parameters(facts: Facts) -> Found | None:
    each = facts.details.get("parameters")
    if not isinstance(each, dict) or not each:
        return None
    parts = ", ".join(f"{name} {count:,}" for name, count in each.items())
    return Found(f"{sum(each.values()):,} ({parts})", f"{RUN}: generator.details.parameters")


@reader
def modality(facts: Facts) -> Found | None:
    resolution = facts.generator.get("resolution")
    if not facts.made_here or not resolution:
        return None
    return Found(
        f"text prompts in; RGB images of {resolution} × {resolution} pixels out, kept as PNG",
        f"{RUN}: generator.resolution; images/",
    )


@reader
def licence(facts: Facts) -> Found | None:
    for key in ("licence", "license"):
        for where, part in (("generator", facts.generator), ("generator.details", facts.details)):
            if part.get(key):
                return Found(str(part[key]), f"{RUN}: {where}.{key}")
    return None


@reader
def software(facts: Facts) -> Found | None:
    installed = {name: version for name, version in facts.part("packages").items() if version}
    if not facts.made_here or not installed:
        return None
    value = ", ".join(f"{name} {version}" for name, version in installed.items())
    note = "The software that this run was made with; instructions for use are not recorded."
    return Found(value, f"{RUN}: packages", note)


@reader
def training_energy(facts: Facts) -> Found | None:
    """What the generator's model card says; never what the run took, which is inference."""
    told = facts.details.get("training_kilojoules")
    if not facts.made_here or isinstance(told, bool) or not isinstance(told, int | float):
        return None
    if not (math.isfinite(told) and told >= 0):
        return None
    kwh = _digits(told * 1000 / JOULES_PER_KWH)
    return Found(
        f"{_digits(told)} kJ ({kwh} kWh), accelerator only, by the model card",
        f"{RUN}: generator.details.training_kilojoules",
        "Of the trainings that the card lists, as its authors metered them; nothing of it was measured here. "
        "Processor, memory and PUE are not in it.",
    )


@reader
def inference_energy(facts: Facts) -> Found | None:
    """What making the run took at the device; None where no meter or estimate told, or the record is damaged."""
    energy = facts.part("energy")
    try:
        images, metered = int(energy["images"]), int(energy["images_metered"])
        if energy["joules"] is None or not 0 <= metered <= images or not images:
            return None
        method = HOW[energy["method"]]
        value = f"{_energy(Amount(**energy['joules']))} at the device, {method}, to make "
        value += f"{metered:,} of {images:,} images ({_percent(metered, images)} metered)"
        if energy["joules_per_image"]:
            value += f"; {_energy(Amount(**energy['joules_per_image']))} an image"
        parts = "; ".join(f"{part['part']}: {HOW[part['method']]} ({part['how']})" for part in energy["parts"])
        if facility := energy["facility_kwh"]:
            drawn = _energy(Amount(**facility).scaled(JOULES_PER_KWH))
            value += f"; {drawn} for the facility, at a PUE of {_span(energy['site']['pue'])}"
        if carbon := energy["kg_co2e"]:
            value += f"; {_bounded(Amount(**carbon), 'kg CO2e')}, at {_span(energy['site']['grid_intensity'])} g/kWh"
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    notes = ["Brackets are bounds on what meter or estimate can be wrong by.", f"By part: {parts}."]
    if metered < images:
        notes.append(f"The energy of the other {images - metered:,} images is not known and not in it.")
    if not facility:
        notes.append("The PUE was not given.")
    if not carbon:
        notes.append("No carbon is claimed.")
    return Found(value, f"{RUN}: energy", " ".join(notes))


@reader
def attribute(facts: Facts) -> Found | None:
    return Found("1 (is AI-generated)", f"{RUN}: generator.kind") if facts.made_here else None


@reader
def content_number(facts: Facts) -> Found | None:
    if not facts.images:
        return None
    return Found("each image's id: the sha256 of its PNG file", "images.parquet: id")


@reader
def system(facts: Facts) -> Found | None:
    return _plain(facts.generator.get("name"), f"{RUN}: generator.name") if facts.made_here else None


@reader
def version(facts: Facts) -> Found | None:
    if facts.generator.get("version"):
        return Found(str(facts.generator["version"]), f"{RUN}: generator.version")
    weights = facts.generator.get("weights")
    if not isinstance(weights, dict) or not weights:
        return None
    value = "; ".join(f"{file} {digest}" for file, digest in weights.items())
    note = "No version number is recorded; the sha256 of the weights identifies the version."
    return Found(value, f"{RUN}: generator.weights", note)


@reader
def created(facts: Facts) -> Found | None:
    if not facts.made_here or not facts.record.get("created"):
        return None
    return Found(
        str(facts.record["created"]), f"{RUN}: created", "When the run was begun; no time is kept for each image."
    )


def about(facts: Facts) -> dict[str, str]:
    """The facts that head the page."""
    seconds, n = facts.record.get("seconds"), facts.images
    timed = f"{seconds:,.1f} s for all images" if isinstance(seconds, (int, float)) else "not recorded"
    return {
        "Run": facts.run.id,
        "Generator": str(facts.generator.get("name") or "unknown"),
        "Made": str(facts.record.get("created") or "unknown").replace("T", " ").replace("+00:00", " UTC"),
        "Images": f"{n:,}" if n else "none yet",
        "Inference time": timed,
        "Record": f"{RUN}, version {facts.record.get('schema_version', SCHEMA_VERSION)}",
    }


def _plain(value: Any, source: str) -> Found | None:
    return Found(str(value), source) if value else None


def _files(facts: Facts, folder: str) -> int | None:
    path = facts.run.path / folder
    return sum(1 for one in path.rglob("*") if one.is_file()) if path.is_dir() else None


def _energy(amount: Amount) -> str:
    """In J, from a megajoule on in kWh."""
    if amount.value < 1e6:
        return _bounded(amount, "J")
    return _bounded(amount.scaled(1 / JOULES_PER_KWH), "kWh")


def _bounded(amount: Amount, unit: str) -> str:
    return f"{_digits(amount.value)} {unit} [{_digits(amount.low)}, {_digits(amount.high)}]"


def _span(given: dict[str, float]) -> str:
    low, high = f"{given['low']:g}", f"{given['high']:g}"
    return low if low == high else f"{low} to {high}"


def _digits(value: float) -> str:
    """Three significant digits."""
    return f"{float(f'{value:.3g}'):,.12g}"


def _percent(count: int, n: int) -> str:
    share = 100 * count / n
    # Never 100% for less than all, nor 0% for more than none.
    return f"{share:.0f}%" if count in (0, n) or 1 <= share < 99 else f"{share:.2f}%"
