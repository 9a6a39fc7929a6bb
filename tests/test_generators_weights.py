"""Which weight files of a checkpoint are loaded, and their hashes: variants, shards, the cache."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from tiny_checkpoints import tiny_sd3_checkpoint

from auditkit import places
from auditkit.errors import GeneratorError
from auditkit.files import sha256_file
from generators import weights
from generators.base import Job, Settings
from generators.latent import LatentGenerator
from generators.weights import choose_weights

UNET = "unet/diffusion_pytorch_model"
TEXT = "text_encoder/model"
COMPONENTS = ("unet", "text_encoder")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd3_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(places.ENVIRONMENT, str(tmp_path / "home"))
    monkeypatch.setattr(weights, "LARGE", 0)
    return tmp_path / "home"


def test_the_plain_file_is_taken_where_there_is_a_variant_too() -> None:
    names = [f"{UNET}.safetensors", f"{UNET}.fp16.safetensors", f"{TEXT}.safetensors"]
    chosen = choose_weights(names, COMPONENTS)
    assert chosen.variant is None
    assert chosen.files == {"unet": [f"{UNET}.safetensors"], "text_encoder": [f"{TEXT}.safetensors"]}


def test_a_variant_is_taken_where_there_is_nothing_else() -> None:
    names = [f"{UNET}.fp16.safetensors", f"{TEXT}.fp16.safetensors", f"{UNET}.non_ema.safetensors"]
    chosen = choose_weights(names, COMPONENTS)
    assert chosen.variant == "fp16"
    assert chosen.files == {"unet": [f"{UNET}.fp16.safetensors"], "text_encoder": [f"{TEXT}.fp16.safetensors"]}


def test_a_component_without_that_variant_gives_its_plain_file() -> None:
    chosen = choose_weights([f"{UNET}.fp16.safetensors", f"{TEXT}.safetensors"], COMPONENTS)
    assert chosen.variant == "fp16"
    assert chosen.files == {"unet": [f"{UNET}.fp16.safetensors"], "text_encoder": [f"{TEXT}.safetensors"]}


def test_components_of_different_variants_are_an_error() -> None:
    with pytest.raises(GeneratorError, match=r"different variants: (fp16, bf16|bf16, fp16)"):
        choose_weights([f"{UNET}.fp16.safetensors", f"{TEXT}.bf16.safetensors"], COMPONENTS)


def test_files_of_other_folders_and_names_are_left_alone() -> None:
    names = ["model.safetensors", "lora/model.safetensors", "unet/other.safetensors", f"{UNET}.safetensors"]
    assert choose_weights(names, COMPONENTS).files == {"unet": [f"{UNET}.safetensors"]}


def test_a_missing_shard_is_an_error_that_names_it() -> None:
    with pytest.raises(GeneratorError, match="missing") as caught:
        choose_weights([f"{UNET}-00001-of-00002.safetensors"], COMPONENTS)
    assert caught.value.where == f"{UNET}-00002-of-00002.safetensors"


def _image(folder: Path) -> np.ndarray:
    generator = LatentGenerator(folder, device="cpu")
    return np.asarray(next(generator.generate([Job("a judge", 1)], Settings("as-shipped", 2, 3.0))), dtype=int)


def test_shards_give_the_images_of_one_file_and_each_is_hashed(copy: Path) -> None:
    expected = _image(copy)
    for whole in ("transformer/diffusion_pytorch_model.safetensors", "text_encoder_3/model.safetensors"):
        single = copy / whole
        tensors = load_file(single)
        names = sorted(tensors)
        parts = {f"{single.stem}-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
        for file, part in parts.items():
            save_file({name: tensors[name] for name in part}, single.parent / file, {"format": "pt"})
        index = {"metadata": {"total_size": single.stat().st_size}}
        index["weight_map"] = {name: file for file, part in parts.items() for name in part}
        single.with_name(f"{single.name}.index.json").write_text(json.dumps(index))
        single.unlink()
    assert (_image(copy) == expected).all()
    hashed = LatentGenerator(copy, device="cpu").info.weights
    shards = [name for name in hashed if "-of-" in name]
    assert len(shards) == 4
    assert all(hashed[name] == sha256_file(copy / name) for name in shards)
    (copy / shards[1]).unlink()
    with pytest.raises(GeneratorError, match="a weight file is missing") as caught:
        LatentGenerator(copy, device="cpu")
    assert caught.value.where == copy / shards[1]


@pytest.mark.parametrize("kept", [(), ("vae",)], ids=["all in half precision", "one component is not"])
def test_a_checkpoint_in_half_precision_alone_is_loaded(copy: Path, kept: tuple[str, ...]) -> None:
    expected = _image(copy)
    for file in list(copy.rglob("*.safetensors")):
        if file.parent.name not in kept:
            file.rename(file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")))
    assert (_image(copy) == expected).all()
    hashed = LatentGenerator(copy, device="cpu").info.weights
    plain = {name for name in hashed if ".fp16." not in name}
    assert plain == {f"{name}/diffusion_pytorch_model.safetensors" for name in kept}


def test_only_what_is_loaded_is_hashed(copy: Path) -> None:
    before = LatentGenerator(copy, device="cpu").info.weights
    vae = copy / "vae" / "diffusion_pytorch_model.safetensors"
    for name in ("diffusion_pytorch_model.fp16.safetensors", "something_else.safetensors"):
        shutil.copyfile(vae, vae.with_name(name))
    assert LatentGenerator(copy, device="cpu").info.weights == before


def _counted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    read: list[Path] = []

    def counting(path: Path) -> str:
        read.append(path)
        return sha256_file(path)

    monkeypatch.setattr(weights, "sha256_file", counting)
    return read


def test_a_large_file_is_hashed_once(home: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = _counted(monkeypatch)
    first = LatentGenerator(copy, device="cpu").info.weights
    assert len(read) == len(first) == 5
    assert LatentGenerator(copy, device="cpu").info.weights == first
    assert len(read) == 5


def test_a_changed_file_is_hashed_again(home: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = copy / "vae" / "diffusion_pytorch_model.safetensors"
    read = _counted(monkeypatch)
    before = weights.cached_sha256(file)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert weights.cached_sha256(file) == sha256_file(file) != before
    assert len(read) == 2


def test_a_wrong_hash_is_an_error_with_the_cache_too(home: Path, copy: Path) -> None:
    right = LatentGenerator(copy, device="cpu").info.weights
    name = "vae/diffusion_pytorch_model.safetensors"
    (copy / "weights.json").write_text(json.dumps(right | {name: "0" * 64}))
    for _ in range(2):
        with pytest.raises(GeneratorError, match=r"weights\.json") as caught:
            LatentGenerator(copy, device="cpu")
        assert caught.value.where == copy / name


def test_small_files_are_hashed_every_time(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(places.ENVIRONMENT, str(tmp_path / "home"))
    LatentGenerator(copy, device="cpu")
    assert not (tmp_path / "home").exists()


def test_a_damaged_or_unwritable_cache_only_costs_time(home: Path, copy: Path) -> None:
    file = copy / "vae" / "diffusion_pytorch_model.safetensors"
    digest = weights.cached_sha256(file)
    (entry,) = (home / "cache" / "sha256").iterdir()
    entry.write_bytes(b"\xff damaged")
    assert weights.cached_sha256(file) == digest
    shutil.rmtree(home)
    home.write_text("a file where the folder should be")
    assert weights.cached_sha256(file) == digest
