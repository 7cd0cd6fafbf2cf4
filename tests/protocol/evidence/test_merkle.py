"""The Merkle tree against RFC 6962's own figures and against pymerkle."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from protocol.evidence.merkle import included, inclusion, root

# The leaves and roots of certificate-transparency's own tests (merkletree/merkle_tree_test.cc).
LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
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


def test_the_roots_are_those_of_the_reference_vectors() -> None:
    assert root([]) == hashlib.sha256(b"").digest()
    for size, expected in enumerate(ROOTS, start=1):
        assert root(LEAVES[:size]).hex() == expected


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=70))
def test_the_root_is_the_one_of_another_implementation(leaves: list[bytes]) -> None:
    tree = InmemoryTree(algorithm="sha256")
    for leaf in leaves:
        tree.append_entry(leaf)
    assert root(leaves) == tree.get_root()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 8, 9, 31, 100])
def test_a_path_proves_its_own_leaf_at_its_own_place_and_nothing_else(size: int) -> None:
    leaves = [bytes([index]) for index in range(size)]
    tree = root(leaves)
    for index in range(size):
        path = inclusion(leaves, index)
        assert included(leaves[index], index, size, path, tree)
        assert not included(b"another", index, size, path, tree)
        assert not any(included(leaves[index], other, size, path, tree) for other in range(size) if other != index)
        assert not included(leaves[index], index, size, path, root([*leaves, b"more"]))
        assert not included(leaves[index], index, size, (*path, bytes(32)), tree)


def test_there_is_no_path_of_a_leaf_that_is_not_there() -> None:
    with pytest.raises(IndexError):
        inclusion([b"a"], 1)
    assert not included(b"a", 1, 1, (), root([b"a"]))
