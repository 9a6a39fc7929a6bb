"""What a mitigation is: hooks into the making of an image, each of which does nothing unless a method says otherwise.

A method is one class in one file, registered in the entry-point group `auditkit.mitigations`:

    class MyMethod(Mitigation):
        name, title, reference = "my-method", "What it does", "Whose it is"

        class Settings(Options):
            scale: float = 1.0

        def embed(self, batch, text): ...

Which hooks it overrides decides what models it can take; `takes` adds what else it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import torch

    from auditkit.guidance.loop import Step
    from auditkit.guidance.policy import Policy

Text = dict[str, "torch.Tensor"]
"""Encoded texts, tensors [n, ...] by the names that diffusers gives them: `prompt_embeds` [n, tokens, d], and where the
model reads them `pooled_prompt_embeds` [n, d] and `prompt_attention_mask` [n, tokens]."""

LOOP_HOOKS = ("condition", "predict", "move")
"""Hooks that our own denoising loop calls; a pipeline of diffusers does not."""


class Options(BaseModel):
    """A method's settings: plain data, all with defaults; they go into run.json as given and as resolved."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Aim:
    """What is to be done with one image. Made by `Policy.aims`."""

    prompt: str
    """As the spec has it; for hooks after `rewrite` as that left it."""
    acts: bool
    """False: the image is to be the one that the model gives without a mitigation, to the bit."""
    group: Mapping[str, str] = field(default_factory=dict)
    """Attribute to the class drawn for this image, of the attributes that the prompt leaves open."""
    stated: Mapping[str, str] = field(default_factory=dict)
    """Attribute to the class that the prompt states ('' where it states another than the classes of the target)."""
    subject: str = ""
    """The words of the prompt that name whom it shows."""
    why: str = ""
    """Why nothing is done, where nothing is."""

    @property
    def label(self) -> str:
        """The group as tables have it: `female+dark`; '' where nothing is done."""
        return "+".join(self.group.values()) if self.acts else ""


@dataclass(frozen=True)
class Model:
    """What a mitigation sees of a generator."""

    name: str
    guidance: float
    """The run's classifier-free guidance scale; 1 or less is no guidance."""
    pipeline: Any = None
    """The loaded diffusers pipeline; None where there is none at hand, as behind an API."""
    loop: bool = False
    """Whether `loop.denoise` can run it."""
    encode: Callable[[str | None], Text] | None = None
    """One text, each tensor [1, ...] on the device; None or '' is the empty prompt. Each distinct text is encoded once.
    It gives detached tensors that may have been made in inference mode: clone what is to carry gradients."""
    decode: Callable[[torch.Tensor], torch.Tensor] | None = None
    """Images [n, 3, h, w], in -1..1 or a little beyond, of clean latents [n, c, h, w]; differentiable."""
    end: Callable[[str], int] | None = None
    """The position of a text's last token, the end-of-text one where the tokenizer has one: tokens after it are
    padding."""

    @property
    def denoiser(self) -> Any:
        """The network that is called at every step, or None."""
        return getattr(self.pipeline, "unet", None) or getattr(self.pipeline, "transformer", None)


@dataclass
class Batch:
    """Images that are made together, n of them.

    A layer of the network that a method hooks into sees n rows, or 2 n under guidance: row i is of image i % n.
    """

    model: Model
    aims: Sequence[Aim]
    memory: dict[str, Any] = field(default_factory=dict)
    """For the method, to keep something from one step to the next; empty when a batch begins."""

    @property
    def acting(self) -> list[int]:
        """Places of the images that the method is to act on; it must leave the others to the bit."""
        return [place for place, aim in enumerate(self.aims) if aim.acts]


class Mitigation:
    """The protocol. Every hook is optional; see tests/test_mitigation_contract.py for what a method must keep to.

    One object serves one run. Images whose `Aim.acts` is False must come out as if there were no mitigation.
    """

    name: ClassVar[str]
    """As registered."""
    version: ClassVar[int] = 1
    """Raised with every change that changes an image: it is part of the run's id."""
    title: ClassVar[str]
    """One line for people."""
    reference: ClassVar[str]
    """The paper that it follows."""
    draws: ClassVar[bool] = True
    """Whether it moves each image toward its own drawn group."""
    even_only: ClassVar[bool] = False
    """Whether it takes no other target than the uniform one."""
    Settings: ClassVar[type[Options]] = Options
    """The kind of its settings."""

    def __init__(self, options: Options | None = None):
        self.options: Any = self.Settings() if options is None else options

    def takes(self, model: Model) -> str | None:
        """None, or a sentence that says why this method, so set, cannot work on the model.

        What the overridden hooks need is asked for elsewhere (`steering.refusal`).
        """
        return None

    def lacks(self, model: Model, policy: Policy) -> str | None:
        """None, or a sentence that says why it cannot aim at what the policy aims at; asked after `takes`."""
        return None

    def parts(self) -> Mapping[str, str]:
        """What it reads besides the model, name to sha256, after `takes`: it becomes part of the run's id."""
        return {}

    def prepare(self, model: Model, policy: Policy) -> None:
        """Called once, before the first image; what is computed once belongs here."""

    def weights(self, model: Model) -> AbstractContextManager[Any]:
        """Entered after `prepare` and left after the last image: edit weights in place, and put them back."""
        return nullcontext()

    def rewrite(self, aim: Aim, prompt: str, negative: str | None) -> tuple[str, str | None]:
        """The prompt and the negative prompt to use. Called for acting images alone, before any text is encoded."""
        return prompt, negative

    def embed(self, batch: Batch, text: Text) -> Text:
        """The prompts' encoded text, tensors [n, ...]: called once a batch, before the first step."""
        return text

    def condition(self, batch: Batch, text: Text, number: int, of: int) -> Text:
        """The encoded text to use at step `number` (from 0) of `of`; `text` is what `embed` gave."""
        return text

    def predict(self, step: Step) -> torch.Tensor:
        """The network's answer to go on with [n, c, h, w], after classifier-free guidance: `step.guided`."""
        return step.guided

    def move(self, step: Step, x: torch.Tensor) -> torch.Tensor:
        """The latents [n, c, h, w] after the step."""
        return x

    @classmethod
    def hooks(cls) -> list[str]:
        """The hooks that the method overrides."""
        names = ("rewrite", "embed", *LOOP_HOOKS, "weights")
        return [name for name in names if getattr(cls, name) is not getattr(Mitigation, name)]
