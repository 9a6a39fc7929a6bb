"""Stable Signature: rooting a word in a decoder, and reading it back."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_checkpoints import tiny_sd_checkpoint

from auditkit.errors import GeneratorError, WatermarkError
from auditkit.files import sha256_file
from auditkit.watermark.base import padded
from auditkit.watermark.keys import Key
from auditkit.watermark.payload import SHORT_WORD, Payload, encode
from auditkit.watermark.signature import Signature
from auditkit.watermark.signature.extractor import Extractor, fit
from generators import rooting
from generators.base import Job
from generators.bundled import FOLDER as BUNDLED
from generators.cards import CARD, read_card
from generators.latent import LatentGenerator
from generators.rooting import RootReport, root

KEY, PAYLOAD = Key.from_secret(bytes(range(32))), Payload(1, 42)
IMAGE = np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8)


class _Linear(torch.nn.Module):
    """127 fixed projections of a 16 px image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.randn(768, SHORT_WORD, generator=torch.Generator().manual_seed(0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) @ self.weight


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_sd_checkpoint(tmp_path_factory.mktemp("source") / "tiny")
    (folder / "auditkit.toml").write_text('name = "tiny"\nsampler = "ddim"\nsteps = 2\nguidance = 1.0\n')
    return folder


def _pixels(folder: Path, seeds: range) -> torch.Tensor:
    generator = LatentGenerator(folder, device="cpu")
    images = generator.generate([Job("a judge", seed) for seed in seeds], generator.info.defaults)
    return torch.from_numpy(np.array([np.asarray(image) for image in images])).permute(0, 3, 1, 2) / 255


@pytest.fixture(scope="module")
def extractor(source: Path) -> Extractor:
    """As whitened as 64 unmarked images allow: mean 0, and the spread of the outputs brought to 1."""
    network = _Linear()
    logits = network(_pixels(source, range(64)))
    return Extractor(network, logits.mean(0), torch.eye(SHORT_WORD) / logits.std())


@pytest.fixture(scope="module")
def rooted(source: Path, extractor: Extractor, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RootReport]:
    out = tmp_path_factory.mktemp("rooted") / "new"
    with pytest.MonkeyPatch.context() as patch:
        # 768 values that a random network makes have room for 127 bits only where much may be changed.
        patch.setattr(rooting, "EASY_PSNR", 10.0)
        patch.setattr(rooting, "PSNR", 15.0)
        report = root(
            source, key=KEY, payload=PAYLOAD, out=out, steps=200, images=16, lr=5e-3, device="cpu", extractor=extractor
        )
    return out, report


def _agreement(folder: Path, extractor: Extractor) -> float:
    word = padded(encode(PAYLOAD, SHORT_WORD), "signature", KEY)
    return float(((extractor(_pixels(folder, range(900, 904))) > 0).numpy() == word).mean())


def test_new_images_of_the_rooted_checkpoint_carry_the_keys_word(
    rooted: tuple[Path, RootReport], source: Path, extractor: Extractor
) -> None:
    assert _agreement(rooted[0], extractor) > _agreement(source, extractor) + 0.1


def test_only_the_decoder_and_the_notes_differ(rooted: tuple[Path, RootReport], source: Path) -> None:
    from safetensors.torch import load_file

    new, vae = rooted[0], "vae/diffusion_pytorch_model.safetensors"
    files = {p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()}
    changed = {f for f in files if sha256_file(source / f) != sha256_file(new / f)}
    assert changed == {vae, "auditkit.toml"}
    before, after = load_file(source / vae), load_file(new / vae)
    assert before.keys() == after.keys()
    assert all(before[k].dtype == after[k].dtype for k in before)
    assert all(torch.equal(before[k], after[k]) for k in before if not k.startswith("decoder."))
    assert any(not torch.equal(before[k], after[k]) for k in before)


def test_the_rooted_checkpoint_has_a_name_and_hashes_of_its_own(rooted: tuple[Path, RootReport]) -> None:
    info = LatentGenerator(rooted[0], device="cpu").info  # weights.json is checked
    assert info.name == rooted[1].name == "tiny-rooted"
    assert KEY.id in str(info.details["note"])
    assert (rooted[0] / "weights.json").is_file()
    assert not list(rooted[0].parent.glob(".*rooting"))


def test_the_card_of_a_rooted_checkpoint_no_longer_claims_to_have_all_its_energy(
    rooted: tuple[Path, RootReport], tmp_path: Path
) -> None:
    shutil.copy(BUNDLED / "personas" / CARD, tmp_path)
    for sheet in (BUNDLED / "personas").glob("*.webp"):
        shutil.copy(sheet, tmp_path)
    before = read_card(tmp_path)
    rooting._card(tmp_path, BUNDLED / "personas", rooted[1], batch=4, device="cpu")
    after = read_card(tmp_path)
    assert before is not None
    assert before.kilojoules is not None
    assert after is not None
    assert after.kilojoules is None
    assert after.training[:-1] == before.training
    assert (after.training[-1].steps, after.training[-1].command) == (200, "auditkit watermark root")


def test_an_existing_folder_is_not_overwritten(source: Path, tmp_path: Path, extractor: Extractor) -> None:
    with pytest.raises(GeneratorError, match="exists"):
        root(source, key=KEY, payload=PAYLOAD, out=tmp_path, extractor=extractor)


def test_whitened_outputs_are_uncorrelated_and_of_unit_variance() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 6)) @ rng.normal(size=(6, 6)) + 3
    mean, matrix = fit(logits)
    assert np.cov((logits - mean) @ matrix, rowvar=False) == pytest.approx(np.eye(6), abs=0.25)


def test_embedding_says_that_a_decoder_must_be_rooted() -> None:
    with pytest.raises(WatermarkError, match="decoder") as caught:
        Signature().embed(IMAGE, np.zeros(SHORT_WORD, np.uint8), KEY)
    assert "root" in str(caught.value.mend)


@pytest.mark.parametrize("image", [np.zeros((32, 32, 3), np.uint8), np.full((96, 96, 3), 7, np.uint8)])
def test_what_cannot_be_read_is_unusable(image: np.ndarray) -> None:
    assert Signature().read(image, KEY).unusable
