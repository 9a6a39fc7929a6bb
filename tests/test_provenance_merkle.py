"""Merkle trees of RFC 6962: reference vectors of Certificate Transparency, and laws over every small tree."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as some

from auditkit.provenance import merkle

MOST = 33
"""The laws are held for every tree of up to so many leaves."""

# The leaves, roots and proofs that Certificate Transparency's implementations test each other with.
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
A = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
B = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
C = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
D = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
E = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
F = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
G = "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f"
INCLUSION = [
    (0, 1, []),
    (0, 8, [A, B, C]),
    (5, 8, [D, E, ROOTS[3]]),
    (2, 3, [ROOTS[1]]),
    (1, 5, [ROOTS[0], B, D]),
]
CONSISTENCY = [
    (1, 1, []),
    (1, 8, [A, B, C]),
    (6, 8, [F, E, ROOTS[3]]),
    (2, 5, [B, D]),
    (6, 7, [F, G, ROOTS[3]]),
]


def hashes(texts: list[str]) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


def includes(leaf: bytes, index: int, size: int, root: bytes, proof: list[bytes]) -> bool:
    return merkle.verify_inclusion(leaf, proof, index=index, size=size, root=root)


def goes_on(old: int, old_root: bytes, new: int, new_root: bytes, proof: list[bytes]) -> bool:
    return merkle.verify_consistency(proof, old_size=old, old_root=old_root, new_size=new, new_root=new_root)


REFERENCE = [merkle.leaf_hash(data) for data in hashes(LEAVES)]
SMALL = [merkle.leaf_hash(bytes([i])) for i in range(MOST)]


# --- the definitions of RFC 9162, 2.1, word for word and naively --------------------------------------------------


def split(n: int) -> int:
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH(D_n), over leaf hashes."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return hashlib.sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH(m, D_n)."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*naive_path(m, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(m - k, leaves[k:]), naive_root(leaves[:k])]


def naive_subproof(m: int, leaves: list[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF(m, D_n, b)."""
    if m == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*naive_subproof(m, leaves[:k], whole), naive_root(leaves[k:])]
    return [*naive_subproof(m - k, leaves[k:], False), naive_root(leaves[:k])]


# --- vectors ------------------------------------------------------------------------------------------------------


def test_the_root_of_no_leaves_is_the_hash_of_nothing() -> None:
    assert merkle.root(merkle.nodes_of([]), 0) == hashlib.sha256(b"").digest() == merkle.EMPTY_ROOT


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_the_reference(size: int) -> None:
    assert merkle.root(merkle.nodes_of(REFERENCE), size).hex() == ROOTS[size - 1]


@pytest.mark.parametrize(("index", "size", "proof"), INCLUSION)
def test_inclusion_proofs_are_those_of_the_reference(index: int, size: int, proof: list[str]) -> None:
    assert merkle.inclusion_proof(merkle.nodes_of(REFERENCE), index=index, size=size) == hashes(proof)
    assert includes(REFERENCE[index], index, size, bytes.fromhex(ROOTS[size - 1]), hashes(proof))


@pytest.mark.parametrize(("old", "new", "proof"), CONSISTENCY)
def test_consistency_proofs_are_those_of_the_reference(old: int, new: int, proof: list[str]) -> None:
    before, after = (bytes.fromhex(ROOTS[size - 1]) for size in (old, new))
    assert merkle.consistency_proof(merkle.nodes_of(REFERENCE), old_size=old, new_size=new) == hashes(proof)
    assert goes_on(old, before, new, after, hashes(proof))


# --- laws over every small tree -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(1, MOST + 1))
def test_every_leaf_of_every_small_tree_is_proved_as_the_definition_says(size: int) -> None:
    node, leaves = merkle.nodes_of(SMALL), SMALL[:size]
    assert merkle.root(node, size) == naive_root(leaves)
    for index in range(size):
        proof = merkle.inclusion_proof(node, index=index, size=size)
        assert proof == naive_path(index, leaves)
        assert includes(leaves[index], index, size, naive_root(leaves), proof)


@pytest.mark.parametrize("new", range(1, MOST + 1))
def test_every_small_tree_is_proved_to_go_on_from_every_earlier_one(new: int) -> None:
    node, root = merkle.nodes_of(SMALL), naive_root(SMALL[:new])
    for old in range(1, new + 1):
        proof = merkle.consistency_proof(node, old_size=old, new_size=new)
        assert proof == naive_subproof(old, SMALL[:new], True)
        assert goes_on(old, naive_root(SMALL[:old]), new, root, proof)


@pytest.mark.parametrize("size", range(MOST + 1))
def test_a_tree_that_grows_leaf_by_leaf_completes_each_node_once_and_in_its_place(size: int) -> None:
    stored: list[bytes] = []
    edge: list[bytes] = []
    for n, leaf in enumerate(SMALL[:size]):
        assert edge == merkle.frontier(merkle.nodes_of(SMALL), n)
        stored += merkle.grow(edge, leaf, size=n)
    assert len(stored) == merkle.stored_count(size)
    node = merkle.nodes_of(SMALL)
    for level in range(size.bit_length()):
        for i in range(size >> level):
            assert stored[merkle.stored_position(level, i)] == node(level, i)


trees = some.integers(2, 300).flatmap(lambda size: some.tuples(some.just(size), some.integers(0, size - 1)))


@given(trees, some.data())
def test_no_proof_shows_another_leaf_index_size_or_root(tree: tuple[int, int], data: some.DataObject) -> None:
    size, index = tree
    leaves = [merkle.leaf_hash(i.to_bytes(2)) for i in range(size)]
    node = merkle.nodes_of(leaves)
    root, proof = merkle.root(node, size), merkle.inclusion_proof(node, index=index, size=size)
    leaf = leaves[index]
    assert includes(leaf, index, size, root, proof)
    other = data.draw(some.integers(0, size - 1).filter(lambda i: i != index))
    assert not includes(leaf, other, size, root, proof)
    assert not includes(leaves[other], index, size, root, proof)
    assert not includes(leaf, index, size, leaf, proof)
    assert not includes(leaf, index, size, root, [*proof, root])
    assert not includes(leaf, index, size, root, proof[:-1])
    at = data.draw(some.integers(0, len(proof) - 1))
    assert not includes(leaf, index, size, root, [*proof[:at], leaf, *proof[at + 1 :]])


@given(trees, some.data())
def test_no_proof_shows_a_tree_to_go_on_from_another(tree: tuple[int, int], data: some.DataObject) -> None:
    new, old = tree
    leaves = [merkle.leaf_hash(i.to_bytes(2)) for i in range(new)]
    changed = data.draw(some.integers(0, max(old - 1, 0)))
    forged = merkle.nodes_of([*leaves[:changed], merkle.leaf_hash(b"forged"), *leaves[changed + 1 :]])
    before, after = merkle.root(merkle.nodes_of(leaves), old), merkle.root(forged, new)
    assert not (old and goes_on(old, before, new, after, merkle.consistency_proof(forged, old_size=old, new_size=new)))
    honest = merkle.nodes_of(leaves)
    proof, root = merkle.consistency_proof(honest, old_size=old, new_size=new), merkle.root(honest, new)
    assert goes_on(old, before, new, root, proof)
    assert not goes_on(old, root, new, before, proof)
    assert not goes_on(old, before, new, root, [*proof, root])
    assert not goes_on(new, root, old, before, proof)
    if proof:
        at = data.draw(some.integers(0, len(proof) - 1))
        assert not goes_on(old, before, new, root, [*proof[:at], root, *proof[at + 1 :]])
        assert not goes_on(old, before, new, root, proof[:-1])


@pytest.mark.parametrize(("old", "new"), [(1, 2), (2, 4), (3, 4), (6, 8)])
def test_an_empty_proof_shows_no_growth(old: int, new: int) -> None:
    assert not goes_on(old, hashes(ROOTS)[old - 1], new, hashes(ROOTS)[new - 1], [])


@pytest.mark.parametrize("wrong", [b"", b"x" * 31, b"x" * 33])
def test_what_is_no_hash_proves_nothing(wrong: bytes) -> None:
    assert not includes(wrong, 0, 1, wrong, [])
    assert not goes_on(1, wrong, 1, wrong, [])
    assert not includes(REFERENCE[0], 0, 2, bytes.fromhex(ROOTS[1]), [wrong])


def test_an_inner_node_cannot_be_passed_off_as_an_entry() -> None:
    pair = REFERENCE[0] + REFERENCE[1]
    assert merkle.leaf_hash(pair) != merkle.node_hash(REFERENCE[0], REFERENCE[1])


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_no_proof_is_made_for_a_leaf_that_is_not_there(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        merkle.inclusion_proof(merkle.nodes_of(SMALL), index=index, size=size)


def test_no_proof_is_made_from_a_larger_tree_to_a_smaller() -> None:
    with pytest.raises(ValueError, match="cannot go on"):
        merkle.consistency_proof(merkle.nodes_of(SMALL), old_size=4, new_size=3)


def test_a_proof_asks_for_few_nodes() -> None:
    asked = 0

    def node(level: int, i: int) -> bytes:
        nonlocal asked
        asked += 1
        return bytes(32)

    merkle.inclusion_proof(node, index=1_000_000, size=1_048_575)
    merkle.consistency_proof(node, old_size=700_001, new_size=1_048_575)
    assert asked < 100
