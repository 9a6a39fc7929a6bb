"""Marks of other tools: read where their packages are, and a clear word where they are not."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from skimage import data

from auditkit.errors import WatermarkError
from auditkit.watermark import foreign
from auditkit.watermark.base import ForeignScheme

PHOTOGRAPH = data.chelsea()[:260, 100:364]
WORD = np.random.default_rng(7).integers(0, 2, 32, np.uint8)
SCHEMES = (foreign.DwtDct, foreign.DwtDctSvd, foreign.RivaGan, foreign.BlindWatermark, foreign.TrustMark)

with_invisible = pytest.mark.skipif(find_spec("imwatermark") is None, reason="invisible-watermark is not installed")
with_blind = pytest.mark.skipif(find_spec("blind_watermark") is None, reason="blind-watermark is not installed")
with_onnx = pytest.mark.skipif(find_spec("onnxruntime") is None, reason="onnxruntime is not installed")


def agreement(scheme: Any, image: np.ndarray, word: np.ndarray = WORD) -> float:
    return float((scheme.read_bits(image) == word).mean())


@pytest.mark.parametrize("kind", SCHEMES)
def test_an_adapter_is_a_foreign_scheme_with_no_package_imported(kind: Any) -> None:
    before = set(sys.modules)
    scheme = kind()
    assert isinstance(scheme, ForeignScheme)
    assert scheme.family == "foreign"
    assert not {"imwatermark", "blind_watermark", "trustmark", "cv2"} & (set(sys.modules) - before)


@pytest.mark.parametrize("kind", SCHEMES)
def test_a_missing_package_is_named_with_what_mends_it(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("imwatermark", "blind_watermark", "trustmark", "onnxruntime"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(foreign.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WatermarkError) as error:
        kind().read_bits(PHOTOGRAPH)
    assert "not installed" in error.value.what
    assert error.value.mend == foreign.EXTRA


@with_invisible
def test_a_mark_of_invisible_watermark_is_read_back_with_its_colours_in_place() -> None:
    scheme = foreign.DwtDctSvd()
    marked = scheme.embed(PHOTOGRAPH, WORD)
    assert (marked.dtype, marked.shape) == (np.uint8, PHOTOGRAPH.shape)
    assert np.abs(marked.astype(int) - PHOTOGRAPH).mean() < 4
    assert agreement(scheme, marked) == 1
    assert agreement(scheme, PHOTOGRAPH) < 0.9


@with_invisible
def test_what_the_package_itself_marked_is_read_by_its_adapter() -> None:
    from imwatermark import WatermarkEncoder

    encoder = WatermarkEncoder()
    encoder.set_watermark("bytes", b"made")
    bgr = encoder.encode(np.ascontiguousarray(PHOTOGRAPH[..., ::-1]), "dwtDctSvd")
    bits = foreign.DwtDctSvd(bits=32).read_bits(bgr[..., ::-1])
    assert np.packbits(bits).tobytes() == b"made"


@with_invisible
def test_the_default_method_of_invisible_watermark_is_written_and_mostly_read() -> None:
    scheme = foreign.DwtDct(bits=16)
    assert agreement(scheme, scheme.embed(PHOTOGRAPH, WORD[:16]), WORD[:16]) > 0.7


@with_invisible
@with_onnx
def test_rivagan_runs_from_the_weights_in_its_package() -> None:
    scheme = foreign.RivaGan()
    assert agreement(scheme, scheme.embed(PHOTOGRAPH, WORD)) > 0.8


@with_blind
def test_a_mark_of_blind_watermark_needs_its_password() -> None:
    scheme = foreign.BlindWatermark(password_image=3, password_word=5)
    marked = scheme.embed(PHOTOGRAPH, WORD)
    assert marked.shape == PHOTOGRAPH.shape
    assert agreement(scheme, marked) == 1
    assert agreement(foreign.BlindWatermark(), marked) < 0.9


@with_blind
def test_blind_watermark_says_nothing_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    foreign.BlindWatermark(bits=8).read_bits(PHOTOGRAPH[:64, :64])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("scheme", [foreign.DwtDct(), foreign.RivaGan(), foreign.BlindWatermark()])
def test_an_image_too_small_for_a_tool_is_refused(scheme: Any) -> None:
    with pytest.raises(WatermarkError, match="too small for"):
        scheme.read_bits(PHOTOGRAPH[:50, :50])


def test_bits_that_do_not_fit_are_refused() -> None:
    with pytest.raises(WatermarkError, match="do not fit"):
        foreign.BlindWatermark(bits=65).embed(PHOTOGRAPH[:64, :64], np.zeros(65, np.uint8))


@pytest.mark.parametrize("scheme", [foreign.DwtDct(), foreign.BlindWatermark(), foreign.TrustMark()])
def test_a_word_of_another_length_is_refused(scheme: Any) -> None:
    with pytest.raises(WatermarkError, match="bits, not 5"):
        scheme.embed(PHOTOGRAPH, WORD[:5])


def test_trustmark_fetches_nothing_unless_it_is_allowed_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    package = tmp_path / "trustmark"
    package.mkdir()
    (package / "__init__.py").write_text("from .trustmark import TrustMark\n")
    (package / "trustmark.py").write_text(
        "MODEL_CHECKSUMS = {'trustmark_Q.yaml': '0', 'encoder_Q.ckpt': '0', 'decoder_Q.ckpt': '0'}\n"
        "def TrustMark(**options):\n    raise AssertionError('it would have fetched its weights')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(WatermarkError, match="weights are not on this machine") as error:
        foreign.TrustMark().read_bits(PHOTOGRAPH)
    assert "allow_network=True" in str(error.value.mend)
    with pytest.raises(AssertionError, match="would have fetched"):
        foreign.TrustMark(allow_network=True).read_bits(PHOTOGRAPH)
    for name in ("trustmark", "trustmark.trustmark"):
        sys.modules.pop(name, None)
