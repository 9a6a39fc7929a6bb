"""Parts of mitigations: what is wrong with one is said before an image is made, and those that were trained work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from guidance_helpers import other_weights, random_head, random_sliders
from tiny_checkpoints import CHECKPOINTS

from auditkit.errors import AuditkitError, GeneratorError, SpecError
from auditkit.guidance import Request, parts, steer
from auditkit.guidance.adapters import adapted, attention_layers, new_adapter
from auditkit.guidance.distribution_guidance import divergence
from auditkit.guidance.heads import features, spread
from auditkit.guidance.steering import make
from auditkit.spec import RunSpec
from generators.latent import LatentGenerator
from generators.training.mitigation import references

SPEC = RunSpec(
    name="one", templates=["a portrait of {a occupation}"], axes={"occupation": ["judge"]}, images_per_prompt=1
)
TRAINED = ("concept-slider", "distribution-guidance", "rebalanced-finetuning")


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> LatentGenerator:
    return LatentGenerator(CHECKPOINTS["sd"](tmp_path_factory.mktemp("tiny") / "sd"), device="cpu")


def refused(generator: LatentGenerator, name: str, target: str = "gender=uniform", **options: object) -> str:
    with pytest.raises(AuditkitError) as caught:
        steer(Request(name, target, options), SPEC, generator.model(3.0))
    assert caught.value.mend
    return str(caught.value)


@pytest.mark.parametrize("name", TRAINED)
def test_without_its_part_a_method_says_the_command_that_makes_one(generator: LatentGenerator, name: str) -> None:
    assert "auditkit train " in refused(generator, name)


@pytest.mark.parametrize(
    ("name", "option"),
    [("concept-slider", "sliders"), ("distribution-guidance", "head"), ("image-guidance", "references"),
     ("rebalanced-finetuning", "checkpoint")],
)  # fmt: skip
def test_a_folder_without_the_part_is_named(generator: LatentGenerator, tmp_path: Path, name: str, option: str) -> None:
    assert str(tmp_path / "nowhere") in refused(generator, name, **{option: str(tmp_path / "nowhere")})


def test_a_damaged_part_is_named(generator: LatentGenerator, tmp_path: Path) -> None:
    options = random_head(generator, tmp_path / "head")
    (tmp_path / "head" / parts.TENSORS).write_bytes(b"damaged")
    assert "damaged" in refused(generator, "distribution-guidance", **options)


def test_a_part_of_another_kind_is_named(generator: LatentGenerator, tmp_path: Path) -> None:
    folder = random_head(generator, tmp_path / "head")["head"]
    assert "holds version 1 of a 'head'" in refused(generator, "concept-slider", sliders=folder)


def test_a_head_of_another_network_is_refused(generator: LatentGenerator, tmp_path: Path) -> None:
    random_head(generator, tmp_path / "head")
    facts = json.loads((tmp_path / "head" / parts.FACTS).read_text())
    (tmp_path / "head" / parts.FACTS).write_text(json.dumps(facts | {"channels": 1280}))
    assert "reads 1280 channels" in refused(generator, "distribution-guidance", head=str(tmp_path / "head"))


def test_sliders_of_another_network_are_refused(generator: LatentGenerator, tmp_path: Path) -> None:
    folder = parts.save_part(
        tmp_path / "s", "sliders", "x", {"female/no.such.layer/up": torch.zeros(2, 2)}, attribute="gender",
        classes=["female", "male"],
    )  # fmt: skip
    assert "another network" in refused(generator, "concept-slider", sliders=str(folder))


def test_an_attribute_without_a_slider_is_refused_with_those_that_have_one(
    generator: LatentGenerator, tmp_path: Path
) -> None:
    options = random_sliders(generator, tmp_path)
    only = options["sliders"][:1]
    assert "there are sliders of gender alone" in refused(
        generator, "concept-slider", "gender+skin_tone=uniform", sliders=only
    )


def test_a_checkpoint_of_another_network_is_refused(generator: LatentGenerator, tmp_path: Path) -> None:
    options = other_weights(generator, tmp_path)
    config = json.loads((tmp_path / "unet" / "config.json").read_text())
    (tmp_path / "unet" / "config.json").write_text(json.dumps(config | {"layers_per_block": 7}))
    assert "layers_per_block is 7" in refused(generator, "rebalanced-finetuning", **options)


def test_a_checkpoint_with_a_text_encoder_of_its_own_is_refused(generator: LatentGenerator, tmp_path: Path) -> None:
    options = other_weights(generator, tmp_path)
    other = CHECKPOINTS["sd"](tmp_path / "other")
    encoder = LatentGenerator(other, device="cpu").pipeline.text_encoder
    with torch.no_grad():
        for weight in encoder.parameters():
            weight += 1
    encoder.save_pretrained(tmp_path / "text_encoder")
    assert "text encoder of its own" in refused(generator, "rebalanced-finetuning", **options)


def test_the_parts_hash_is_part_of_what_decides_the_runs_id(generator: LatentGenerator, tmp_path: Path) -> None:
    options = random_head(generator, tmp_path / "head")
    record = steer(Request("distribution-guidance", "gender=uniform", options), SPEC, generator.model(3.0)).record()
    assert list(record["resolved"]["parts"].values()) == [parts.read_part(tmp_path / "head", "head").sha256]


def test_the_bundled_parts_can_be_read_and_are_small() -> None:
    found = [(path.parent, path.parent.name.split("-")[0]) for path in sorted(parts.BUNDLED.glob(f"*/*/{parts.FACTS}"))]
    assert {kind for _, kind in found} == {"head", "sliders", "references"}
    for folder, kind in found:
        assert parts.read_part(folder, kind).tensors
        assert (folder / parts.TENSORS).stat().st_size < 300_000


def test_a_number_that_half_precision_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match="not finite in half precision"):
        parts.save_part(tmp_path, "head", "x", {"in": torch.tensor([1e6])})
    assert not list(tmp_path.iterdir())


def test_paths_may_come_as_a_text_with_commas() -> None:
    assert make("concept-slider", {"sliders": "a, b"}).options.sliders == ("a", "b")


def test_an_adapter_is_added_to_the_images_that_have_a_scale_and_to_no_others() -> None:
    layer = torch.nn.ModuleDict({"attn2": torch.nn.Linear(4, 3)})
    assert list(attention_layers(layer)) == ["attn2"]
    adapter = new_adapter({"attn2": layer["attn2"]}, 2, seed=0)
    adapter["attn2/up"] = torch.ones(3, 2)
    x = torch.randn(4, 5, 4, generator=torch.Generator().manual_seed(0))  # two images, guided: 2 halves of 2
    plain = layer["attn2"](x)
    with adapted(layer, {"one": adapter}, lambda: torch.tensor([[2.0, 0.0]])):
        changed = layer["attn2"](x)
    expected = plain + 2 * (x @ adapter["attn2/down"].T @ adapter["attn2/up"].T)
    assert torch.allclose(changed[[0, 2]], expected[[0, 2]], atol=1e-5)
    assert torch.equal(changed[[1, 3]], plain[[1, 3]])
    assert torch.equal(layer["attn2"](x), plain)


def test_a_change_of_features_is_one_of_the_middle_that_gives_those_features() -> None:
    h = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    change = torch.randn(2, 12, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(features(h + spread(change, h)), features(h) + change, atol=1e-5)


def test_the_divergence_is_that_of_kullback_and_leibler() -> None:
    p, q = torch.tensor([0.2, 0.8]), torch.tensor([0.5, 0.5])
    assert float(divergence(p, q)) == pytest.approx(
        0.2 * torch.log(torch.tensor(0.4)) + 0.8 * torch.log(torch.tensor(1.6))
    )
    assert float(divergence(torch.tensor([0.0, 1.0]), q)) == pytest.approx(0.6931, abs=1e-4)


def test_a_folder_of_references_that_is_no_class_is_named(tmp_path: Path) -> None:
    (tmp_path / "femal").mkdir()
    with pytest.raises(SpecError, match="did you mean"):
        references.in_folder(tmp_path, "gender")


def test_a_class_without_references_is_named(tmp_path: Path) -> None:
    (tmp_path / "female").mkdir()
    with pytest.raises(SpecError, match="no images of 'female'"):
        references.in_folder(tmp_path, "gender")
