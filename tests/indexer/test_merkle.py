from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from indexer.merkle import Change, Folder, Proof, build_tree, diff_trees, prove, unchanged_folders

NAMES = st.text(st.sampled_from("abAé.- \n"), min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))
CONTENTS = st.binary(max_size=2)


def as_files(nested: Mapping[str, object], prefix: str = "") -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for name, below in nested.items():
        if isinstance(below, bytes):
            files[prefix + name] = blake3(below).digest()
        elif isinstance(below, dict):
            files |= as_files(below, f"{prefix}{name}/")
    return files


TREES = st.recursive(
    st.dictionaries(NAMES, CONTENTS, max_size=4),
    lambda below: st.dictionaries(NAMES, CONTENTS | below, max_size=4),
    max_leaves=12,
).map(as_files)


@given(TREES, TREES)
def test_roots_are_equal_exactly_when_the_contents_are(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    assert (build_tree(one).hash == build_tree(other).hash) == (one == other)


@given(TREES, TREES)
def test_a_tree_built_from_another_is_the_one_built_alone(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    changed = [path for path in one.keys() | other.keys() if one.get(path) != other.get(path)]
    built = build_tree(other, unchanged_folders(build_tree(one).hashes(), changed))
    assert built == build_tree(other)
    assert dict(built.leaves()) == other


@given(TREES, TREES)
def test_a_difference_leads_from_one_tree_to_the_other(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    files = dict(one)
    for change in diff_trees(build_tree(one), build_tree(other)):
        match change.kind:
            case "removed":
                del files[change.path]
            case "moved":
                assert one[change.before] == other[change.path]
                del files[change.before]
                files[change.path] = other[change.path]
            case "added" | "changed":
                assert (change.path in one) == (change.kind == "changed")
                files[change.path] = other[change.path]
    assert files == other


@given(TREES.filter(bool), st.data())
def test_every_file_can_be_proved_and_nothing_else(files: dict[str, bytes], data: st.DataObject) -> None:
    tree = build_tree(files)
    path = data.draw(st.sampled_from(sorted(files)))
    proof = prove(tree, path)
    assert proof is not None and proof.holds() and proof.root == tree.hash
    assert prove(tree, path + "x") is None or path + "x" in files
    assert not replace(proof, content=bytes(32)).holds()
    assert not replace(proof, root=bytes(32)).holds()
    assert not replace(proof, path=f"{path}/x").holds()
    assert not replace(proof, path=f"x{path}").holds()


def test_a_folder_is_no_file_and_an_inner_node_no_entry() -> None:
    tree = build_tree({"a/b": bytes(32), "c": bytes(32)})
    proof = prove(tree, "a/b")
    assert proof is not None
    assert not Proof("a", tree.folders["a"].hash, tree.hash, proof.levels[1:]).holds()


def test_only_folders_that_differ_are_looked_into() -> None:
    class Untouchable(dict[str, bytes]):
        def keys(self) -> None:  # type: ignore[override]
            raise AssertionError("an equal folder was looked into")

    same = build_tree({"a": bytes(32)})
    closed = Folder(same.hash, Untouchable(same.files), {})
    old = Folder(b"1" * 32, {"x": bytes(32)}, {"deep": closed})
    new = Folder(b"2" * 32, {}, {"deep": closed})
    assert diff_trees(old, new) == [Change("removed", "x", "x")]


def test_a_proof_is_small_in_a_large_folder() -> None:
    tree = build_tree({f"folder/{number}.py": bytes(32) for number in range(10_000)})
    proof = prove(tree, "folder/77.py")
    assert proof is not None and proof.holds()
    assert sum(len(level.siblings) for level in proof.levels) <= 14


def test_the_hash_of_a_tree_stays_what_it_is() -> None:
    """Roots are stored and compared across versions: another hash for the same tree needs another version of it."""
    tree = build_tree({"a.py": blake3(b"one").digest(), "b/c.py": blake3(b"two").digest(), "z": blake3(b"").digest()})
    assert tree.hash.hex() == "1a3069c8ea4a7298df5a9224193666fa2ff1674ee18f99f818caf721d67d1a73"
