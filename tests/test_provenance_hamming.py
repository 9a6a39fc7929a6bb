"""The index of 256-bit hashes finds all within the radius and nothing beyond it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditkit.errors import ProvenanceError
from auditkit.provenance.hamming import HammingIndex


def random(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 32), dtype=np.uint8)


def changed(hash: np.ndarray, bits: int, seed: int = 0) -> np.ndarray:
    """The hash with so many bits turned."""
    turned = np.unpackbits(hash)
    turned[np.random.default_rng(seed).choice(256, bits, replace=False)] ^= 1
    return np.packbits(turned)


def brute_force(hashes: np.ndarray, query: np.ndarray) -> np.ndarray:
    return np.unpackbits(hashes ^ query, axis=1).sum(axis=1)


@pytest.mark.parametrize("radius", [0, 31, 63])
def test_the_radius_is_inclusive(radius: int) -> None:
    hashes = random(50)
    index = HammingIndex(hashes)
    (at, beyond) = index.search(
        np.stack([changed(hashes[7], radius), changed(hashes[7], radius + 1)]), radius=radius
    )
    assert (at[0].tolist(), at[1].tolist()) == ([7], [radius])
    assert not len(beyond[0])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 256))
def test_the_search_finds_what_brute_force_finds(seed: int, radius: int) -> None:
    hashes = random(200, seed)
    hashes[100:] = [changed(each, bits, seed) for bits, each in enumerate(hashes[:100])]
    query = hashes[seed % 200]
    ((positions, distances),) = HammingIndex(hashes).search(query[None], radius=radius)
    expected = brute_force(hashes, query)
    assert sorted(positions) == np.flatnonzero(expected <= radius).tolist()
    assert distances.tolist() == sorted(expected[expected <= radius].tolist())


def test_the_nearest_come_first_and_equal_distances_by_position() -> None:
    one = random(1)[0]
    hashes = np.stack([changed(one, 9), one, changed(one, 3), one])
    ((positions, distances),) = HammingIndex(hashes).search(one[None])
    assert (positions.tolist(), distances.tolist()) == ([1, 3, 2, 0], [0, 0, 3, 9])


def test_an_empty_index_finds_nothing() -> None:
    index = HammingIndex(np.empty((0, 32), np.uint8))
    assert (len(index), [len(each[0]) for each in index.search(random(2))]) == (0, [0, 0])


def test_no_queries_give_no_answers() -> None:
    assert HammingIndex(random(3)).search(np.empty((0, 32), np.uint8)) == []


@pytest.mark.parametrize("hashes", [random(2)[:, :16], random(2)[0], random(2).astype(np.int64)])
def test_other_shapes_and_dtypes_are_refused(hashes: np.ndarray) -> None:
    with pytest.raises(ProvenanceError, match=r"uint8 \[n, 32\]"):
        HammingIndex(hashes)
    with pytest.raises(ProvenanceError, match=r"uint8 \[n, 32\]"):
        HammingIndex(random(2)).search(hashes)


@pytest.mark.parametrize("radius", [-1, 257])
def test_a_radius_out_of_range_is_refused(radius: int) -> None:
    with pytest.raises(ProvenanceError, match="out of range"):
        HammingIndex(random(2)).search(random(1), radius=radius)
