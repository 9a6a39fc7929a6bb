"""The contract of every watermark scheme, by family: what `embed`, `read`, `noise` and `evidence` keep to."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from watermark_toy import key, photograph

from auditkit import registry
from auditkit.errors import AuditkitError, PluginError, WatermarkError
from auditkit.watermark.base import padded, unpadded
from auditkit.watermark.payload import CODES, Payload, encode
from auditkit.watermark.schemes import readings
from auditkit.watermark.statistics import word_p_value

PAYLOAD = Payload(1, 42)
SHAPE = (4, 32, 32)


def made(name: str) -> Any:
    try:
        return registry.load("watermarks", name)()
    except PluginError as error:
        pytest.fail(f"{name} is registered and cannot be loaded: {error.what}")


NAMES = registry.names("watermarks")
SCHEMES = {name: made(name) for name in NAMES}


def named(family: str, *, embeds: bool = False) -> list[Any]:
    found = [one for one in SCHEMES.values() if one.family == family]
    return [pytest.param(one, id=one.name) for one in found if not embeds or getattr(one, "embeds", True)]


def marked(scheme: Any, image: np.ndarray, psnr: float = 42.0) -> np.ndarray:
    word = padded(encode(PAYLOAD, scheme.bits), scheme.name, key())
    return np.asarray(scheme.embed(image, word, key(), psnr=psnr))


def read(scheme: Any, image: np.ndarray, number: int = 0) -> tuple[np.ndarray, float]:
    """Soft values without the pad, and the p-value of the payload, under key `number`."""
    reading = scheme.read(image, key(number), search=False)
    assert reading.soft.shape == (scheme.bits,)
    assert reading.unusable == ""
    assert reading.looks >= 1
    soft = unpadded(reading.soft, scheme.name, key(number))
    return soft, word_p_value(soft, encode(PAYLOAD, scheme.bits), looks=reading.looks)


@pytest.mark.parametrize("name", NAMES)
def test_a_scheme_says_what_it_is(name: str) -> None:
    scheme = SCHEMES[name]
    assert scheme.name == name
    assert scheme.version >= 1
    assert scheme.title
    assert scheme.family in ("word", "latent", "foreign")


@pytest.mark.parametrize("scheme", named("word"))
def test_a_word_has_a_length_that_a_code_has(scheme: Any) -> None:
    assert scheme.bits in CODES
    assert scheme.min_side >= 16


@pytest.mark.parametrize("scheme", named("word", embeds=True))
@pytest.mark.parametrize("psnr", [40.0, 42.0])
def test_a_marked_photograph_keeps_its_shape_and_the_quality_asked_for(scheme: Any, psnr: float) -> None:
    image = photograph("coffee.png", 320)
    after = marked(scheme, image, psnr)
    assert (after.shape, after.dtype) == (image.shape, np.uint8)
    error = ((after.astype(float) - image) ** 2).mean()
    assert 10 * np.log10(255**2 / error) == pytest.approx(psnr, abs=0.5)


@pytest.mark.parametrize("scheme", named("word", embeds=True))
def test_a_mark_reads_back_and_the_same_mark_is_the_same_bytes(scheme: Any) -> None:
    image = photograph("astronaut.png", 512)
    after = marked(scheme, image)
    assert np.array_equal(after, marked(scheme, image))
    soft, p_value = read(scheme, after)
    assert ((soft > 0) == encode(PAYLOAD, scheme.bits)).mean() >= 0.9
    assert p_value <= 1e-6


@pytest.mark.parametrize("scheme", named("word", embeds=True))
def test_a_wrong_key_finds_nothing(scheme: Any) -> None:
    after = marked(scheme, photograph("chelsea.png", 296))
    assert min(read(scheme, after, number)[1] for number in (1, 2, 3)) > 1e-3


@pytest.mark.parametrize("scheme", named("word"))
def test_an_unmarked_photograph_speaks_for_no_key(scheme: Any) -> None:
    image = photograph("coffee.png", 320)
    assert min(read(scheme, image, number)[1] for number in (0, 1, 2)) > 1e-3


@pytest.mark.parametrize("scheme", named("word", embeds=True))
def test_too_small_an_image_is_refused_with_the_size_it_needs(scheme: Any) -> None:
    with pytest.raises(WatermarkError, match="too small") as raised:
        marked(scheme, photograph(side=scheme.min_side - 1))
    assert str(scheme.min_side) in str(raised.value)


@pytest.mark.parametrize("scheme", named("word"))
@pytest.mark.parametrize("side", [1, 8, 40])
def test_reading_too_small_an_image_is_unusable_and_does_not_raise(scheme: Any, side: int) -> None:
    if side < scheme.min_side:
        assert scheme.read(photograph(side=side), key()).unusable


@pytest.mark.parametrize("scheme", named("word"))
@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_flat_image_is_read_without_a_false_finding(scheme: Any, value: int) -> None:
    reading = scheme.read(np.full((128, 160, 3), value, np.uint8), key(), search=False)
    if not reading.unusable:
        soft = unpadded(reading.soft, scheme.name, key())
        assert np.isfinite(soft).all()
        assert word_p_value(soft, encode(PAYLOAD, scheme.bits), looks=reading.looks) > 1e-3


@pytest.mark.parametrize("scheme", named("word", embeds=True))
def test_a_flat_image_can_be_marked(scheme: Any) -> None:
    flat = np.full((128, 160, 3), 128, np.uint8)
    assert marked(scheme, flat).shape == flat.shape


@pytest.mark.parametrize("scheme", [each for each in named("word") if hasattr(each.values[0], "read_many")])
def test_many_keys_are_read_as_one_is(scheme: Any) -> None:
    image = photograph("coffee.png", 256)
    keys = [key(0), key(1)]
    for one, reading in zip(keys, readings(scheme, image, keys, search=False), strict=True):
        alone = scheme.read(image, one, search=False)
        assert np.allclose(reading.soft, alone.soft, atol=1e-4 * np.abs(alone.soft).max())


@pytest.mark.parametrize("scheme", named("latent"))
def test_marked_noise_looks_like_any_noise_and_follows_from_its_seed(scheme: Any) -> None:
    noise = scheme.noise(SHAPE, key(), _message(scheme), seed=5)
    assert (noise.shape, noise.dtype) == (SHAPE, np.float32)
    assert np.array_equal(noise, scheme.noise(SHAPE, key(), _message(scheme), seed=5))
    assert not np.array_equal(noise, scheme.noise(SHAPE, key(), _message(scheme), seed=6))


@pytest.mark.parametrize("scheme", named("latent"))
def test_over_the_draw_of_the_key_marked_noise_is_standard_normal(scheme: Any) -> None:
    # Over keys: a Tree-Ring key by itself has few free values, and one key's noise may vary by a fifth.
    noise = np.stack([scheme.noise(SHAPE, key(number), _message(scheme), seed=number) for number in range(8)])
    assert abs(noise.mean()) < 0.05
    assert abs(noise.var() - 1) < 0.2
    assert abs((noise**4).mean() - 3) < 1.5


@pytest.mark.parametrize("scheme", named("latent"))
def test_marked_noise_is_recognised_through_a_good_channel_and_other_noise_is_not(scheme: Any) -> None:
    rng = np.random.default_rng(0)
    noise = scheme.noise(SHAPE, key(), _message(scheme), seed=5)
    received = 0.9 * noise + 0.19**0.5 * rng.standard_normal(SHAPE)
    asked = [_message(scheme)]
    assert scheme.evidence(received, key(), payloads=asked).p_value <= 1e-6
    assert scheme.evidence(received, key(1), payloads=asked).p_value > 1e-3
    assert scheme.evidence(rng.standard_normal(SHAPE), key(), payloads=asked).p_value > 1e-3


def _message(scheme: Any) -> Payload:
    """A payload that fits: the number 0 where a latent says 'this key' and no more."""
    return PAYLOAD if scheme.capacity(SHAPE) >= 64 else Payload(0)


@pytest.mark.parametrize("scheme", named("latent"))
def test_a_latent_that_is_too_small_is_refused(scheme: Any) -> None:
    with pytest.raises(WatermarkError):
        scheme.noise((1, 2, 2), key(), PAYLOAD, seed=0)


@pytest.mark.parametrize("scheme", named("foreign"))
def test_a_tool_that_is_not_installed_is_named_with_how_to_get_it(scheme: Any) -> None:
    assert scheme.bits > 0
    if importlib.util.find_spec(scheme.package.replace("-", "_").replace("invisible_watermark", "imwatermark")):
        pytest.skip(f"{scheme.package} is installed")
    with pytest.raises(AuditkitError) as raised:
        scheme.read_bits(photograph("coffee.png", 256))
    assert scheme.package in str(raised.value)
    assert "install" in str(raised.value)
