"""Concept sliders (Gandikota et al. 2024): a small adapter of the network for each class, applied image by image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field, model_validator

from auditkit.guidance.base import Batch, Mitigation, Model, Options, Text
from auditkit.guidance.parts import Part, listed, parts_of
from auditkit.guidance.policy import Policy

if TYPE_CHECKING:
    import torch


class ConceptSlider(Mitigation):
    """Each image is made with the low-rank adapter of its drawn class, at the scale s.

    An adapter is trained (`auditkit train slider`) so that the network with it answers as the plain one does plus
    eta (eps(class, prompt) - mean eps(other classes, prompt)); that part of the training is the paper's. Its sliders
    have two ends, these have one a class, so that an attribute may have more than two. Weights are not changed: the
    adapters' part is added image by image, and a batch may hold all groups.
    """

    name = "concept-slider"
    title = "A small adapter of the network for the drawn group is added to it"
    reference = "Gandikota et al. 2024 (arXiv 2311.12092)"

    class Settings(Options):
        """Settings."""

        sliders: Annotated[tuple[str, ...], BeforeValidator(listed)] = ()
        """Folders of sliders, an attribute each (commas between them); none are those that came with auditkit."""
        scale: float = Field(default=1.0, ge=0, le=100)
        """s."""
        since: float = Field(default=0.0, ge=0, lt=1)
        until: float = Field(default=1.0, gt=0, le=1)
        """The phase, as shares of the steps: [since, until)."""

        @model_validator(mode="after")
        def _in_order(self) -> ConceptSlider.Settings:
            if self.since >= self.until:
                raise ValueError("the phase must begin before it ends: since < until")
            return self

    def takes(self, model: Model) -> str | None:
        from auditkit.guidance.adapters import attention_layers

        self._found = {
            str(part.facts["attribute"]): part for part in parts_of(self.options.sliders, model.name, "sliders")
        }
        if model.denoiser is None:
            return "it changes the network, and there is none at hand"
        if not self._found:
            return (
                "no slider came with auditkit for it (train one from a run of its images: auditkit train slider RUN, "
                "then sliders=FOLDER)"
            )
        layers = attention_layers(model.denoiser, "all")
        for part in self._found.values():
            for name, tensor in part.tensors.items():
                _, layer, end = name.split("/")
                module = layers.get(layer)
                if module is None or tensor.shape[1 if end == "down" else 0] != _width(module, end):
                    return f"the slider of {part.facts['attribute']} was trained on another network ({layer})"
        return None

    def lacks(self, model: Model, policy: Policy) -> str | None:
        for name in policy.attributes:
            part: Part | None = self._found.get(name)
            if part is None:
                return f"there are sliders of {', '.join(self._found)} alone"
            if missing := [each for each in policy.words.classes(name) if each not in part.facts["classes"]]:
                return f"the sliders of {name} lack {', '.join(missing)}"
        return None

    def parts(self) -> Mapping[str, str]:
        return {f"{part.name}: {name}": part.sha256 for name, part in self._found.items()}

    def prepare(self, model: Model, policy: Policy) -> None:
        self._adapters: dict[str, dict[str, torch.Tensor]] = {}
        for attribute in policy.attributes:
            for name, tensor in self._found[attribute].tensors.items():
                label, _, rest = name.partition("/")
                self._adapters.setdefault(f"{attribute}={label}", {})[rest] = tensor.to(model.denoiser.device)
        self._scales: torch.Tensor | None = None

    @contextmanager
    def weights(self, model: Model) -> Iterator[None]:
        """No weight is changed: hooks add the adapters' part."""
        from auditkit.guidance.adapters import adapted

        # Attributes may have been adapted in different layers.
        by_layers: dict[tuple[str, ...], list[str]] = {}
        for group, tensors in self._adapters.items():
            by_layers.setdefault(tuple(tensors), []).append(group)
        order = list(self._adapters)
        with ExitStack() as stack:
            for groups in by_layers.values():
                rows = [order.index(group) for group in groups]
                own = {group: self._adapters[group] for group in groups}
                stack.enter_context(
                    adapted(
                        model.denoiser,
                        own,
                        lambda rows=rows: None if self._scales is None else self._scales[rows],  # type: ignore[misc]
                    )
                )
            yield

    def condition(self, batch: Batch, text: Text, number: int, of: int) -> Text:
        """Sets the scales for the network's call that follows; the text stays."""
        self._scales = None
        if batch.acting and self.options.since <= number / of < self.options.until:
            if "scales" not in batch.memory:
                batch.memory["scales"] = self._of(batch, text["prompt_embeds"].device)
            self._scales = batch.memory["scales"]
        return text

    def _of(self, batch: Batch, device: torch.device) -> torch.Tensor:
        """Scales [adapters, n]: s for the drawn class of each attribute, 0 otherwise."""
        import torch

        scales = torch.zeros(len(self._adapters), len(batch.aims), device=device)
        order = list(self._adapters)
        for place in batch.acting:
            for attribute, label in batch.aims[place].group.items():
                scales[order.index(f"{attribute}={label}"), place] = self.options.scale
        return scales


def _width(module: object, end: str) -> int:
    """The side of a layer that an adapter's tensor must fit: `down` its input, `up` its output."""
    return int(module.in_features if end == "down" else module.out_features)  # type: ignore[attr-defined]
