"""Image guidance: the image that is coming about is moved toward reference images of the drawn group in CLIP space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field, model_validator

from auditkit.guidance.base import Mitigation, Model, Options
from auditkit.guidance.clean import answer_for
from auditkit.guidance.parts import Part, listed, parts_of
from auditkit.guidance.policy import Policy

if TYPE_CHECKING:
    import torch

    from auditkit.guidance.loop import Step

ENCODER = "personas-clip"


class ImageGuidance(Mitigation):
    """x0 <- x0 - s d with d along grad_x0 of -log softmax_k(beta cos(e(D(x0)), c_k)) at the drawn class k.

    x0 is the clean latent that the network's answer stands for, D the decoder, e the encoder's image embedding, c_k the
    mean embedding of the reference images of class k (`auditkit train image-references`), beta the encoder's own
    logit scale. The gradient goes through the decoder and the encoder, not through the denoiser (the forward part of
    Universal Guidance, Bansal et al. 2023), and d has the length sqrt(entries of x0), or less where the image already
    is what it is to be. The contrast with the other classes leaves what all references share, such as their style.

    Judge it with another encoder than the one it is steered by.
    """

    name = "image-guidance"
    title = "The image is moved toward reference images of the drawn group in the space of an encoder"
    reference = "Bansal et al. 2023 (arXiv 2302.07121), toward references as in Kim et al. 2022 (DiffusionCLIP)"

    class Settings(Options):
        """Settings."""

        references: Annotated[tuple[str, ...], BeforeValidator(listed)] = ()
        """Folders of references, an attribute each (commas between them); none are those that came with auditkit."""
        scale: float = Field(default=2.0, ge=0, le=100)
        """s, a share of the latents' unit spread."""
        every: int = Field(default=1, ge=1, le=100)
        """Steps from one that is guided to the next."""
        since: float = Field(default=0.0, ge=0, lt=1)
        until: float = Field(default=0.3, gt=0, le=1)
        """The phase, as shares of the steps: [since, until)."""

        @model_validator(mode="after")
        def _in_order(self) -> ImageGuidance.Settings:
            if self.since >= self.until:
                raise ValueError("the phase must begin before it ends: since < until")
            return self

    def takes(self, model: Model) -> str | None:
        self._found: dict[str, Part] = {
            str(part.facts["attribute"]): part for part in parts_of(self.options.references, ENCODER, "references")
        }
        if model.decode is None:
            return "it looks at the image that is coming about, and there is no decoder at hand"
        encoders = {str(part.facts["of"]) for part in self._found.values()}
        if len(encoders) > 1:
            return f"its references are of several encoders: {', '.join(sorted(encoders))}"
        return None

    def lacks(self, model: Model, policy: Policy) -> str | None:
        for name in policy.attributes:
            if name not in self._found:
                return f"there are references of {', '.join(self._found) or 'nothing'} alone"
            if self._found[name].facts["classes"] != policy.words.classes(name):
                return f"the references of {name} show {', '.join(self._found[name].facts['classes'])}"
        return None

    def parts(self) -> Mapping[str, str]:
        return {f"{part.name}: {name}": part.sha256 for name, part in self._found.items()}

    def prepare(self, model: Model, policy: Policy) -> None:
        from auditkit.clip.encoders import load_encoder

        device = str(model.denoiser.device)
        first = self._found[policy.attributes[0]]
        self._encoder = load_encoder(str(first.facts["source"]), device=device)
        if self._encoder.sha256 != first.facts["encoder_sha256"]:
            from auditkit.errors import EncoderError

            raise EncoderError(
                "the references were embedded by other weights of this encoder", where=first.folder,
                mend="make them again: auditkit train image-references",
            )  # fmt: skip
        self._classes = {name: policy.words.classes(name) for name in policy.attributes}
        self._means = {name: self._found[name].tensors["means"].to(device) for name in policy.attributes}

    def predict(self, step: Step) -> torch.Tensor:
        import torch

        options, acting = self.options, step.batch.acting
        if not acting or not options.since <= step.progress < options.until or step.number % options.every:
            return step.guided
        with torch.inference_mode(False):
            change = self._change(step.clean(step.guided.clone(), step.x.clone()), step)
            guided = step.guided.clone()
            guided[acting] = answer_for(step, change)[acting]
        return guided

    def _change(self, clean: torch.Tensor, step: Step) -> torch.Tensor:
        """What to add to the clean latents [n, c, h, w]; all of the batch alike, so that none depends on the others."""
        import torch

        x = clean.detach().float().clone()
        with torch.enable_grad():
            x.requires_grad_(True)
            assert step.batch.model.decode is not None
            images = (step.batch.model.decode(x).float() / 2 + 0.5).clamp(0, 1)
            embedded = self._encoder.embed_pixels(images)
            losses = x.new_zeros(len(x))
            for name, classes in self._classes.items():
                aims = step.batch.aims
                wanted = torch.tensor(
                    [classes.index(aim.group[name]) if name in aim.group else -100 for aim in aims], device=x.device
                )
                scores = self._encoder.logit_scale * embedded @ self._means[name].T
                losses = losses + torch.nn.functional.cross_entropy(scores, wanted, reduction="none")
            (gradient,) = torch.autograd.grad(losses.sum(), x)
        length = gradient.flatten(1).norm(dim=1).clamp(min=1e-12)
        missing = 1 - torch.exp(-losses.detach())  # 1 - p of the drawn class: nothing is left to do where it is there
        size = self.options.scale * missing * x[0].numel() ** 0.5
        change: torch.Tensor = -gradient * (size / length)[:, None, None, None]
        return change
