"""Colour arithmetic: published values, laws, and Monk's swatches under other light beside two published formulas."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditkit.bias.skin_color import (
    MONK_HEX,
    MONK_LAB,
    delta_e,
    hex_rgb,
    ita,
    ita_class,
    lab,
    linear_rgb,
    monk_distances,
    stored_rgb,
)
from benchmarks.skin_tone import SWATCHES, dalleval, exposed, heim, lit, ours

# Table 1 of Sharma, Wu and Dalal (2005): L a b, L a b, dE00.
SHARMA = np.loadtxt(io.StringIO("""
50 2.6772 -79.7751 50 0 -82.7485 2.0425
50 3.1571 -77.2803 50 0 -82.7485 2.8615
50 2.8361 -74.0200 50 0 -82.7485 3.4412
50 -1.3802 -84.2814 50 0 -82.7485 1.0000
50 -1.1848 -84.8006 50 0 -82.7485 1.0000
50 -0.9009 -85.5211 50 0 -82.7485 1.0000
50 0 0 50 -1 2 2.3669
50 -1 2 50 0 0 2.3669
50 2.4900 -0.0010 50 -2.4900 0.0009 7.1792
50 2.4900 -0.0010 50 -2.4900 0.0010 7.1792
50 2.4900 -0.0010 50 -2.4900 0.0011 7.2195
50 2.4900 -0.0010 50 -2.4900 0.0012 7.2195
50 -0.0010 2.4900 50 0.0009 -2.4900 4.8045
50 -0.0010 2.4900 50 0.0010 -2.4900 4.8045
50 -0.0010 2.4900 50 0.0011 -2.4900 4.7461
50 2.5 0 50 0 -2.5 4.3065
50 2.5 0 73 25 -18 27.1492
50 2.5 0 61 -5 29 22.8977
50 2.5 0 56 -27 -3 31.9030
50 2.5 0 58 24 15 19.4535
50 2.5 0 50 3.1736 0.5854 1.0000
50 2.5 0 50 3.2972 0 1.0000
50 2.5 0 50 1.8634 0.5757 1.0000
50 2.5 0 50 3.2592 0.3350 1.0000
60.2574 -34.0099 36.2677 60.4626 -34.1751 39.4387 1.2644
63.0109 -31.0961 -5.8663 62.8187 -29.7946 -4.0864 1.2630
61.2901 3.7196 -5.3901 61.4292 2.2480 -4.9620 1.8731
35.0831 -44.1164 3.7933 35.0232 -40.0716 1.5901 1.8645
22.7233 20.0904 -46.6940 23.0331 14.9730 -42.5619 2.0373
36.4612 47.8580 18.3852 36.2715 50.5065 21.2231 1.4146
90.8027 -2.0831 1.4410 91.1528 -1.6435 0.0447 1.4441
90.9257 -0.5406 -0.9208 88.6381 -0.8985 -0.7239 1.5381
6.7747 -0.2908 -2.4247 5.8714 -0.0985 -2.2286 0.6377
2.0776 0.0795 -1.1350 0.9033 -0.0636 -0.5514 0.9082
"""))

COLOUR = st.tuples(*[st.floats(0, 1)] * 3)


def test_delta_e_gives_the_published_test_values():
    assert len(SHARMA) == 34
    np.testing.assert_allclose(delta_e(SHARMA[:, :3], SHARMA[:, 3:6]), SHARMA[:, 6], atol=6e-5)


@given(COLOUR, COLOUR)
@settings(max_examples=60, deadline=None)
def test_delta_e_is_symmetric_and_zero_only_for_the_same_colour(first, second):
    a, b = lab(first), lab(second)
    assert delta_e(a, b) == pytest.approx(float(delta_e(b, a)), abs=1e-9)
    assert delta_e(a, a) == 0


@given(COLOUR)
@settings(max_examples=60, deadline=None)
def test_stored_values_and_light_are_inverses(colour):
    np.testing.assert_allclose(stored_rgb(linear_rgb(colour)), colour, atol=2e-7)


def test_greys_have_no_chroma_and_white_has_lightness_100():
    greys = lab(np.repeat(np.linspace(0, 1, 11)[:, None], 3, axis=1))
    np.testing.assert_allclose(greys[:, 1:], 0, atol=1e-10)
    np.testing.assert_allclose(greys[[0, -1], 0], [0, 100], atol=1e-10)


def test_primaries_have_their_known_places_in_lab():
    expected = [[53.2408, 80.0925, 67.2032], [87.7347, -86.1827, 83.1793], [32.2970, 79.1875, -107.8602]]
    np.testing.assert_allclose(lab(np.eye(3)), expected, atol=2e-3)


def test_bytes_and_floats_of_one_colour_agree():
    colours = np.array([[246, 237, 228], [41, 36, 32], [0, 255, 10]], np.uint8)
    np.testing.assert_allclose(lab(colours), lab(colours / 255), atol=1e-12)


def test_the_angle_falls_along_the_scale_without_a_jump_where_b_passes_zero():
    assert (np.diff(ita(MONK_LAB)) < 0).all()
    beside = ita([[30.0, 5.0, 0.01], [30.0, 5.0, -0.01]])
    assert abs(beside[0] - beside[1]) < 0.1


def test_angle_classes_have_their_published_thresholds():
    assert ita_class([55.1, 55, 41, 28, 10, -30, np.nan]).tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_each_swatch_is_its_own_tone():
    assert monk_distances(MONK_LAB).argmin(axis=1).tolist() == list(range(10))
    assert ours(SWATCHES).tolist() == list(range(1, 11))


@pytest.mark.parametrize("stops", [-0.5, -0.25, -0.1, 0.1])
def test_swatches_at_another_exposure_are_within_one_step(stops):
    assert (abs(ours(exposed(SWATCHES, stops)) - np.arange(1, 11)) <= 1).all()


@pytest.mark.parametrize("kelvin", [6000, 6250, 6750, 7000])
def test_swatches_in_slightly_warm_or_cool_light_are_within_one_step(kelvin):
    assert (abs(ours(lit(SWATCHES, kelvin)) - np.arange(1, 11)) <= 1).all()


@pytest.mark.parametrize("kelvin", [4500, 6504, 10000])
@pytest.mark.parametrize("stops", [-1.0, 0.0, 0.5])
def test_the_five_darkest_swatches_hold_under_strong_shifts(kelvin, stops):
    given_tones = ours(exposed(lit(SWATCHES, kelvin), stops))[5:]
    assert (abs(given_tones - np.arange(6, 11)) <= 1).all()


def test_light_tones_in_unbalanced_light_are_off_by_more_than_one_step():
    # The caveat that docs and report carry: one image does not tell the light from the skin.
    assert (abs(ours(lit(SWATCHES, 4500)) - np.arange(1, 11)) > 1).any()


def test_dallevals_formula_gives_the_six_lightest_swatches_one_tone():
    assert dalleval(SWATCHES)[:6].tolist() == [5] * 6


def test_heims_rule_rejects_six_of_the_ten_swatches():
    assert (heim(SWATCHES) == 0).sum() == 6


def test_hex_codes_are_the_published_ones():
    assert len(MONK_HEX) == 10
    np.testing.assert_allclose(hex_rgb("#a07e56") * 255, [160, 126, 86])
