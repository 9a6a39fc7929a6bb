"""What the methods compute, against their papers' formulas."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from guidance_helpers import JOBS, POLICY, aimed, plain, same, steered
from tiny_checkpoints import tiny_sd_checkpoint

from auditkit.errors import GeneratorError, SpecError
from auditkit.guidance import Policy, Request, steer
from auditkit.guidance.embedding_projection import projection
from auditkit.guidance.semantic_guidance import strongest
from auditkit.guidance.steering import make
from auditkit.guidance.unified_concept_editing import cross_attention, edit
from auditkit.spec import RunSpec
from generators.base import Settings
from generators.latent import LatentGenerator

DDIM = Settings("ddim", 4, 1.0)
SPEC = RunSpec(name="one", templates=["{a occupation}"], axes={"occupation": ["judge"]}, images_per_prompt=2)


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> LatentGenerator:
    return LatentGenerator(tiny_sd_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny"), device="cpu")


def apart(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    """Mean absolute difference of two sets of images."""
    return float(np.mean([np.abs(x.astype(float) - y).mean() for x, y in zip(a, b, strict=True)]))


def test_sega_keeps_the_strongest_part_of_each_channel() -> None:
    psi = torch.arange(-8.0, 8.0).reshape(1, 1, 4, 4).repeat(2, 3, 1, 1)
    kept = strongest(psi, 0.75)
    assert (kept != 0).sum(dim=(2, 3)).unique().tolist() == [5]  # -8, -7, -6, 6 and 7: ties with the bar stay
    assert torch.equal(kept[kept != 0], psi[kept != 0])


def test_sega_with_a_scale_of_nought_does_nothing(generator: LatentGenerator) -> None:
    method = make("semantic-guidance", {"scale": 0})
    assert all(same(steered(generator, method, aimed(["female"] * 3), DDIM), plain(generator, JOBS, DDIM)))


def test_sega_does_nothing_during_the_warm_up(generator: LatentGenerator) -> None:
    method, seen = make("semantic-guidance", {"warmup": 0.5}), list[bool]()
    ours = method.predict
    method.predict = lambda step: seen.append(torch.equal(found := ours(step), step.guided)) or found  # type: ignore
    steered(generator, method, aimed(["female"] * 3), DDIM)
    assert seen == [True, True, False, False]


def test_sega_evaluates_nothing_more_after_its_phase(generator: LatentGenerator) -> None:
    calls = list[int]()
    hook = generator.pipeline.unet.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        steered(generator, make("semantic-guidance", {"until": 0.5}), aimed(["female"] * 3), DDIM)
    finally:
        hook.remove()
    assert len(calls) == 4 + 2 * 3  # two steps with the empty text, the class and its contrast


@pytest.mark.parametrize("name", ["weak-guidance", "semantic-guidance"])
def test_a_stronger_scale_moves_images_further(generator: LatentGenerator, name: str) -> None:
    expected = plain(generator, JOBS, DDIM)
    moved = [
        apart(steered(generator, make(name, {"scale": scale}), aimed(["female"] * 3), DDIM), expected)
        for scale in (0.1, 1, 10)
    ]
    assert moved == sorted(moved)
    assert moved[0] < moved[-1]


def test_weak_guidance_leaves_the_words_of_the_prompt_alone(generator: LatentGenerator) -> None:
    from auditkit.guidance import Batch

    method, model = make("weak-guidance"), generator.model(1.0)
    method.prepare(model, POLICY)
    job = aimed(["female"] * 3)[0]
    text = generator.encode(job.prompt)
    assert text is not None
    assert job.aim is not None
    assert model.end is not None
    moved = method.condition(Batch(model, [job.aim]), text, 0, 4)["prompt_embeds"]
    end = model.end(job.prompt)
    assert torch.equal(moved[:, :end], text["prompt_embeds"][:, :end])
    assert not torch.equal(moved[:, end:], text["prompt_embeds"][:, end:])


def test_outside_its_phase_weak_guidance_changes_nothing(generator: LatentGenerator) -> None:
    early = steered(generator, make("weak-guidance", {"until": 0.3}), aimed(["female"] * 3), DDIM)
    whole = steered(generator, make("weak-guidance"), aimed(["female"] * 3), DDIM)
    assert not any(same(early, whole))


def test_the_projection_is_the_closed_form_of_chuang_et_al() -> None:
    z = torch.tensor([[1.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    found = projection(list(z), 500.0)
    assert torch.allclose(found, torch.diag(torch.tensor([1 / (1 + 250 * 10.0), 1, 1], dtype=torch.float64)))
    assert torch.allclose(projection(list(z), 0.0), torch.eye(3, dtype=torch.float64))


def test_the_projection_makes_the_groups_texts_alike(generator: LatentGenerator) -> None:
    from auditkit.guidance import Aim, Batch

    method, model = make("embedding-projection"), generator.model(1.0)
    method.prepare(model, POLICY)
    texts = [generator.encode(f"a {word} judge") for word in ("female", "male")]
    batch = Batch(model, [Aim("", True), Aim("", True)])
    both = {"prompt_embeds": torch.cat([text["prompt_embeds"] for text in texts if text is not None])}
    before, after = both["prompt_embeds"], method.embed(batch, both)["prompt_embeds"]
    ends = [len(generator.pipeline.tokenizer(f"a {word} judge").input_ids) - 1 for word in ("female", "male")]

    def distance(of: torch.Tensor) -> float:
        return float((of[0, ends[0]] - of[1, ends[1]]).norm())

    assert distance(after) < 0.5 * distance(before)


def test_uce_moves_what_is_edited_and_keeps_the_rest() -> None:
    draw = torch.Generator().manual_seed(0)
    own, goals, kept = (torch.randn(n, 40, dtype=torch.float64, generator=draw) for n in (5, 5, 20))
    moved = edit(own, goals, kept, preserve=1.0, ridge=1e-6)
    assert torch.allclose(own @ moved.T, goals, atol=1e-3)
    assert torch.allclose(kept @ moved.T, kept, atol=1e-3)


def test_uce_is_the_papers_formula_for_every_layer() -> None:
    draw = torch.Generator().manual_seed(1)
    own, goals, kept = (torch.randn(n, 6, dtype=torch.float64, generator=draw) for n in (9, 9, 4))
    w = torch.randn(3, 6, dtype=torch.float64, generator=draw)
    fixed = 0.5 * 9 / 4 * kept.T @ kept + 0.1 * own.square().mean() * torch.eye(6, dtype=torch.float64)
    paper = (w @ goals.T @ own + w @ fixed) @ torch.linalg.inv(own.T @ own + fixed)
    assert torch.allclose(w @ edit(own, goals, kept, preserve=0.5, ridge=0.1), paper)


def test_uce_on_the_text_is_uce_on_the_weights(generator: LatentGenerator) -> None:
    method = make("unified-concept-editing")
    expected = steered(generator, method, aimed(["female"] * 3), DDIM)
    layers = [layer for pair in cross_attention(generator.pipeline.unet) for layer in pair]
    before = [layer.weight.data.clone() for layer in layers]
    try:
        for layer in layers:
            layer.weight.data = (layer.weight.data.double() @ method._matrix).float()  # type: ignore[attr-defined]
        found = plain(generator, JOBS, DDIM)
    finally:
        for layer, weight in zip(layers, before, strict=True):
            layer.weight.data = weight
    assert apart(found, expected) < 0.05
    assert apart(plain(generator, JOBS, DDIM), expected) > apart(found, expected)


def test_uce_is_refused_on_a_model_without_cross_attention_with_those_that_can(tmp_path: Path) -> None:
    from tiny_checkpoints import tiny_prx_checkpoint

    flow = LatentGenerator(tiny_prx_checkpoint(tmp_path / "prx"), device="cpu")
    with pytest.raises(GeneratorError, match="no cross-attention") as caught:
        steer(Request("unified-concept-editing", "gender=uniform"), SPEC, flow.model(1.0))
    assert "weak-guidance" in str(caught.value.mend)
    assert "unified" not in str(caught.value.mend)


def test_the_mix_of_uce_can_lie_in_a_file_and_is_recorded_in_full(tmp_path: Path, generator: LatentGenerator) -> None:
    file = tmp_path / "mix.json"
    file.write_text(json.dumps({"judge": {"female": 0.7, "male": 0.3}}))
    request = Request("unified-concept-editing", "gender=uniform", {"mix": str(file)})
    record = steer(request, SPEC, generator.model(1.0)).record()
    assert record["resolved"]["options"]["mix"] == {"judge": {"female": 0.7, "male": 0.3}}


def test_a_mix_that_does_not_sum_to_one_is_refused(generator: LatentGenerator) -> None:
    request = Request("unified-concept-editing", "gender=uniform", {"mix": {"judge": {"female": 0.7}}})
    with pytest.raises(GeneratorError, match=r"sums to 0\.7"):
        steer(request, SPEC, generator.model(1.0))


def test_a_mix_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        make("unified-concept-editing", {"mix": str(tmp_path / "none.json")})


def test_each_group_has_its_own_guidance_scale(generator: LatentGenerator) -> None:
    method = make("group-guidance", {"scales": "female:3,male:1"})
    found = steered(generator, method, aimed(["female", "male", "female"]), DDIM)
    said = steered(generator, make("prompt-diversification"), aimed(["female", "male", "female"]), DDIM)
    strong = steered(
        generator, make("prompt-diversification"), aimed(["female", "male", "female"]), Settings("ddim", 4, 3.0)
    )  # fmt: skip
    assert same(found, said)[1]
    assert not any(same(found, said)[::2])
    assert max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(found[::2], strong[::2], strict=True)) <= 1


def test_a_joint_target_mixes_all_its_groups(generator: LatentGenerator) -> None:
    shares = {
        f"{g}+{t}": 0.1 for g in ("female", "male") for t in ("light", "medium-light", "medium", "medium-dark", "dark")
    }
    method = make("unified-concept-editing")
    steered(generator, method, aimed(["female"] * 3), DDIM, Policy("gender+skin_tone", {"all": shares}))
    joint = method._matrix  # type: ignore[attr-defined]
    steered(generator, method, aimed(["female"] * 3), DDIM)
    assert not torch.allclose(joint, method._matrix)  # type: ignore[attr-defined]
