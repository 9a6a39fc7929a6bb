"""Text-embedding projection (debias_vl, Chuang et al. 2023): the differences between groups are taken out of texts."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from pydantic import Field

from auditkit.guidance.base import Batch, Mitigation, Model, Options, Text
from auditkit.guidance.policy import Policy
from auditkit.guidance.texts import EMBEDS, POOLED, Concepts

if TYPE_CHECKING:
    import torch


class EmbeddingProjection(Mitigation):
    """P = (I + lambda / |S| sum over S of (z_i - z_j)(z_i - z_j)^T)^-1 on every token of the prompt.

    S are pairs of texts that differ in the group alone, of every noun that the policy knows; z are unit vectors of
    their last token. It takes from the text what tells the groups apart; it does not move an image toward a group, so
    an association that the image model itself holds with a noun stays.
    """

    name = "embedding-projection"
    title = "What tells the groups apart is projected out of the text embedding"
    reference = "Chuang et al. 2023 (arXiv 2302.00070)"
    draws = False
    even_only = True

    class Settings(Options):
        """Settings."""

        strength: float = Field(default=500.0, ge=0, le=1e9)
        """lambda; the paper's is 500."""

    def prepare(self, model: Model, policy: Policy) -> None:
        concepts, words = Concepts(model, policy.words), policy.words
        pairs: dict[str, list[torch.Tensor]] = {EMBEDS: [], POOLED: []}
        for attribute in policy.attributes:
            for noun in words.nouns:
                said = [words.say(f"a {noun}", noun, {attribute: name}) for name in words.classes(attribute)]
                for one, other in itertools.combinations(said, 2):
                    pairs[EMBEDS].append(_unit(concepts.from_end(one)[0]) - _unit(concepts.from_end(other)[0]))
                    if POOLED in concepts.encoded(one):
                        pooled = [_unit(concepts.encoded(text)[POOLED][0]) for text in (one, other)]
                        pairs[POOLED].append(pooled[0] - pooled[1])
        self._projections = {
            name: projection(each, self.options.strength).float() for name, each in pairs.items() if each
        }

    def embed(self, batch: Batch, text: Text) -> Text:
        import torch

        if not batch.acting:
            return text
        moved = dict(text)
        for name, matrix in self._projections.items():
            whole = text[name]
            flat = (whole[batch.acting].float() @ matrix.to(whole.device)).to(whole.dtype)
            moved[name] = whole.index_copy(0, torch.tensor(batch.acting, device=whole.device), flat)
        return moved


def projection(differences: list[torch.Tensor], strength: float) -> torch.Tensor:
    """The calibrated projection of Chuang et al. 2023, float64 [d, d], symmetric, eigenvalues in (0, 1].

    Args:
        differences: [d] each, of texts that ought to be alike. strength: lambda >= 0; 0 gives the identity.
    """
    import torch

    z = torch.stack(differences).cpu().double()  # not every device has float64
    inner = torch.eye(z.shape[1], dtype=z.dtype, device=z.device) + strength / len(z) * z.T @ z
    return torch.linalg.inv(inner)


def _unit(vector: torch.Tensor) -> torch.Tensor:
    return vector / vector.norm().clamp(min=1e-12)
