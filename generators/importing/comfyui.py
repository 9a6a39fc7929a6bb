"""ComfyUI's graphs: from the sampler along its links to the texts, the seed and the checkpoint.

`prompt` is the graph as it was executed, `{"3": {"class_type": "KSampler", "inputs": {"positive": ["6", 0]}}}`, where
a list of a node's id and an output's number is a link. `workflow` is the graph as it was drawn, whose settings have no
names; it is read only where there is no `prompt`, and of the usual nodes alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from generators.importing.facts import Facts, first, name, number, seed, steps, text

MAX_NODES = 20_000
MAX_VISITS = 2_000
"""Nodes looked at for one answer; also ends a walk in a circle."""

_TEXTS = ("text", "string", "value", "prompt", "populated_text", "wildcard_text", "text_g", "text_l", "clip_l",
          "clip_g", "t5xxl", "STRING", "String", "Text")  # fmt: skip
_JOINED = ("string_a", "string_b", "string_c", "text1", "text2", "text3", "text4", "text_a", "text_b", "text_c",
           "text_d")  # fmt: skip
_ROUTES = ("conditioning", "conditioning_1", "conditioning_2", "conditioning_to", "conditioning_from", "cond", "cond1",
           "cond2", "base_positive")  # fmt: skip
_SIDES = (("positive", "negative"), ("text_positive", "text_negative"), ("positive_prompt", "negative_prompt"))
"""Inputs of nodes that carry both prompts: a ControlNet, a mask, a loader that encodes too."""
_NUMBERS = ("value", "seed", "noise_seed", "int", "float", "number", "steps", "cfg")
_LOADED = ("ckpt_name", "unet_name", "model_name", "base_ckpt_name")

WIDGETS: dict[str, tuple[str, ...]] = {
    "KSampler": ("seed", "", "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "KSamplerAdvanced": ("add_noise", "noise_seed", "", "steps", "cfg", "sampler_name", "scheduler"),
    "CLIPTextEncode": ("text",),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "UNETLoader": ("unet_name",),
    "PrimitiveNode": ("value",),
    "PrimitiveString": ("value",),
    "PrimitiveStringMultiline": ("value",),
    "RandomNoise": ("noise_seed",),
    "KSamplerSelect": ("sampler_name",),
    "BasicScheduler": ("scheduler", "steps"),
    "CFGGuider": ("cfg",),
    "FluxGuidance": ("guidance",),
}
"""Names of the settings of the drawn graph's nodes, in their order; an empty one is the control after generating."""

Node = dict[str, Any]


def looks_like(graph: Any) -> bool:
    """Whether this is an executed graph."""
    return isinstance(graph, dict) and any(isinstance(n, dict) and "class_type" in n for n in _some(graph.values()))


def parse(prompt: Any, workflow: Any = None) -> Facts | None:
    """Facts out of an executed graph, or out of a drawn one; None where neither has a sampler."""
    for found in (prompt if looks_like(prompt) else None, _executed(workflow)):
        if found:
            facts = _Graph(found).facts()
            if facts is not None:
                return facts
    return None


@dataclass
class _Graph:
    """An executed graph. A walk keeps the nodes that it met, so that circles end."""

    raw: dict[str, Any]
    nodes: dict[str, Node] = field(init=False)

    def __post_init__(self) -> None:
        self.nodes = {
            str(id): node
            for id, node in list(self.raw.items())[:MAX_NODES]
            if isinstance(node, dict) and isinstance(node.get("inputs"), dict)
        }

    def facts(self) -> Facts | None:
        told = [facts for facts in map(self._sampler, self._samplers()) if facts is not None]
        # A second sampler refines what the first began: the first one's seed and steps made the picture.
        return first(facts if facts.prompt else None for facts in told) or first(told)

    def _samplers(self) -> list[str]:
        """Ids of the samplers that a saved image comes from (of all, where none is saved), the earliest first."""
        ends = {id: _kind(node).lower() for id, node in self.nodes.items()}
        saved = [id for id, kind in ends.items() if "save" in kind or "preview" in kind]
        behind = [id for id in self._behind(saved) if _samples(self.nodes[id])]
        # The walk meets the last sampler first.
        return list(reversed(behind)) or [id for id, node in self.nodes.items() if _samples(node)]

    def _behind(self, start: list[str]) -> Iterator[str]:
        """Every node that `start` depends on, nearest first."""
        waiting, met = deque(start), set(start)
        while waiting:
            id = waiting.popleft()
            yield id
            for value in self.nodes[id]["inputs"].values():
                to = self._target(value)
                if to is not None and to not in met:
                    met.add(to)
                    waiting.append(to)

    def _target(self, value: Any) -> str | None:
        """The id of the node that a link leads to."""
        if isinstance(value, list) and len(value) == 2 and isinstance(value[0], (str, int)):
            return str(value[0]) if str(value[0]) in self.nodes else None
        return None

    def _linked(self, inputs: Node, key: str) -> Node:
        """Inputs of the node that an input is linked to; empty where it is not."""
        to = self._target(inputs.get(key))
        return {} if to is None else self.nodes[to]["inputs"]

    def _sampler(self, id: str) -> Facts | None:
        inputs = self.nodes[id]["inputs"]
        guider, noise = self._linked(inputs, "guider"), self._linked(inputs, "noise")
        chosen, sigmas = self._linked(inputs, "sampler"), self._linked(inputs, "sigmas")
        wanted = first(each.get(key) for each in (inputs, guider) for key in ("positive", "conditioning"))
        if wanted is None:
            return None
        walk = _Walk(self)
        prompt = walk.text(wanted, 0)
        unwanted = first(each.get("negative") for each in (inputs, guider))
        guidance = first(number(self._value(each.get("cfg"))) for each in (inputs, guider))
        if walk.distilled is not None and guidance in (None, 1.0):
            guidance = walk.distilled
        schedule = first(name(self._value(each.get("scheduler"))) for each in (inputs, sigmas))
        sampler = first(name(self._value(each.get("sampler_name"))) for each in (inputs, chosen))
        return Facts(
            prompt=text(prompt),
            negative=text(_Walk(self).text(unwanted, 1)),
            seed=first(seed(self._value(each.get(key))) for each in (inputs, noise) for key in ("seed", "noise_seed")),
            steps=first(steps(self._value(each.get("steps"))) for each in (inputs, sigmas)),
            guidance=guidance,
            sampler=" ".join(part for part in (sampler, schedule) if part) or None,
            model=first(self._model(each) for each in (inputs, guider, sigmas)),
            source="comfyui",
        )

    def _value(self, value: Any) -> Any:
        """A setting, followed through nodes that only hold one."""
        for _ in range(20):
            to = self._target(value)
            if to is None:
                return value
            inputs = self.nodes[to]["inputs"]
            value = first(inputs.get(key) for key in _NUMBERS)
        return None

    def _model(self, inputs: Node) -> str | None:
        """The checkpoint behind `model`, whatever loras and patches lie between."""
        met: set[str] = set()
        while (to := self._target(inputs.get("model"))) is not None and to not in met:
            met.add(to)
            inputs = self.nodes[to]["inputs"]
            loaded = first(name(inputs.get(key)) for key in _LOADED)
            if loaded is not None:
                return loaded
        return None


class _Walk:
    """One way from a sampler's input back to the texts."""

    def __init__(self, graph: _Graph):
        self.graph, self.met = graph, set[str]()
        self.distilled: float | None = None
        """The guidance that FLUX takes as a condition, where the way led through it."""

    def text(self, value: Any, side: int, depth: int = 0) -> str | None:
        """The text that a link leads to.

        Args:
            side: 0 where a positive prompt is looked for, 1 for a negative one.
        """
        if isinstance(value, str):
            return value
        to = self.graph._target(value)
        if to is None or depth > 200 or len(self.met) > MAX_VISITS:
            return None
        if to in self.met:
            return None
        self.met.add(to)
        node = self.graph.nodes[to]
        inputs, kind = node["inputs"], _kind(node)
        if kind == "ConditioningZeroOut":
            return None
        if kind == "FluxGuidance":
            self.distilled = number(self.graph._value(inputs.get("guidance")))
        for pair in _SIDES:
            if pair[0] in inputs and pair[1] in inputs:
                return self.text(inputs[pair[side]], side, depth + 1)
        for keys, joint in ((_TEXTS, ", "), (_JOINED, _delimiter(inputs)), (_ROUTES, ", ")):
            told = [self.text(inputs[key], side, depth + 1) for key in keys if key in inputs]
            parts = list(dict.fromkeys(part for part in told if part and part.strip()))
            if parts:
                return joint.join(parts)
        return None


def _executed(workflow: Any) -> dict[str, Any]:
    """A drawn graph in the form of an executed one, as far as its nodes' settings have known names."""
    if not isinstance(workflow, dict) or not isinstance(workflow.get("nodes"), list):
        return {}
    links: dict[Any, list[Any]] = {}
    drawn = workflow.get("links")
    for link in drawn[:MAX_NODES] if isinstance(drawn, list) else []:
        if isinstance(link, list) and len(link) >= 3 and all(isinstance(part, (int, str)) for part in link[:3]):
            links[link[0]] = [str(link[1]), link[2]]
    made: dict[str, Any] = {}
    for node in workflow["nodes"][:MAX_NODES]:
        if not isinstance(node, dict) or node.get("mode") in (2, 4) or not isinstance(node.get("id"), (int, str)):
            continue  # 2 and 4: muted and bypassed
        kind, values, inputs = _kind(node), node.get("widgets_values"), dict[str, Any]()
        if isinstance(values, list):
            inputs |= {key: value for key, value in zip(WIDGETS.get(kind, ()), values, strict=False) if key}
        slots = node.get("inputs")
        for slot in slots[:100] if isinstance(slots, list) else []:
            told = (slot.get("name"), slot.get("link")) if isinstance(slot, dict) else (None, None)
            if isinstance(told[0], str) and isinstance(told[1], (int, str)):
                inputs[told[0]] = links.get(told[1])
        made[str(node["id"])] = {"class_type": kind, "inputs": inputs}
    return made


def _kind(node: Node) -> str:
    kind = node.get("class_type", node.get("type"))
    return kind if isinstance(kind, str) else ""


def _samples(node: Node) -> bool:
    """Whether a node denoises: it takes a prompt and is called a sampler, or takes a guider."""
    inputs = node["inputs"]
    named = "sampler" in _kind(node).lower()
    return "guider" in inputs or ("positive" in inputs and (named or "seed" in inputs or "noise_seed" in inputs))


def _delimiter(inputs: Node) -> str:
    found = inputs.get("delimiter", " ")
    return found[:20] if isinstance(found, str) else " "


def _some(values: Any) -> Iterator[Any]:
    for _, value in zip(range(MAX_NODES), values, strict=False):
        yield value
