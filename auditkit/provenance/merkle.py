"""Merkle trees as RFC 6962 and RFC 9162 (section 2.1) define them: roots, proofs, and their verification.

Pure functions. Making a root or a proof takes a `Node`, which gives the hash of a complete subtree, so that the hashes
may lie in memory or on a disk; verifying one takes bytes alone. Every hash is SHA-256: bytes [32].
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The root of a tree without leaves."""

Node = Callable[[int, int], bytes]
"""`node(level, i)` is the hash over the 2**level leaves that begin at leaf i * 2**level."""


def leaf_hash(data: bytes) -> bytes:
    """The hash of an entry. Its prefix 0x00 keeps anybody from passing an inner node off as an entry."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def nodes_of(leaves: Sequence[bytes]) -> Node:
    """The `Node` of a tree in memory, from its leaf hashes."""
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)])
    return lambda level, i: levels[level][i]


def root(node: Node, size: int) -> bytes:
    """The Merkle tree head of the first `size` leaves; at most log2(size) + 1 nodes are asked for."""
    return root_of(frontier(node, size))


def inclusion_proof(node: Node, *, index: int, size: int) -> list[bytes]:
    """The hashes that lead from leaf `index` to the root of the first `size` leaves (RFC 9162, 2.1.3.1).

    Raises:
        ValueError: the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    start, stop, path = 0, size, []
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            path.append(_subtree(node, middle, stop))
            stop = middle
        else:
            path.append(_subtree(node, start, middle))
            start = middle
    return path[::-1]


def consistency_proof(node: Node, *, old_size: int, new_size: int) -> list[bytes]:
    """The hashes that show that the first `old_size` of `new_size` leaves are the old tree (RFC 9162, 2.1.4.1).

    Empty where the sizes are equal, or the old tree is empty: every tree goes on from an empty one.

    Raises:
        ValueError: the old tree is larger than the new one.
    """
    if not 0 <= old_size <= new_size:
        raise ValueError(f"a tree of {new_size} leaves cannot go on from one of {old_size}")
    start, stop, path = 0, new_size, []
    while old_size not in (0, stop):
        middle = start + _split(stop - start)
        if old_size <= middle:
            path.append(_subtree(node, middle, stop))
            stop = middle
        else:
            path.append(_subtree(node, start, middle))
            start = middle
    if start > 0:  # else what is left is the old tree itself, whose root the verifier has
        path.append(_subtree(node, start, stop))
    return path[::-1]


def verify_inclusion(leaf: bytes, proof: Sequence[bytes], *, index: int, size: int, root: bytes) -> bool:
    """Whether `proof` shows that the tree of that size and root holds this leaf hash at `index` (2.1.3.2)."""
    if not 0 <= index < size or not _are_hashes(leaf, root, *proof):
        return False
    at, last, found = index, size - 1, leaf
    for hash in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            found = node_hash(hash, found)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, hash)
        at, last = at >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(
    proof: Sequence[bytes], *, old_size: int, old_root: bytes, new_size: int, new_root: bytes
) -> bool:
    """Whether `proof` shows that the new tree begins with the old one, unchanged (2.1.4.2)."""
    if not 0 <= old_size <= new_size or not _are_hashes(old_root, new_root, *proof):
        return False
    if old_size == new_size:
        return not proof and old_root == new_root and (old_size > 0 or old_root == EMPTY_ROOT)
    if old_size == 0:
        return not proof and old_root == EMPTY_ROOT
    # A complete old tree is itself a node of the new one, and therefore left out of the proof.
    path = [old_root, *proof] if old_size.bit_count() == 1 else list(proof)
    if not proof:
        return False
    at, last = old_size - 1, new_size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = path[0]
    for hash in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old, new = node_hash(hash, old), node_hash(hash, new)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, hash)
        at, last = at >> 1, last >> 1
    return last == 0 and old == old_root and new == new_root


def frontier(node: Node, size: int) -> list[bytes]:
    """The roots of the complete subtrees that the first `size` leaves fall into, the largest first."""
    found, start = [], 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            found.append(node(level, start >> level))
            start += 1 << level
    return found


def root_of(frontier: Sequence[bytes]) -> bytes:
    """The root of the tree with that frontier."""
    if not frontier:
        return EMPTY_ROOT
    found = frontier[-1]
    for left in reversed(frontier[:-1]):
        found = node_hash(left, found)
    return found


def grow(frontier: list[bytes], leaf: bytes, *, size: int) -> list[bytes]:
    """Add a leaf hash to the frontier of `size` leaves, in place; the nodes that it completes, itself first."""
    made = [leaf]
    while size & 1:
        made.append(node_hash(frontier.pop(), made[-1]))
        size >>= 1
    frontier.append(made[-1])
    return made


def stored_count(size: int) -> int:
    """How many nodes `size` leaves complete, the leaves included."""
    return 2 * size - size.bit_count()


def stored_position(level: int, i: int) -> int:
    """Where node(level, i) lies in a list of nodes in the order of their completion (that of `grow`)."""
    return stored_count(((i + 1) << level) - 1) + level


def _split(size: int) -> int:
    """The largest power of two smaller than `size`, from 2 leaves on."""
    return 1 << (size - 1).bit_length() - 1


def _subtree(node: Node, start: int, stop: int) -> bytes:
    """The hash over leaves start to stop, where start is a multiple of the power of two from stop - start on."""
    size = stop - start
    if size.bit_count() == 1:
        level = size.bit_length() - 1
        return node(level, start >> level)
    middle = start + _split(size)
    return node_hash(_subtree(node, start, middle), _subtree(node, middle, stop))


def _are_hashes(*values: bytes) -> bool:
    return all(len(value) == HASH_BYTES for value in values)
