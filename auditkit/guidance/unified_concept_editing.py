"""Unified Concept Editing (UCE, Gandikota et al. 2024): cross-attention edited in closed form, to a mix of groups."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from auditkit.guidance.base import Batch, Mitigation, Model, Options, Text
from auditkit.guidance.policy import ALL, Policy
from auditkit.guidance.texts import EMBEDS, Concepts
from auditkit.prompts import article

if TYPE_CHECKING:
    import torch

FRAMES = ("{}", "a picture of {}", "a portrait of {}", "an image of {}")
"""Texts that a noun is edited in; the noun is the last word of each."""


def _mix(value: Any) -> Any:
    """A mix as it is, or the file that it is kept in."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(Path(value).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"the mix cannot be read from {value}: {error}") from None


class UnifiedConceptEditing(Mitigation):
    """For each noun c, the keys and values of 'a judge' become those of a mix of 'a female judge' and 'a male judge':
    W' = (sum v* c^T + W (sum over kept texts p p^T + lambda I)) (sum c c^T + sum p p^T + lambda I)^-1.

    Since v* = W u, with u the mix of the groups' embeddings, W' = W M with one matrix M for all layers: M is laid on
    the text that keys and values read. That gives what edited weights give, and leaves other images alone.

    The mix of a noun says how much of each group goes in, and sums to 1; by default it is the target's shares, and the
    groups' mean is what the text then says. An image model may still draw its own shares for that: weights above 1 and
    below 0 go further. `tuning.tune` finds the mix that shows the target, with a stopping rule to rely on.
    """

    name = "unified-concept-editing"
    title = "Keys and values of cross-attention are edited toward a mix of the groups"
    reference = "Gandikota et al. 2024 (arXiv 2308.14761)"
    draws = False

    class Settings(Options):
        """Settings."""

        mix: Annotated[dict[str, dict[str, Annotated[float, Field(ge=-20, le=20)]]], BeforeValidator(_mix)] = {}  # noqa: RUF012
        """Noun to group to weight: {"judge": {"female": 0.7, "male": 0.3}}; or the path of a JSON file with it."""
        strength: float = Field(default=1.0, ge=0, le=1)
        """The part of the way from the noun's own embedding to the mix."""
        preserve: float = Field(default=0.1, ge=0, le=100)
        """Weight of the texts that are to stay as they are: each noun with each group said, and the empty text."""
        ridge: float = Field(default=0.1, gt=0, le=1e6)
        """lambda, in units of the mean square of an embedding's entries."""

    def takes(self, model: Model) -> str | None:
        for noun, weights in self.options.mix.items():
            if abs(sum(weights.values()) - 1) > 1e-6:
                return f"the mix of '{noun}' sums to {sum(weights.values()):.6g}, not 1"
        if not cross_attention(model.denoiser):
            return "it edits the keys and values of cross-attention, and the network has no cross-attention"
        return None

    def prepare(self, model: Model, policy: Policy) -> None:
        import torch

        concepts, words = Concepts(model, policy.words), policy.words
        edited: list[tuple[torch.Tensor, torch.Tensor]] = []
        kept = [concepts.encoded("")[EMBEDS][0]]
        for noun in words.nouns:
            shares = self.options.mix.get(noun, policy.shares.get(noun, policy.shares.get(ALL)))
            if shares is None:
                continue
            for frame in FRAMES:
                text = frame.format(f"{article(noun)} {noun}")
                own, goal = _last_on(concepts, text), None
                for label, weight in shares.items():
                    group = dict(zip(policy.attributes, label.split("+"), strict=True))
                    said = _last_on(concepts, words.say(text, noun, group))
                    kept.append(said)
                    k = min(len(own), len(said)) if goal is None else min(len(goal), len(said))
                    goal = weight * said[:k] if goal is None else goal[:k] + weight * said[:k]
                assert goal is not None
                own = own[: len(goal)]
                edited.append((own, own + self.options.strength * (goal - own)))
        own, goals = (torch.cat(each).cpu().double() for each in zip(*edited, strict=True))
        self._matrix = edit(own, goals, torch.cat(kept).cpu().double(), self.options.preserve, self.options.ridge)

    def embed(self, batch: Batch, text: Text) -> Text:
        import torch

        # Where a prompt states one of the attributes, a mix would undo that.
        places = [place for place in batch.acting if not batch.aims[place].stated]
        if not places:
            return text
        whole = text[EMBEDS]
        moved = (whole[places].float() @ self._matrix.T.float().to(whole.device)).to(whole.dtype)
        return {**text, EMBEDS: whole.index_copy(0, torch.tensor(places, device=whole.device), moved)}


def edit(own: torch.Tensor, goals: torch.Tensor, kept: torch.Tensor, preserve: float, ridge: float) -> torch.Tensor:
    """M of W' = W M, float64 [d, d]: the least-squares map of `own` to `goals` [n, d] that leaves `kept` [m, d] alone.

    Args:
        preserve: weight of the kept texts, as a sum, against that of the edited. ridge: pull toward the identity.
    """
    import torch

    eye = torch.eye(own.shape[1], dtype=own.dtype, device=own.device)
    fixed = preserve * len(own) / len(kept) * kept.T @ kept + ridge * own.square().mean() * eye
    # M B = A, with B symmetric.
    a, b = goals.T @ own + fixed, own.T @ own + fixed
    return torch.linalg.solve(b, a.T).T


def cross_attention(network: Any) -> list[tuple[Any, Any]]:
    """The key and value layers of a network's cross-attention, in order; none where layers mix text and image."""
    if network is None:
        return []
    layers = []
    for module in network.modules():
        if getattr(module, "is_cross_attention", False) and getattr(module, "added_kv_proj_dim", None) is None:
            layers.append((module.to_k, module.to_v))
    return layers


def _last_on(concepts: Concepts, text: str) -> torch.Tensor:
    """The embeddings of a text's last word, its end and the padding, [k, d]."""
    return concepts.encoded(text)[EMBEDS][0, max(concepts.end(text) - 1, 0) :]
