"""A policy: which shares are aimed at, how images are assigned to groups, and where nothing is to be done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from auditkit.guidance.assignment import draw, quota, unit
from auditkit.guidance.base import Aim
from auditkit.guidance.words import Words, shipped
from auditkit.prompts import Prompt, expand

if TYPE_CHECKING:
    from auditkit.spec import RunSpec

ALL = "all"
"""The shares of prompts whose group has none of its own."""
ASSIGN = ("quota", "draw")


@dataclass(frozen=True)
class Policy:
    """Made by `targets.read_policy`.

    Attributes:
        attribute: `gender`, or joint `gender+skin_tone`.
        shares: group of prompts (a value of the axis `by`, or `all`) to category (`female+dark`) to share; each sums
            to 1.
        by: the axis whose values may have shares of their own, and each have their own quota; None for none.
        assign: `quota` (exact, as far as the numbers allow) or `draw` (each image for itself).
        person: the axis whose values name whom a prompt shows.
        words: how groups are said, what states them, and the contexts in which nothing is done.
        names: how the target was asked for.
    """

    attribute: str
    shares: Mapping[str, Mapping[str, float]]
    by: str | None = None
    assign: str = "quota"
    person: str = "occupation"
    words: Words = field(default_factory=shipped)
    name: str = ""

    @property
    def attributes(self) -> list[str]:
        """The attributes of the target, one by one."""
        return self.attribute.split("+")

    @property
    def uniform(self) -> bool:
        """Whether all categories have one share, whatever the group."""
        return all(max(each.values()) - min(each.values()) < 1e-9 for each in self.shares.values())

    def record(self) -> dict[str, Any]:
        """For run.json: all that decides what is done with which image."""
        return {
            "attribute": self.attribute,
            "by": self.by,
            "shares": {group: dict(each) for group, each in self.shares.items()},
            "assign": self.assign,
            "person": self.person,
            "words": {name: dict(self.words.table[name]) for name in self.attributes},
            "nouns": list(self.words.nouns),
            "contexts": list(self.words.contexts),
        }

    def aims(self, spec: RunSpec) -> Callable[[Prompt, int, int], Aim]:
        """(prompt, replicate, seed of the image) to what is to be done with the image, for the prompts of `spec`.

        By quota, the images of all prompts with one value of `by` are counted as one sequence: prompt by prompt,
        replicates in order. The prompts' order is a shuffled one, lest a group go with a template or another axis.
        """
        prompts = expand(spec)
        opened = {prompt.prompt_id: self._open(prompt) for prompt in prompts}
        ranks: dict[int, int] = {}
        counts: dict[str, int] = {}
        for prompt in sorted(prompts, key=lambda prompt: unit(f"{spec.seed}|{prompt.text}|order")):
            key = opened[prompt.prompt_id][2]
            ranks[prompt.prompt_id] = counts.get(key, 0)
            counts[key] = ranks[prompt.prompt_id] + 1

        def aim(prompt: Prompt, replicate: int, seed: int) -> Aim:
            made, shares, key = opened[prompt.prompt_id]
            if not made.acts:
                return made
            if self.assign == "quota":
                index = ranks[prompt.prompt_id] * spec.images_per_prompt + replicate
                drawn = quota(shares, index, f"{spec.seed}|{key}")
            else:
                drawn = draw(shares, f"{seed}|{prompt.text}")
            names = [name for name in self.attributes if name not in made.stated]
            return Aim(
                made.prompt, True, dict(zip(names, drawn.split("+"), strict=True)), made.stated, made.subject
            )  # fmt: skip

        return aim

    def _open(self, prompt: Prompt) -> tuple[Aim, dict[str, float], str]:
        """What holds for all images of a prompt: its aim without a group, the shares to assign by, their key."""
        text, words = prompt.text, self.words
        stated = {name: words.stated(text, name) for name in self.attributes}
        for name in self.attributes:  # an axis of that name states it in whatever words
            if name in prompt.axes:
                known = prompt.axes[name]
                stated[name] = known if known in words.classes(name) else stated[name] or ""
        said = {name: value for name, value in stated.items() if value is not None}
        subject = words.subject(text, prompt.axes, self.person)
        group = prompt.axes.get(self.by or "", ALL)
        shares = self.shares.get(group, self.shares.get(ALL))
        why = ""
        if context := words.context(text):
            why = f"the prompt is in a context that is left alone: '{context}'"
        elif len(said) == len(self.attributes):
            why = f"the prompt states {' and '.join(said)}"
        elif not subject:
            why = "the prompt names nobody"
        elif shares is None:
            why = f"the target says nothing of '{group}'"
        aim = Aim(text, not why, {}, said, subject, why)
        if why or shares is None:
            return aim, {}, ""
        left = self._left(shares, said)
        return aim, left, f"{group}|{sorted(said.items())}|{sorted(left)}"

    def _left(self, shares: Mapping[str, float], said: Mapping[str, str]) -> dict[str, float]:
        """The shares of the attributes that are open, given those that are stated."""
        rows = [(dict(zip(self.attributes, name.split("+"), strict=True)), share) for name, share in shares.items()]
        fitting = [(row, share) for row, share in rows if all(row[name] == value for name, value in said.items())]
        if sum(share for _, share in fitting) <= 0:  # stated in other words than the classes, or planted never to be
            fitting = rows
        total = sum(share for _, share in fitting)
        found: dict[str, float] = {}
        for row, share in fitting:
            name = "+".join(value for attribute, value in row.items() if attribute not in said)
            found[name] = found.get(name, 0.0) + share / total
        return found
