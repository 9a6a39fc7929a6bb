"""Group-wise guidance: the drawn group is said in the prompt, and each group has a guidance scale of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from auditkit.guidance.base import Aim, Mitigation, Model, Options
from auditkit.guidance.policy import Policy
from auditkit.guidance.texts import Concepts

if TYPE_CHECKING:
    import torch

    from auditkit.guidance.loop import Step


def _pairs(value: Any) -> Any:
    """'female:2,male:1.5' as a command line gives it."""
    if not isinstance(value, str):
        return value
    return dict(part.rpartition(":")[::2] for part in value.split(",") if part.strip())


class GroupGuidance(Mitigation):
    """eps_u + g_z (eps_cz - eps_u) with the prompt c_z that says the group z, at a scale g_z of its own.

    A model that shows one group less surely than another is guided toward it more; the others are spared what strong
    guidance costs in diversity. `choose_scales` picks the scales from a sweep.
    """

    name = "group-guidance"
    title = "The drawn group is said in the prompt, at a guidance scale of its own"
    reference = "Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598), its scale swept for each group"

    class Settings(Options):
        """Settings."""

        scale: Annotated[float, Field(gt=0, le=30)] = 2.0
        """g_z of groups that `scales` does not name."""
        scales: Annotated[dict[str, Annotated[float, Field(gt=0, le=30)]], BeforeValidator(_pairs)] = {}  # noqa: RUF012
        """g_z by group: {"female": 2, "male": 1.5}, or `female:2,male:1.5`; of a joint target `female+dark:2`."""
        since: float = Field(default=0.0, ge=0, lt=1)
        until: float = Field(default=1.0, gt=0, le=1)
        """The phase, as shares of the steps [since, until); outside it the run's own guidance scale holds."""

    def prepare(self, model: Model, policy: Policy) -> None:
        self._words, self._concepts = policy.words, Concepts(model, policy.words)
        self._empty = self._concepts.encoded("")

    def rewrite(self, aim: Aim, prompt: str, negative: str | None) -> tuple[str, str | None]:
        return self._words.say(prompt, aim.subject, aim.group), negative

    def predict(self, step: Step) -> torch.Tensor:
        import torch

        acting, options = step.batch.acting, self.options
        scales = [options.scales.get(step.batch.aims[place].label, options.scale) for place in acting]
        idle = all(scale == max(step.guidance, 1.0) for scale in scales)
        if not acting or idle or not options.since <= step.progress < options.until:
            return step.guided
        without = step.unconditional
        if without is None:
            without = step.predict(self._concepts.rows([self._empty] * len(step.x)))
        g = torch.tensor(scales, dtype=step.x.dtype, device=step.x.device)[:, None, None, None]
        guided = step.guided.clone()
        guided[acting] = without[acting] + g * (step.conditional[acting] - without[acting])
        return guided


def choose_scales(
    shown: dict[str, dict[float, tuple[int, int]]], goal: float, *, level: float = 0.95
) -> dict[str, float]:
    """The smallest scale of each group at which its images are surely enough of that group.

    Args:
        shown: group to scale to (images that show the group, images). goal: the share that must be reached, in (0, 1).
        level: of Wilson's interval, whose lower end must reach the goal; Bonferroni over a group's scales.

    Returns:
        Group to scale; where no scale reaches the goal surely, the one with the highest lower end.

    >>> choose_scales({"female": {1.0: (50, 100), 2.0: (95, 100), 4.0: (99, 100)}}, 0.85)
    {'female': 2.0}
    """
    from auditkit.stats.intervals import wilson

    found = {}
    for group, by_scale in shown.items():
        ends = {
            scale: float(wilson(k, n, 1 - (1 - level) / len(by_scale))[0]) for scale, (k, n) in sorted(by_scale.items())
        }  # fmt: skip
        enough = [scale for scale, low in ends.items() if low >= goal]
        found[group] = enough[0] if enough else max(ends, key=lambda scale: ends[scale])
    return found
