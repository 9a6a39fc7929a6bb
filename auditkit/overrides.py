"""Settings that a spec changes for some of its prompts."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator

from auditkit.prompts import Prompt

SETTINGS = ("sampler", "steps", "guidance", "negative")


class Override(BaseModel):
    """Other settings for the prompts that it fits; in TOML a table `[[overrides]]`.

        [[overrides]]
        where = {occupation = ["judge", "pilot"]}
        guidance = 3.0
        negative = "blurry"

    A prompt fits if it has one of the values of every axis in `where`, and comes from `template` where one is given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    where: dict[str, str | list[str]] = Field(default_factory=dict)
    """Values by axis."""
    template: str | None = None
    """One of the spec's templates, as it is written there."""
    sampler: str | None = None
    steps: int | None = Field(default=None, ge=1, strict=True)
    guidance: float | None = Field(default=None, ge=0, strict=True, allow_inf_nan=False)
    negative: str | None = None
    """Negative prompt; "" for none where the spec has one."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.where and self.template is None:
            raise ValueError("an override names no prompts: give 'where' or 'template'")
        if not self.settings:
            raise ValueError(f"an override changes nothing: give one of {', '.join(SETTINGS)}")
        return self

    @model_serializer
    def _plain(self) -> dict[str, Any]:
        """What was given: an override leaves open all that it does not name."""
        given = {name: getattr(self, name) for name in ("where", "template", *SETTINGS)}
        return {name: value for name, value in given.items() if value not in (None, {})}

    @property
    def settings(self) -> dict[str, Any]:
        """Those of SETTINGS that it changes."""
        return {name: getattr(self, name) for name in SETTINGS if getattr(self, name) is not None}

    def fits(self, prompt: Prompt) -> bool:
        """Whether the prompt is one of those that it speaks of."""
        return (self.template is None or prompt.template == self.template) and all(
            prompt.axes.get(axis) in _listed(values) for axis, values in self.where.items()
        )


def check_overrides(
    overrides: Iterable[Override],
    prompts: Sequence[Prompt],
    templates: Sequence[str],
    axes: Mapping[str, Sequence[str]],
) -> None:
    """Raise ValueError, with near matches, where an override names what the spec does not have, or no prompt at all."""
    for number, override in enumerate(overrides, 1):
        where = f"override {number}"
        if override.template is not None and override.template not in templates:
            raise ValueError(
                f"{where}: there is no template '{override.template}'" + did_you_mean(override.template, templates)
            )
        for axis, values in override.where.items():
            if axis not in axes:
                raise ValueError(f"{where}: there is no axis '{axis}'" + did_you_mean(axis, axes))
            for value in _listed(values):
                if value not in axes[axis]:
                    raise ValueError(
                        f"{where}: the axis '{axis}' has no value '{value}'" + did_you_mean(value, axes[axis])
                    )
        if not any(override.fits(prompt) for prompt in prompts):
            raise ValueError(f"{where} fits no prompt")


def _listed(values: str | list[str]) -> list[str]:
    return [values] if isinstance(values, str) else values


def did_you_mean(name: str, among: Iterable[str]) -> str:
    """The end of a sentence that says a name is unknown: the nearest of those there are, or nothing."""
    near = difflib.get_close_matches(name, list(among), n=2, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""
