"""The transparency log on disk: what is in it, what it proves, and that no change of it goes unseen."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path

import log_helpers
import pytest
from hypothesis import given
from hypothesis import strategies as some
from log_helpers import TIME, entry, filled

from auditkit.errors import ProvenanceError
from auditkit.provenance import merkle
from auditkit.provenance.log import Log
from auditkit.provenance.log_entry import Entry

home = log_helpers.home  # a fixture


def naive_root(entries: list[Entry]) -> bytes:
    nodes = merkle.nodes_of([merkle.leaf_hash(each.line()) for each in entries])
    return merkle.root(nodes, len(entries))


# --- entries ------------------------------------------------------------------------------------------------------


def test_an_entry_is_canonical_json_with_sorted_names_and_no_spaces() -> None:
    assert Entry("signed", "ab" * 32, run="tiny", time=TIME, keys=("k-1", "k-0")).line() == (
        b'{"keys":["k-1","k-0"],"kind":"signed","run":"tiny","sha256":"' + b"ab" * 32
        + b'","time":"2026-01-31T12:00:00Z","v":1}'
    )  # fmt: skip


@given(
    some.sampled_from(["generated", "signed", "retired"]),
    some.binary(min_size=32, max_size=32),
    some.none() | some.binary(min_size=32, max_size=32),
    some.none() | some.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}", fullmatch=True),
    some.lists(some.from_regex(r"k-[0-9a-f]{12}", fullmatch=True), max_size=3),
)
def test_an_entry_is_read_back_as_it_was_written(
    kind: str, sha256: bytes, manifest: bytes | None, run: str | None, keys: list[str]
) -> None:
    made = Entry(kind, sha256.hex(), manifest.hex() if manifest else None, run, TIME, tuple(keys))
    assert Entry.parse(made.line()) == made


@pytest.mark.parametrize(
    "field",
    [
        {"kind": "deleted"},
        {"sha256": "00"},
        {"sha256": None},
        {"manifest": "A" * 64},
        {"run": "a portrait of a nurse"},
        {"keys": ("a secret with spaces",)},
        {"keys": (None,)},
        {"keys": ("k",) * 17},
        {"time": "yesterday"},
    ],
    ids=str,
)
def test_an_entry_has_no_room_for_a_prompt_or_a_value_of_another_form(field: dict[str, object]) -> None:
    fields = {"kind": "signed", "sha256": "0" * 64, **field}
    with pytest.raises(ProvenanceError):
        Entry(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [lambda d: d | {"prompt": "a nurse"}, lambda d: d | {"v": 2}, lambda d: [d], str])
def test_fields_that_entries_do_not_have_are_refused(change: Callable[[dict[str, object]], object]) -> None:
    with pytest.raises(ProvenanceError):
        Entry.from_dict(change(entry(1).as_dict()))


@pytest.mark.parametrize("line", [b"", b"{", b"[" * 100_000, b'{"v": 1}', entry(1).line().replace(b'"v":1', b'"v":1 ')])
def test_bytes_that_are_not_the_canonical_form_are_no_entry(line: bytes) -> None:
    with pytest.raises(ProvenanceError):
        Entry.parse(line)


# --- what the log holds and proves --------------------------------------------------------------------------------


def test_the_log_lies_in_the_home_unless_another_place_is_named(home: Path) -> None:
    assert Log.ensure().folder == home / "home" / "log"


def test_ensure_makes_a_log_once_and_opens_it_then(tmp_path: Path) -> None:
    Log.ensure(tmp_path / "log").append(entry(0))
    assert len(Log.ensure(tmp_path / "log")) == 1


def test_a_new_log_is_empty_and_has_the_root_of_nothing(tmp_path: Path) -> None:
    log = Log.create(tmp_path / "log")
    assert (len(log), log.root(), log.find("0" * 64)) == (0, merkle.EMPTY_ROOT, [])
    assert log.verify().ok


def test_append_says_where_the_entries_are_and_they_read_back(tmp_path: Path) -> None:
    log = Log.create(tmp_path / "log")
    assert log.append(entry(0)) == range(0, 1)
    assert log.append([entry(1), entry(2)]) == range(1, 3)
    assert log.append([]) == range(3, 3)
    assert [*Log.open(tmp_path / "log").entries()] == [entry(0), entry(1), entry(2)]
    assert log.entry(1) == entry(1)


def test_roots_and_proofs_from_the_disk_are_those_of_the_tree_of_its_entries(tmp_path: Path) -> None:
    log = filled(tmp_path / "log", 0)
    entries: list[Entry] = []
    for n in range(1, 20):
        log.append(entry(n))
        entries.append(entry(n))
        assert log.root() == naive_root(entries)
        for old in range(1, n + 1):
            assert log.root(old) == naive_root(entries[:old])
            roots = {"old_root": log.root(old), "new_root": log.root()}
            assert merkle.verify_consistency(log.consistency(old), old_size=old, new_size=n, **roots)
            proof = log.inclusion(old - 1)
            leaf = merkle.leaf_hash(entries[old - 1].line())
            assert merkle.verify_inclusion(leaf, proof, index=old - 1, size=n, root=log.root())


@given(some.lists(some.integers(0, 9), min_size=1, max_size=6))
def test_batches_of_any_size_make_the_same_log(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    log, n = Log.create(tmp_path_factory.mktemp("batched") / "log"), 0
    for size in sizes:
        log.append(entry(n + i) for i in range(size))
        n += size
    assert log.root() == naive_root([entry(i) for i in range(n)])


def test_an_asset_is_found_by_its_hash_with_every_entry_about_it(tmp_path: Path) -> None:
    log = filled(tmp_path / "log", 50)
    assert log.find(entry(7).sha256) == [7]
    log.append([Entry("retired", entry(7).sha256)])
    assert log.find(entry(7).sha256) == [7, 50]
    assert log.find("f" * 64) == []


def test_hashes_that_begin_alike_are_told_apart(tmp_path: Path) -> None:
    log = Log.create(tmp_path / "log")
    log.append(Entry("signed", "ab" * 8 + f"{i:048x}") for i in range(3))
    assert log.find("ab" * 8 + f"{1:048x}") == [1]


@pytest.mark.parametrize("damage", [b"no database", b""])
def test_a_search_is_right_even_where_the_index_is_damaged(tmp_path: Path, damage: bytes) -> None:
    log = filled(tmp_path / "log", 5)
    log.find(entry(1).sha256)
    (tmp_path / "log" / "index.sqlite").write_bytes(damage)
    assert log.find(entry(3).sha256) == [3]


@pytest.mark.parametrize(
    "ask",
    [
        lambda log: log.entry(3),
        lambda log: log.entry(-1),
        lambda log: log.root(4),
        lambda log: log.inclusion(3),
        lambda log: log.inclusion(2, size=2),
        lambda log: log.consistency(4),
        lambda log: log.find("prompt"),
        lambda log: Log.create(log.folder),
        lambda log: Log.open(log.folder.parent),
    ],
)
def test_what_the_log_does_not_have_is_an_error_with_a_mend(tmp_path: Path, ask: Callable[[Log], object]) -> None:
    with pytest.raises(ProvenanceError) as error:
        ask(filled(tmp_path / "log", 3))
    assert error.value.mend


def test_a_damaged_record_is_an_error_that_says_so(tmp_path: Path) -> None:
    filled(tmp_path / "log", 1)
    (tmp_path / "log" / "log.json").write_text("{}")
    with pytest.raises(ProvenanceError, match="record is damaged"):
        Log.open(tmp_path / "log")


# --- killed processes, full disks, several processes --------------------------------------------------------------


def crashed(source: Path, target: Path, *, entries: int, nodes: int, ends: int) -> Path:
    """A copy of a log whose files were cut to those lengths."""
    shutil.copytree(source, target)
    for name, length in (("entries.jsonl", entries), ("nodes.bin", nodes), ("ends.bin", ends)):
        with (target / name).open("r+b") as stream:
            stream.truncate(length)
    return target


def lengths(folder: Path) -> dict[str, int]:
    return {name.split(".")[0]: (folder / name).stat().st_size for name in ("entries.jsonl", "nodes.bin", "ends.bin")}


def test_a_log_killed_at_any_byte_of_an_append_opens_with_every_whole_entry(tmp_path: Path) -> None:
    log = filled(tmp_path / "log", 5)
    before = lengths(log.folder)
    log.append([entry(5), entry(6)])
    after = lengths(log.folder)
    middle = before["entries"] + len(entry(5).line()) + 1
    states = [(before | {"entries": n}, 5 + (n >= middle)) for n in range(before["entries"], after["entries"])]
    states += [(after | {"nodes": n, "ends": before["ends"]}, 7) for n in range(before["nodes"], after["nodes"] + 1)]
    states += [(after | {"ends": n}, 7) for n in range(before["ends"], after["ends"] + 1)]
    for i, (state, whole) in enumerate(states):
        folder = crashed(log.folder, tmp_path / f"crash{i}", **state)
        opened = Log.open(folder)
        assert [*opened.entries()] == [entry(n) for n in range(whole)]
        assert opened.verify().ok
        opened.append(entry(whole))
        assert opened.root() == naive_root([entry(n) for n in range(whole + 1)])
        shutil.rmtree(folder)


@pytest.mark.parametrize("kept", [0, 1, 31, 32, 100, 8 * 32])
def test_nodes_that_are_gone_are_made_anew_from_the_entries(tmp_path: Path, kept: int) -> None:
    log = filled(tmp_path / "log", 9)
    root = log.root()
    with (log.folder / "nodes.bin").open("r+b") as stream:
        stream.truncate(kept)
    assert Log.open(log.folder).root() == root
    assert log.verify().ok


def test_a_full_disk_leaves_the_log_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = filled(tmp_path / "log", 3)
    before = lengths(log.folder)
    calls = 0

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ProvenanceError, match="no space left"):
        log.append(entry(3))
    assert lengths(log.folder) == before


def _append(folder: Path, first: int) -> None:
    for i in range(20):
        Log.open(folder).append([entry(first + i), entry(first + i)])


def test_processes_that_append_at_once_lose_and_tear_nothing(tmp_path: Path) -> None:
    log = Log.create(tmp_path / "log")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_append, args=(log.folder, 100 * i)) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = [each.sha256 for each in log.entries()]
    assert sorted(found) == sorted(2 * [entry(100 * i + j).sha256 for i in range(3) for j in range(20)])
    assert found[0::2] == found[1::2]  # each pair was appended in one piece
    assert log.verify().ok


# --- tampering ----------------------------------------------------------------------------------------------------


def _edit(change: Callable[[list[bytes]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        lines = (folder / "entries.jsonl").read_bytes().splitlines(keepends=True)
        change(lines)
        (folder / "entries.jsonl").write_bytes(b"".join(lines))

    return apply


CHANGED = entry(99).line() + b"\n"


def _changed(lines: list[bytes]) -> None:
    lines[4] = CHANGED


def _swapped(lines: list[bytes]) -> None:
    lines[4], lines[5] = lines[5], lines[4]


TAMPERINGS = [
    ("changed", _changed, "entry 4 is not the one"),
    ("removed", lambda lines: lines.pop(4), "entry 4 was removed"),
    ("inserted", lambda lines: lines.insert(4, CHANGED), "before entry 4"),
    ("reordered", _swapped, "entries 4 and 5 changed places"),
    ("gone", lambda lines: lines.pop(), "entry 10 and what came after it are gone"),
]


@pytest.mark.parametrize(("kind", "change", "said"), TAMPERINGS, ids=[each[0] for each in TAMPERINGS])
def test_verify_names_the_first_entry_that_was_tampered_with(
    tmp_path: Path, kind: str, change: Callable[[list[bytes]], object], said: str
) -> None:
    log = filled(tmp_path / "log", 11)
    _edit(change)(log.folder)
    first = Log.open(log.folder).verify().problems[0]
    assert first.kind == kind
    assert said in first.detail


@pytest.mark.parametrize(("kind", "change", "said"), TAMPERINGS, ids=[each[0] for each in TAMPERINGS])
def test_a_log_rewritten_as_a_whole_contradicts_an_earlier_checkpoint(
    tmp_path: Path, kind: str, change: Callable[[list[bytes]], object], said: str
) -> None:
    log = filled(tmp_path / "log", 11)
    earlier = log.checkpoint()
    lines = [each.line() + b"\n" for each in log.entries()]
    change(lines)
    forged = Log.create(tmp_path / "forged", origin=log.origin)
    forged.append([*(Entry.parse(line[:-1]) for line in lines), *(entry(200 + i) for i in range(3))])
    assert forged.verify().ok  # in itself
    assert [each.kind for each in forged.verify(earlier).problems] == ["checkpoint"]
    checks = forged.prove_consistency(earlier).verify(checkpoint=earlier)
    assert checks[0].holds is False


def test_an_honest_log_goes_on_from_an_earlier_checkpoint(tmp_path: Path) -> None:
    log = filled(tmp_path / "log", 11)
    earlier = log.checkpoint()
    log.append(entry(i) for i in range(11, 30))
    assert log.verify(earlier).ok
    assert all(check.holds is not False for check in log.prove_consistency(earlier).verify(checkpoint=earlier))


@pytest.mark.parametrize("at", range(0, 32 * merkle.stored_count(7), 32))
def test_every_stored_node_is_held_against_the_entries(tmp_path: Path, at: int) -> None:
    log = filled(tmp_path / "log", 7)
    data = bytearray((log.folder / "nodes.bin").read_bytes())
    data[at] ^= 1
    (log.folder / "nodes.bin").write_bytes(data)
    assert log.verify().problems[0].kind in ("changed", "node")


def test_ends_are_held_against_the_entries(tmp_path: Path) -> None:
    log = filled(tmp_path / "log", 7)
    data = bytearray((log.folder / "ends.bin").read_bytes())
    data[16] ^= 1
    (log.folder / "ends.bin").write_bytes(data)
    assert (log.verify().problems[0].kind, log.verify().problems[0].index) == ("end", 2)


def test_the_index_is_held_against_the_entries(tmp_path: Path) -> None:
    log, other = filled(tmp_path / "log", 7), Log.create(tmp_path / "other")
    other.append(entry(i + (i > 3)) for i in range(7))
    other.find(entry(1).sha256)
    shutil.copy(other.folder / "index.sqlite", log.folder / "index.sqlite")
    assert [(each.kind, each.index) for each in log.verify().problems] == [("index", 4)]


def test_a_log_that_lost_entries_refuses_to_go_on(tmp_path: Path) -> None:
    log = filled(tmp_path / "log", 5)
    _edit(lambda lines: lines.pop())(log.folder)
    with pytest.raises(ProvenanceError, match="are gone"):
        log.append(entry(5))


@pytest.mark.parametrize("name", ["entries.jsonl", "nodes.bin", "ends.bin"])
def test_a_file_of_the_log_that_is_gone_is_named(tmp_path: Path, name: str) -> None:
    log = filled(tmp_path / "log", 5)
    (log.folder / name).unlink()
    with pytest.raises(ProvenanceError) as error:
        Log.open(log.folder).verify()
    assert error.value.where == log.folder / name


def test_lines_that_are_no_entries_are_not_cut_off_but_told(tmp_path: Path) -> None:
    log = filled(tmp_path / "log", 5)
    with (log.folder / "entries.jsonl").open("ab") as stream:
        stream.write(b"a prompt\n")
    assert [each.kind for each in Log.open(log.folder).verify().problems] == ["unfinished"]
    with pytest.raises(ProvenanceError, match="canonical"):
        log.append(entry(5))
