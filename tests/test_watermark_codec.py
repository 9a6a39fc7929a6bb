"""The learned codec: words survive what photographs meet, quality is what was asked for, weights are checked."""

from __future__ import annotations

import io
import shutil
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from auditkit.errors import ImageError, WatermarkError
from auditkit.watermark.base import padded, unpadded
from auditkit.watermark.codec import Codec, network, reading, scheme
from auditkit.watermark.keys import Key
from auditkit.watermark.payload import Payload, encode
from auditkit.watermark.soft_decoding import likeliest
from auditkit.watermark.statistics import word_p_value
from generators.training import codec as training
from generators.training import distortions, loop

KEY = Key.from_secret(bytes(range(32)))
OTHER = Key.from_secret(bytes(32))
WORD = encode(Payload(3, 77), 127)
CODEC = Codec()


@lru_cache
def photograph(name: str = "coffee") -> np.ndarray:
    image = np.asarray(getattr(data, name)())[..., :3]
    side = min(image.shape[:2])
    return np.asarray(Image.fromarray(image[:side, :side]).resize((512, 512), Image.Resampling.LANCZOS))


@lru_cache
def marked(name: str = "coffee", psnr: float = 42.0) -> np.ndarray:
    return CODEC.embed(photograph(name), padded(WORD, "codec", KEY), KEY, psnr=psnr)


def p_value(image: np.ndarray, key: Key = KEY, *, search: bool = True) -> float:
    found = CODEC.read(image, key, search=search)
    return word_p_value(unpadded(found.soft, "codec", key), WORD, looks=found.looks)


def psnr_of(image: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((image.astype(float) - other) ** 2)))


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def turned(image: np.ndarray, degrees: float) -> np.ndarray:
    return np.asarray(Image.fromarray(image).rotate(degrees, Image.Resampling.BICUBIC))


@pytest.mark.parametrize("psnr", [36.0, 42.0, 48.0])
def test_the_quality_is_the_one_asked_for(psnr: float) -> None:
    assert psnr_of(marked(psnr=psnr), photograph()) == pytest.approx(psnr, abs=0.3)


@pytest.mark.parametrize("level", [0, 255])
def test_plain_black_and_white_reach_the_quality_though_half_the_mark_is_clipped(level: int) -> None:
    plain = np.full((128, 160, 3), level, np.uint8)
    assert psnr_of(CODEC.embed(plain, WORD, KEY), plain) == pytest.approx(42, abs=0.3)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
def test_a_word_is_read_without_a_search_as_it_was_written(name: str) -> None:
    assert p_value(marked(name), search=False) < 1e-12


@pytest.mark.parametrize("quality", [50, 25])
def test_jpeg_leaves_the_word(quality: int) -> None:
    assert p_value(jpeg(marked(), quality), search=False) < 1e-6


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_another_size_leaves_the_word_without_a_search(share: float) -> None:
    side = round(512 * share)
    assert p_value(np.asarray(Image.fromarray(marked()).resize((side, side))), search=False) < 1e-6


@pytest.mark.parametrize("degrees", [5, -17, 30])
def test_a_rotation_is_found_and_reported(degrees: float) -> None:
    found = CODEC.read(turned(marked(), degrees), KEY)
    assert found.geometry["rotation"] == pytest.approx(degrees, abs=0.5)
    assert word_p_value(unpadded(found.soft, "codec", KEY), WORD) < 1e-6


def test_a_quarter_of_the_image_is_found_and_its_scale_reported() -> None:
    found = CODEC.read(marked()[101:357, 77:333], KEY)
    assert found.geometry["scale"] == pytest.approx(2.0, abs=0.05)
    assert word_p_value(unpadded(found.soft, "codec", KEY), WORD) < 1e-6


@pytest.mark.parametrize("keep", [0.5, 0.6, 0.7, 0.8])
def test_a_crop_of_a_small_image_is_read(keep: float) -> None:
    small = np.asarray(Image.fromarray(photograph()).resize((144, 144)))
    image = CODEC.embed(small, padded(WORD, "codec", KEY), KEY, psnr=40)
    side = round(144 * keep)
    assert p_value(image[20 : 20 + side, 10 : 10 + side]) < 1e-6


def test_a_mirrored_image_turned_by_a_quarter_is_read() -> None:
    assert p_value(np.rot90(marked())[:, ::-1]) < 1e-6


def test_without_a_search_a_turned_image_says_nothing() -> None:
    assert p_value(turned(marked(), 30), search=False) > 1e-3


def test_another_key_finds_nothing() -> None:
    assert p_value(marked(), OTHER) > 1e-3


@pytest.mark.parametrize("name", ["astronaut", "chelsea"])
def test_an_unmarked_image_says_nothing(name: str) -> None:
    assert p_value(photograph(name)) > 1e-3


def test_without_a_search_the_reading_does_not_depend_on_the_key() -> None:
    one, other = CODEC.read_many(marked(), [KEY, OTHER], search=False)
    assert np.array_equal(one.soft, other.soft)
    assert one.looks == 1


def test_a_search_counts_each_of_its_readings_as_a_look() -> None:
    found = reading.candidates(network.load_decoder(), photograph())
    assert len(found) == reading.READINGS
    assert CODEC.read(photograph(), KEY).looks == reading.READINGS


def test_values_of_no_mark_stay_below_the_agreement_that_ends_the_search() -> None:
    rng = np.random.default_rng(0)
    agreements = []
    for _ in range(300):
        soft = rng.standard_normal(127)
        payload = likeliest(soft)
        assert payload is not None
        agreements.append((2.0 * encode(payload, 127) - 1) @ soft / np.abs(soft).sum())
    assert np.median(agreements) == pytest.approx(0.86, abs=0.01)
    assert max(agreements) < scheme._BEYOND_DOUBT


def test_two_readings_are_the_same_to_the_last_bit() -> None:
    image = turned(marked(), 7)
    assert np.array_equal(CODEC.read(image, KEY).soft, CODEC.read(image, KEY).soft)


def test_the_signs_of_an_unmarked_image_are_fair_over_keys() -> None:
    # For one fixed image: each key's pad makes the agreement with a word binomial, whatever the reading is.
    soft = CODEC.read(photograph(), KEY, search=False).soft
    matched = []
    for number in range(400):
        key = Key.from_secret(number.to_bytes(32, "big"))
        matched.append(int(((unpadded(soft, "codec", key) > 0) == WORD).sum()))
    assert abs(np.mean(matched) - 63.5) < 4.5 * np.sqrt(127 / 4 / 400)


def test_searching_an_unmarked_image_finds_nothing_at_the_rate_asked_for_over_keys() -> None:
    keys = [Key.from_secret(number.to_bytes(32, "big")) for number in range(100)]
    found = CODEC.read_many(photograph("chelsea"), keys)
    values = [word_p_value(unpadded(one.soft, "codec", key), WORD, looks=one.looks)
              for key, one in zip(keys, found, strict=True)]  # fmt: skip
    assert sum(value <= 0.05 for value in values) <= 12  # P(Bin(100, .05) > 12) = 5e-4


@pytest.mark.parametrize("side", [64, 96, 128])
def test_small_images_carry_the_word(side: int) -> None:
    small = np.asarray(Image.fromarray(photograph()).resize((side, side)))
    assert p_value(CODEC.embed(small, padded(WORD, "codec", KEY), KEY), search=False) < 1e-6


def test_a_long_image_is_marked_and_read() -> None:
    long = np.tile(photograph("chelsea")[:80], (1, 3, 1))
    image = CODEC.embed(long, padded(WORD, "codec", KEY), KEY)
    assert image.shape == long.shape
    assert p_value(image, search=False) < 1e-6


def test_an_image_under_64_pixels_is_refused_for_marking_and_unusable_for_reading() -> None:
    small = photograph()[:63]
    with pytest.raises(WatermarkError, match="too small"):
        CODEC.embed(small, WORD, KEY)
    assert "64 px" in CODEC.read(small, KEY).unusable


@pytest.mark.parametrize("image", [np.full((200, 200, 3), 128, np.uint8), np.zeros((64, 900, 3), np.uint8)])
def test_one_colour_is_unusable(image: np.ndarray) -> None:
    assert "flat" in CODEC.read(image, KEY).unusable


def test_noise_and_grey_images_are_read_without_an_error() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (70, 400), np.uint8)
    assert CODEC.read(noise, KEY).soft.shape == (127,)


def test_weights_that_were_changed_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "codec"
    shutil.copytree(network.BUNDLED, folder)
    weights = folder / network.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(WatermarkError, match=r"weights\.json"):
        network.load(folder)


def test_missing_weights_say_how_to_get_them_back(tmp_path: Path) -> None:
    with pytest.raises(WatermarkError) as caught:
        network.load(tmp_path)
    assert "restore" in str(caught.value)


def test_the_decoder_takes_any_size_and_passes_gradients() -> None:
    images = torch.rand(2, 3, 72, 130, requires_grad=True)
    logits = network.load_decoder()(images)
    assert logits.shape == (2, 127)
    logits.square().mean().backward()
    assert images.grad is not None
    assert float(images.grad.abs().max()) > 0


def test_untrained_networks_read_each_other() -> None:
    encoder, decoder = network.build(network.Config(), seed=3)
    images = torch.from_numpy(photograph().copy()).permute(2, 0, 1)[None].float() / 255
    signs = torch.from_numpy(WORD * 2.0 - 1)[None].float()
    seen = decoder(training.embed(encoder, images, signs, torch.tensor([36.0])))
    assert float((seen * signs > 0).float().mean()) > 0.9


def test_the_patterns_of_an_untrained_bank_are_orthogonal_and_of_unit_power() -> None:
    bank = network.Bank(network.Config(), torch.Generator().manual_seed(0))()
    assert torch.allclose(bank @ bank.T / bank.shape[1], torch.eye(127), atol=1e-4)


@pytest.mark.parametrize("quality", [20, 50, 90])
def test_the_jpeg_of_training_is_nearly_that_of_libjpeg(quality: int) -> None:
    grey = np.repeat(photograph().mean(2, keepdims=True).round().astype(np.uint8), 3, 2)
    images = torch.from_numpy(grey).permute(2, 0, 1)[None].float() / 255
    ours = distortions.jpeg(images, torch.full((1, 1, 1, 1), float(quality)))[0, 0].numpy() * 255
    theirs = jpeg(grey, quality)[..., 0]
    assert np.sqrt(np.mean((ours - theirs) ** 2)) < 0.7


def test_what_a_training_attack_turned_is_turned_back() -> None:
    wave = torch.sin(torch.arange(512) / 12)[None, None, None, :].expand(1, 1, 512, 512)
    random = torch.Generator().manual_seed(0)
    seen, back = distortions.turned(wave, 448, torch.tensor([20.0]), torch.tensor([1.1]), random)
    restored, reached = distortions.undone(seen, back, side=512)
    inside = reached > 0.99
    assert float(inside.float().mean()) > 0.5
    assert float((restored - wave)[inside].abs().mean()) < 0.05


def test_training_makes_an_export_that_loads_and_resumes(tmp_path: Path) -> None:
    Image.fromarray(np.asarray(Image.fromarray(photograph()).resize((520, 540)))).save(tmp_path / "a.png")
    config = network.Config(encoder_width=8, encoder_blocks=1, decoder_width=8, decoder_blocks=1)
    for steps in (1, 2):
        schedule = loop.Schedule(steps=steps, batch=2, lr=1e-3)
        folder = training.train([tmp_path], tmp_path / "out", schedule, device="cpu", config=config)
    _, decoder = network.load(folder)
    assert decoder(torch.rand(1, 3, 64, 64)).shape == (1, 127)
    assert '"encoder_width": 8' in (folder / network.CONFIG).read_text()


def test_training_on_a_folder_without_photographs_says_so(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no images"):
        training.load_photographs([tmp_path], "cpu")


def test_the_search_gives_the_geometry_of_a_crop_with_a_rotation() -> None:
    found = CODEC.read(turned(marked(), 10)[80:432, 80:432], KEY)
    assert found.geometry["rotation"] == pytest.approx(10, abs=0.6)
    assert found.geometry["scale"] == pytest.approx(512 / 352, abs=0.05)
