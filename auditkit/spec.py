"""RunSpec: what to generate, read from TOML. Shipped specs are suites (`auditkit/suites/*.toml`)."""

from __future__ import annotations

import math
import re
import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from auditkit.errors import SpecError
from auditkit.overrides import Override, check_overrides, did_you_mean
from auditkit.prompts import FIELD, Prompt, expand, fields

SUITES = Path(__file__).parent / "suites"
MAX_PROMPTS = 100_000


class RunSpec(BaseModel):
    """What a run generates: every template crossed with its axes, `images_per_prompt` times.

    Built in Python, a spec that does not hold raises pydantic's ValidationError; `from_toml` and
    `load_spec` raise SpecError with the file, the key and how to mend it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    """Short name, the first part of the run's id: lower case letters, digits, - and _."""
    description: str = ""
    """One or two sentences for people: what the suite is for."""
    generator: str = "personas"
    """A registered generator, `path:FOLDER` or `hf:NAME`."""
    templates: list[str] = Field(min_length=1)
    """Prompts with fields: `{occupation}`, or `{a occupation}` for 'an artist'."""
    axes: dict[str, list[str]] = Field(default_factory=dict)
    """The values that each field takes."""
    images_per_prompt: int = Field(ge=1, strict=True)
    """Images of each prompt, each from its own seed."""
    seed: int = Field(default=0, ge=0, strict=True)
    """The seed that every image's seed is derived from."""
    sampler: str | None = None
    """Name of the sampler; None is the generator's default, as it is for the next two."""
    steps: int | None = Field(default=None, ge=1, strict=True)
    """Denoising steps."""
    guidance: float | None = Field(default=None, ge=0, strict=True, allow_inf_nan=False)
    """Classifier-free guidance scale."""
    negative: str | None = None
    """Negative prompt."""
    by: str | None = None
    """The axis that an audit groups by; every template must name it."""
    overrides: list[Override] = Field(default_factory=list)
    """Other settings for some of the prompts; of two that fit a prompt the later one has its way."""

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        for template in self.templates:
            if not template:
                raise ValueError("a template is empty")
            if set("{}") & set(FIELD.sub("", template)):
                raise ValueError(
                    f"the template '{template}' has a brace that is not a field; write {{axis}} or {{a axis}}"
                )
            for axis in fields(template):
                if axis not in self.axes:
                    raise ValueError(
                        f"the template '{template}' names the axis '{axis}', which is not there"
                        + did_you_mean(axis, self.axes)
                    )
        _no_doubles(self.templates, "the template")
        used = {axis for template in self.templates for axis in fields(template)}
        for axis, values in self.axes.items():
            if not re.fullmatch(r"[a-z][a-z0-9_]*", axis):
                raise ValueError(f"the axis '{axis}' must be lower case letters, digits and _")
            if not values:
                raise ValueError(f"the axis '{axis}' has no values")
            if not all(values):
                raise ValueError(f"the axis '{axis}' has an empty value")
            _no_doubles(values, f"axis '{axis}': the value")
            if axis not in used:
                raise ValueError(f"no template uses the axis '{axis}'")
        if self.by is not None:
            if self.by not in self.axes:
                raise ValueError(f"by: there is no axis '{self.by}'" + did_you_mean(self.by, self.axes))
            for template in self.templates:
                if self.by not in fields(template):
                    raise ValueError(f"audits group by '{self.by}', but the template '{template}' does not name it")
        made = sum(math.prod(len(self.axes[axis]) for axis in fields(each)) for each in self.templates)
        if made > MAX_PROMPTS:
            raise ValueError(f"the spec makes {made:,} prompts, and {MAX_PROMPTS:,} is the most")
        prompts = expand(self)
        _no_doubles([prompt.text for prompt in prompts], "the prompt")
        check_overrides(self.overrides, prompts, self.templates, self.axes)
        return self

    @model_serializer(mode="wrap")
    def _plain(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without overrides where there are none, so that older specs keep the ids of their runs and plans."""
        plain: dict[str, Any] = handler(self)
        if not self.overrides:
            plain.pop("overrides", None)
        return plain

    def overridden(self, prompt: Prompt) -> dict[str, Any]:
        """What the overrides say of a prompt: some of sampler, steps, guidance, negative; mostly nothing."""
        said: dict[str, Any] = {}
        for override in self.overrides:
            if override.fits(prompt):
                said |= override.settings
        return said

    @property
    def as_passed(self) -> dict[str, Any]:
        """Only the keys that were given, without defaults."""
        return self.model_dump(exclude_unset=True)

    @classmethod
    def from_toml(cls, path: str | Path) -> RunSpec:
        """Read a spec from a TOML file.

        Raises:
            SpecError: the file is missing, is not TOML, or the spec in it does not hold.
        """
        path = Path(path)
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, IsADirectoryError):
            raise SpecError(
                "the spec file does not exist",
                where=path,
                mend="check the path, or name a suite: " + _listed(),
            ) from None
        except tomllib.TOMLDecodeError as error:
            raise SpecError(f"the spec is not valid TOML: {error}", where=path, mend="mend that line") from None
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(f"the spec cannot be read: {error}", where=path, mend="save it as UTF-8 text") from None
        return cls.from_dict(raw, where=path)

    @classmethod
    def from_dict(cls, raw: dict[str, Any], *, where: str | Path) -> RunSpec:
        """Make a spec of a plain dict; `where` names its source in errors.

        Raises:
            SpecError: the spec does not hold.
        """
        try:
            return cls(**raw)
        except ValidationError as error:
            raise _spec_error(error, where) from None


def suites() -> list[str]:
    """Names of the shipped suites."""
    return sorted(path.stem for path in SUITES.glob("*.toml"))


def load_spec(name_or_path: str | Path) -> RunSpec:
    """The suite of that name, or the spec in that `.toml` file.

    Raises:
        SpecError: there is no such suite or file, or the spec in it does not hold.
    """
    text = str(name_or_path)
    if text in suites():
        return RunSpec.from_toml(SUITES / f"{text}.toml")
    if isinstance(name_or_path, Path) or text.endswith(".toml") or Path(text).is_file():
        return RunSpec.from_toml(name_or_path)
    raise SpecError(
        f"there is no suite '{text}'" + did_you_mean(text, suites()),
        where="auditkit/suites",
        mend=f"use one of {_listed()}, or the path of a .toml file",
    )


def _spec_error(error: ValidationError, where: str | Path) -> SpecError:
    """The first thing wrong, in the user's words; a typo before the key that it leaves missing."""
    first = min(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = Override.model_fields if first["loc"][0] == "overrides" else RunSpec.model_fields
        what = f"the spec has an unknown key '{key}'" + did_you_mean(str(first["loc"][-1]), known)
        return SpecError(what, where=where, mend=f"use keys among: {', '.join(known)}")
    if first["type"] == "missing":
        return SpecError(f"the spec has no '{key}'", where=where, mend=f"add a line: {key} = ...")
    if first["type"] == "value_error":  # ours: already a sentence
        return SpecError(str(first["ctx"]["error"]), where=where, mend="change the spec and try again")
    given = repr(first["input"])
    what = f"'{key}' is {given if len(given) < 60 else given[:57] + '...'}: {first['msg'].lower()}"
    return SpecError(what, where=where, mend=f"change '{key}' and try again")


def _no_doubles(values: Iterable[str], what: str) -> None:
    for value, count in Counter(values).items():
        if count > 1:
            raise ValueError(f"{what} '{value}' is there {count} times")


def _listed() -> str:
    return ", ".join(suites())
