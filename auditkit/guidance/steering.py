"""From what is asked for (a method, a target, options) to what steers a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from auditkit import registry
from auditkit.errors import AuditkitError, GeneratorError, SpecError
from auditkit.guidance.base import LOOP_HOOKS, Aim, Mitigation, Model
from auditkit.guidance.policy import Policy
from auditkit.guidance.targets import EXAMPLE, Planted, read_policy
from auditkit.overrides import did_you_mean
from auditkit.prompts import Prompt

if TYPE_CHECKING:
    from auditkit.spec import RunSpec


@dataclass(frozen=True)
class Request:
    """What a user asks for; plain data.

    Attributes:
        name: a method's name. target: as `targets.read_policy` takes it. options: the method's settings, and `assign`.
    """

    name: str
    target: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        target = dict(self.target) if isinstance(self.target, Mapping) else str(self.target)
        return {"name": self.name, "target": target, "options": dict(self.options)}


@dataclass(frozen=True)
class Steering:
    """A method with its policy, for the prompts of one spec. Made by `steer`."""

    method: Mitigation
    policy: Policy
    request: Request
    aim: Callable[[Prompt, int, int], Aim]
    """(prompt, replicate, seed of the image) to what is to be done with it."""

    def record(self) -> dict[str, Any]:
        """For run.json: as passed, and `resolved`, which is part of the run's id."""
        method = self.method
        resolved = {
            "name": method.name,
            "version": method.version,
            "options": method.options.model_dump(mode="json"),
            "target": self.policy.record(),
        }
        if parts := dict(method.parts()):
            resolved["parts"] = parts
        return {"as_passed": self.request.record(), "resolved": resolved}


def steer(request: Request, spec: RunSpec, model: Model, *, planted: Planted = lambda name: None) -> Steering:
    """What steers a run of `spec` on `model`.

    Raises:
        PluginError: no method has that name.
        SpecError: an option that the method does not have, or a target that does not hold.
        GeneratorError: the model cannot take the method; the error says which it can.
    """
    method = make(request.name, {name: value for name, value in request.options.items() if name != "assign"})
    if request.target is None:
        raise SpecError("nothing says what the mitigation is to aim at", where=request.name, mend=f"write {EXAMPLE}")
    policy = read_policy(request.target, spec, assign=request.options.get("assign"), planted=planted)
    if method.even_only and not policy.uniform:
        drawing = [name for name in registry.names("mitigations") if not registry.load("mitigations", name).even_only]
        raise SpecError(
            f"'{request.name}' cannot aim at other shares than even ones", where=f"target={policy.name}",
            mend=f"use {policy.attribute}=uniform, or one of: {', '.join(drawing)}",
        )  # fmt: skip
    why = refusal(method, model)
    if why:
        raise GeneratorError(
            f"'{request.name}' cannot be used with '{model.name}': {why}", where=f"mitigation={request.name}",
            mend=f"'{model.name}' can take, with default options: {', '.join(able(model)) or 'none'}",
        )  # fmt: skip
    if lack := method.lacks(model, policy):
        raise GeneratorError(
            f"'{request.name}' cannot aim at '{policy.attribute}' with '{model.name}': {lack}",
            where=f"target={policy.name}", mend="aim at another attribute, or train what is missing",
        )  # fmt: skip
    return Steering(method, policy, request, policy.aims(spec))


def make(name: str, options: Mapping[str, Any] | None = None) -> Mitigation:
    """The method of that name, so set. Options may be texts, as from a command line.

    Raises:
        PluginError: no method has that name.
        SpecError: it has no such option, or the value is out of range.
    """
    kind: type[Mitigation] = registry.load("mitigations", name)
    given, known = dict(options or {}), kind.Settings.model_fields
    for key in given:
        if key not in known:
            all_known = [*known, "assign"]
            raise SpecError(
                f"'{name}' has no option '{key}'" + did_you_mean(key, all_known), where=f"mitigation-option {key}",
                mend=f"use among: {', '.join(all_known)}",
            )  # fmt: skip
    try:
        return kind(kind.Settings(**given))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "options"
        raise SpecError(
            f"'{key}' is {first['input']!r}: {first['msg'].lower()}", where=f"mitigation-option {key}",
            mend=f"change '{key}' and try again",
        ) from None  # fmt: skip


def refusal(method: Mitigation, model: Model) -> str | None:
    """None, or a sentence that says why the method cannot work on the model."""
    hooks = set(method.hooks())
    if hooks & set(LOOP_HOOKS) and not model.loop:
        return "it steers the denoising steps, and auditkit's own loop does not run this kind of model"
    if hooks & {"embed", "condition"} and (model.encode is None or model.end is None):
        return "it changes the encoded text, and there is no text encoder at hand"
    if "weights" in hooks and model.denoiser is None:
        return "it changes weights, and there are none at hand"
    return method.takes(model)


def able(model: Model) -> list[str]:
    """The methods that the model can take with their default options."""
    found = []
    for name in registry.names("mitigations"):
        try:
            method = make(name)
        except AuditkitError:  # somebody else's broken plugin
            continue
        if refusal(method, model) is None:
            found.append(name)
    return found
