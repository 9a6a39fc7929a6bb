"""Prompt diversification: say in the prompt the group that was drawn, and in the negative prompt the others."""

from __future__ import annotations

from auditkit.guidance.base import Aim, Mitigation, Model, Options
from auditkit.guidance.policy import Policy


class PromptDiversification(Mitigation):
    """'a portrait of a judge' becomes 'a portrait of a female judge'. It needs nothing of the model but its prompt."""

    name = "prompt-diversification"
    title = "The drawn group is said in the prompt"
    reference = "Bansal et al. 2022 (arXiv 2210.15230), with the group drawn to a target"

    class Settings(Options):
        """Settings."""

        contrast: bool = False
        """Say the other classes of the drawn attributes in the negative prompt; needs guidance above 1."""

    def takes(self, model: Model) -> str | None:
        if self.options.contrast and model.guidance <= 1:
            return (
                f"contrast works by the negative prompt, and at guidance {model.guidance:g} there is none "
                "(set --guidance above 1, or contrast=false)"
            )
        return None

    def prepare(self, model: Model, policy: Policy) -> None:
        self._words = policy.words

    def rewrite(self, aim: Aim, prompt: str, negative: str | None) -> tuple[str, str | None]:
        said = self._words.say(prompt, aim.subject, aim.group)
        if not self.options.contrast:
            return said, negative
        others = [
            self._words.concept({attribute: other})
            for attribute, name in aim.group.items()
            for other in self._words.classes(attribute)
            if other != name
        ]
        return said, ", ".join([negative, *others] if negative else others)
