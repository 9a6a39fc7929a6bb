"""The plan document: what will be made and how it will be judged, with a sha256 that does not hang on its layout."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from auditkit.errors import RunError, SpecError
from auditkit.files import write_atomic
from auditkit.spec import RunSpec

if TYPE_CHECKING:
    from auditkit.runs import Run

_WRITE = "write one: auditkit plan SUITE --out plan.toml"

_STRICT = ConfigDict(extra="forbid", frozen=True)


class Analysis(BaseModel):
    """How the images will be judged: the arguments of `auditkit measure`, and which rows decide."""

    model_config = _STRICT

    by: str
    """The axis that groups the images, or `all`."""
    attributes: list[str] = Field(min_length=1)
    """Perceived attributes; joint ones with a plus."""
    encoder: str
    """Whose scores count."""
    target: str = "uniform"
    """What shares are held against."""
    target_sha256: str | None = None
    """Of the target's file, where it is one."""
    estimator: str = "adjusted-count"
    """How shares are corrected for the scorer's errors."""
    measures: list[str] = Field(default=["representation"], min_length=1)
    """Measures that were asked for beforehand; all others explore."""
    primary: list[str] = Field(default=["representation.corrected"], min_length=1)
    """The rows on which the verdict rests, by their `measure`."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    """Error rate of each family of tests: a primary measure and an attribute."""
    multiplicity: Literal["holm", "bh"] = "holm"
    """Adjustment over a family: p_holm or p_bh."""
    min_n: int = Field(default=20, ge=1)
    """Fewest images for a verdict on a group."""
    replicates: int = Field(default=2000, ge=1)
    """Of bootstraps, permutations and simulated audits."""
    seed: int = Field(default=0, ge=0)
    """Of the analysis' random draws."""


class Sequential(BaseModel):
    """Looks at the run before it is whole."""

    model_config = _STRICT

    looks: list[int] = Field(min_length=2)
    """Images of each prompt at each look; the last is all of them."""
    spending: Literal["obrien-fleming", "pocock"] = "obrien-fleming"
    """How alpha is spent, see `auditkit.stats.sequential`."""
    stop: Literal["all", "any"] = "all"
    """Stop when every primary test has crossed its boundary, or with the first."""

    @property
    def fractions(self) -> list[float]:
        """Information at each look, as images of the last: the least correlated looks could be, so that clustering
        and the calibration's error, which make them more alike, can only make the tests stricter."""
        return [each / self.looks[-1] for each in self.looks]


class Sizing(BaseModel):
    """Why so many images: what was assumed, and what the run can then tell apart."""

    model_config = _STRICT

    against: Literal["target", "run"] = "target"
    """Whether shares are held against a target or against those of a second run of the same size."""
    difference: float = Field(gt=0, lt=1)
    """The share's difference that must not be missed."""
    power: float = Field(default=0.8, gt=0, lt=1)
    """Probability of finding it."""
    icc: float = Field(default=0.05, ge=0, lt=1)
    """Assumed intraclass correlation of the images of one prompt."""
    unknown: float | None = None
    """Assumed share of images without a label, beyond those of the calibration."""
    detectable: dict[str, float] = Field(default_factory=dict)
    """By attribute: the least difference found with that power."""


class Plan(BaseModel):
    """Everything that is decided before the first image."""

    model_config = _STRICT

    version: Literal[1] = 1
    created: str
    """When, in UTC."""
    made_with: str = ""
    """Version of auditkit."""
    question: str = ""
    """The hypothesis, in the auditor's words."""
    analysis: Analysis
    sizing: Sizing | None = None
    sequential: Sequential | None = None
    spec: RunSpec
    """What will be generated."""

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if self.analysis.by != "all" and self.analysis.by not in self.spec.axes:
            axes = ", ".join([*self.spec.axes, "all"])
            raise ValueError(f"the spec has no axis '{self.analysis.by}'; it has: {axes}")
        for row in self.analysis.primary:
            if row.partition(".")[0] not in self.analysis.measures:
                raise ValueError(f"the primary outcome '{row}' is not of a planned measure")
        if self.sequential:
            looks = self.sequential.looks
            if looks[0] < 1 or any(a >= b for a, b in pairwise(looks)) or looks[-1] != self.spec.images_per_prompt:
                raise ValueError(
                    f"looks must rise to the {self.spec.images_per_prompt} images of each prompt, not {looks}"
                )
        return self

    def content(self) -> dict[str, Any]:
        """The plan as plain data, without what is left open."""
        return self.model_dump(mode="json", exclude_none=True)

    @property
    def sha256(self) -> str:
        """Of the content as JSON with sorted keys and no spaces: the same for every way of writing it."""
        return _digest(self.content())

    def record(self) -> dict[str, Any]:
        """What run.json keeps of it."""
        return {"sha256": self.sha256, "content": self.content()}

    def measuring(self) -> dict[str, Any]:
        """The arguments of `auditkit.measure` that the plan asks for."""
        return self.analysis.model_dump(exclude={"target_sha256", "primary", "alpha", "multiplicity"})


def save_plan(plan: Plan, path: str | Path) -> Path:
    """Write a plan as TOML, or as JSON where the name ends so.

    Raises:
        SpecError: the name ends otherwise, or there is a file already: a plan is not written over.
        RunError: it cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".toml", ".json"):
        raise SpecError("a plan is written as .toml or .json", where=path, mend="end the file's name in .toml")
    if path.exists():
        raise SpecError("there is a file of that name already", where=path, mend="choose another name, or delete it")
    whole = {"sha256": plan.sha256, **plan.content()}
    if path.suffix == ".json":
        text = json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
    else:
        text = f"# A plan of auditkit. To make its images: auditkit generate --plan {path.name}\n{to_toml(whole)}"
    write_atomic(path, text.encode())
    return path


def load_plan(path: str | Path) -> Plan:
    """Read a plan. To change one by hand, delete its line `sha256`.

    Raises:
        SpecError: the file is missing, no TOML or JSON, no plan, or was changed after its sha256 was written.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        raw = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (FileNotFoundError, IsADirectoryError):
        raise SpecError("there is no plan here", where=path, mend=_WRITE) from None
    except (OSError, ValueError, RecursionError) as error:  # TOML and JSON errors are ValueErrors
        raise SpecError(f"the plan cannot be read: {error}", where=path, mend="mend that line") from None
    if not isinstance(raw, dict):
        raise SpecError("the file is no plan", where=path, mend=_WRITE)
    stated = raw.pop("sha256", None)
    plan = _parse(raw, path)
    if stated is not None and stated != plan.sha256:
        raise SpecError(
            "the plan was changed after its sha256 was written",
            where=path,
            mend="restore it, or delete the line 'sha256' to take it as it stands now",
        )
    return plan


def planned(run: Run) -> Plan | None:
    """The plan that a run was made under; None where there was none.

    Raises:
        RunError: the plan in run.json is damaged, or is not the one that was hashed.
    """
    kept = run.record.get("plan")
    if kept is None:
        return None
    where, mend = run.path / "run.json", "restore run.json from a copy"
    if not isinstance(kept, dict) or not isinstance(kept.get("content"), dict):
        raise RunError("the run's plan is damaged", where=where, mend=mend)
    if _digest(kept["content"]) != kept.get("sha256"):
        raise RunError("the run's plan is not the one that was hashed before the first image", where=where, mend=mend)
    try:
        return _parse(kept["content"], where)
    except SpecError as error:
        raise RunError(f"the run's plan does not hold: {error.what}", where=where, mend=mend) from None


def _parse(raw: dict[str, Any], where: Path) -> Plan:
    try:
        return Plan.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        said = str(first["ctx"]["error"]) if first["type"] == "value_error" else first["msg"].lower()
        what = f"the plan's '{key}': {said}" if key else f"the plan does not hold: {said}"
        raise SpecError(what, where=where, mend="change it, and delete the line 'sha256' if there is one") from None


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def to_toml(table: dict[str, Any], path: str = "") -> str:
    """Plain data (strings, numbers, lists of them, tables) as TOML."""
    inner = {key: value for key, value in table.items() if isinstance(value, dict)}
    lines = [f"{_key(key)} = {_value(value)}\n" for key, value in table.items() if key not in inner]
    parts = ["".join(lines)]
    for key, value in inner.items():
        name = f"{path}{_key(key)}"
        parts.append(f"\n[{name}]\n{to_toml(value, name + '.')}")
    return "".join(parts)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, list):
        items = [_value(each) for each in value]
        short = f"[{', '.join(items)}]"
        return short if len(short) < 100 else "[\n" + "".join(f"  {item},\n" for item in items) + "]"
    # JSON's strings, numbers and booleans are TOML's, but for the one control character that JSON leaves be.
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")
