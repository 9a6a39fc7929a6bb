"""Hash banks: kept whole, exchanged in four formats without loss, and matched by exact search."""

from __future__ import annotations

import hashlib
import json
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from auditkit import places
from auditkit.errors import ImageError, ProvenanceError
from auditkit.provenance import banks
from auditkit.provenance.bank_entries import TYPES, Entry, entry
from auditkit.provenance.bank_matching import Hashes, expected_chance_matches, hashes, match
from auditkit.provenance.bank_reading import read_hashes
from auditkit.provenance.bank_writing import write_hashes
from auditkit.provenance.banks import Bank
from auditkit.provenance.pdq import Pdq

PDQ, OTHER, SHA = "f0" * 32, "0f" * 32, hashlib.sha256(b"").hexdigest()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(places.ENVIRONMENT, str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def bank(home: Path) -> Bank:
    return banks.create("known-harm", "harm")


def photograph(name: str = "astronaut") -> Image.Image:
    return Image.fromarray(getattr(skimage.data, name)())


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def flipped(value: str, bits: int) -> str:
    """The hash with its first bits turned."""
    return f"{int(value, 16) ^ ((1 << bits) - 1) << (256 - bits):064x}"


def test_a_bank_is_a_file_that_only_its_owner_can_read(bank: Bank, home: Path) -> None:
    assert bank.path == home / "home" / "banks" / "known-harm.sqlite"
    assert bank.path.stat().st_mode & 0o777 == 0o600
    assert banks.paths() == [bank.path]


def test_what_was_added_is_there_when_the_bank_is_loaded_again(bank: Bank) -> None:
    added = entry("pdq", PDQ.upper(), label=" a  weapon\n", note="police list", added="2026-01-02")
    bank.add([added])
    again = banks.load("known-harm")
    assert (again.kind, again.entries()) == ("harm", [Entry("pdq", PDQ, "a weapon", "police list", "2026-01-02")])


def test_a_hash_that_is_there_already_stays_as_it_is(bank: Bank) -> None:
    bank.add([entry("pdq", PDQ, label="first")])
    done = bank.add([entry("pdq", PDQ, label="second"), entry("sha256", PDQ)])
    assert (done.added, done.known) == (1, 1)
    assert [one.label for one in bank.entries(type="pdq")] == ["first"]


def test_hashes_are_removed_by_value_and_by_label(bank: Bank) -> None:
    bank.add([entry("pdq", PDQ), entry("sha256", PDQ), entry("pdq", OTHER, label="x"), entry("sha256", SHA)])
    assert (bank.remove(values=[PDQ]), bank.remove(label="x"), bank.remove(label="x")) == (2, 1, 0)
    assert bank.counts() == {"pdq": 0, "sha256": 1}


@pytest.mark.parametrize(("name", "kind", "said"), [("a/b", "own", "letters"), ("x", "good", "harm, own")])
def test_a_bank_without_a_proper_name_and_kind_is_not_made(home: Path, name: str, kind: str, said: str) -> None:
    with pytest.raises(ProvenanceError) as error:
        banks.create(name, kind)
    assert said in str(error.value)
    assert banks.paths() == []


def test_a_bank_is_not_made_twice(bank: Bank) -> None:
    with pytest.raises(ProvenanceError, match="already"):
        banks.create("known-harm", "own")


def test_a_bank_that_is_not_there_is_named_with_the_nearest(bank: Bank) -> None:
    with pytest.raises(ProvenanceError) as error:
        banks.load("known-ham")
    assert "did you mean known-harm" in str(error.value)


@pytest.mark.parametrize("data", [b"", b"no bank at all" * 100])
def test_a_file_that_is_no_bank_is_said_to_be_none(home: Path, data: bytes) -> None:
    path = home / "x.sqlite"
    path.write_bytes(data)
    with pytest.raises(ProvenanceError, match="no hash bank"):
        banks.load(path)


def test_images_are_added_by_both_hashes_with_their_name_and_the_broken_are_named(bank: Bank, home: Path) -> None:
    photograph().save(home / "a.png")
    Image.new("RGB", (64, 64)).save(home / "flat.png")
    (home / "b.png").write_bytes(b"no image")
    done = bank.add_images([home / "a.png", home / "flat.png", home / "b.png"], label="x")
    assert (done.added, done.unusable, [path.name for path, _ in done.failed]) == (3, [home / "flat.png"], ["b.png"])
    assert {(one.type, one.label, one.note) for one in bank.entries()} == {
        ("pdq", "x", "a.png"), ("sha256", "x", "a.png"), ("sha256", "x", "flat.png"),
    }  # fmt: skip


LINES = st.text(string.printable + "äÖ漢🙂,\"'{}", max_size=30)
ENTRIES = st.lists(
    st.builds(
        entry,
        st.sampled_from(TYPES),
        st.binary(min_size=32, max_size=32).map(bytes.hex),
        label=LINES | st.sampled_from(["category 2", "category 1 weapon", "category 0", "category 01"]),
        note=LINES,
        added=st.sampled_from(["", "2026-01-02T03:04:05Z"]),
    ),
    max_size=6,
)


@pytest.mark.parametrize(
    ("format", "name"),
    [("csv", "a.csv"), ("threatexchange", "a.json"), ("threatexchange", "a.jsonl"), ("vics", "b.json")],
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=ENTRIES)
def test_a_list_written_and_read_again_is_the_same(
    tmp_path: Path, format: str, name: str, entries: list[Entry]
) -> None:
    assert write_hashes(entries, tmp_path / name, format=format) == len(entries)
    again = read_hashes(tmp_path / name)
    assert (again.entries, again.left_out) == (entries, {})


def test_text_and_the_csv_of_threatexchange_keep_what_they_can_say(tmp_path: Path) -> None:
    one = entry("sha256", SHA, label="a b", note="gone")
    write_hashes([one], tmp_path / "a.txt", format="text")
    write_hashes([one], tmp_path / "a.csv", format="threatexchange")
    assert read_hashes(tmp_path / "a.txt", type="sha256").entries == [Entry("sha256", SHA)]
    assert read_hashes(tmp_path / "a.csv").entries == [Entry("sha256", SHA, "a b")]


def test_a_text_file_cannot_hold_two_types(tmp_path: Path) -> None:
    with pytest.raises(ProvenanceError, match="cannot say"):
        write_hashes([entry("pdq", PDQ), entry("sha256", SHA)], tmp_path / "a.txt", format="text")
    assert not (tmp_path / "a.txt").exists()


DESCRIPTOR = {"raw_indicator": PDQ, "type": "HASH_PDQ", "added_on": "2020-06-03T01:38:01+0000", "tags": None,
              "description": "ours"}  # fmt: skip
UPDATE = {"id": "1", "indicator": PDQ, "type": "HASH_PDQ", "creation_time": 1596221272, "should_delete": False,
          "descriptors": {"data": [{"tags": ["t1", "t2"]}, {"tags": {"data": [{"text": "t3"}]}}]}}  # fmt: skip
MEDIUM = {"MediaID": 1, "Category": 1, "MD5": "A" * 32, "SHA1": "B" * 40, "SHA256": SHA.upper(),
          "AlternativeHashes": [{"HashName": "PhotoDNA", "HashValue": "AA=="},
                                {"HashName": "Pdq", "HashValue": PDQ}]}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("hma.csv", f"{PDQ},28,2020-07-31T18:47:52+0000,photo sample\n",
         [Entry("pdq", PDQ, "photo sample", "", "2020-07-31T18:47:52+0000")]),
        ("cli.csv", f"collab,signal_type,signal_str,category,tags\nc,pdq,{PDQ},POSITIVE_CLASS,a b\n",
         [Entry("pdq", PDQ, "a b")]),
        ("bom.csv", f"\ufeffHash,Type,Label\n{SHA},SHA-256,x\n", [Entry("sha256", SHA, "x")]),
        ("lines.txt", f"# ours\n\n{PDQ}\r\n", [Entry("pdq", PDQ)]),
        ("one.json", json.dumps(DESCRIPTOR), [Entry("pdq", PDQ, "", "ours", "2020-06-03T01:38:01+0000")]),
        ("many.json", json.dumps({"data": [UPDATE]}), [Entry("pdq", PDQ, "t1 t2; t3", "", "2020-07-31T18:47:52Z")]),
        ("list.json", json.dumps([DESCRIPTOR], indent=1), [Entry("pdq", PDQ, "", "ours", "2020-06-03T01:38:01+0000")]),
        ("media.json", json.dumps({"@odata.context": "...#Media", "value": [MEDIUM]}),
         [Entry("sha256", SHA, "category 1"), Entry("pdq", PDQ, "category 1")]),
        ("cases.json", json.dumps({"odata.metadata": "...#Cases", "value": [{"CaseID": "c", "Media": [MEDIUM]}]}),
         [Entry("sha256", SHA, "category 1"), Entry("pdq", PDQ, "category 1")]),
    ],
)  # fmt: skip
def test_lists_of_others_are_read(tmp_path: Path, name: str, text: str, expected: list[Entry]) -> None:
    assert read_hashes(written(tmp_path / name, text)).entries == expected


@pytest.mark.parametrize(
    ("name", "text", "left_out"),
    [
        ("a.csv", f"hash,type\n{'a' * 32},md5\n{PDQ},pdq\n", {"md5": 1}),
        ("a.json", json.dumps([{"type": "HASH_MD5", "indicator": "a" * 32}, {**UPDATE, "should_delete": True}]),
         {"hash_md5": 1, "deleted": 1}),
        ("b.json", json.dumps({"value": [{"MediaID": 1, "MD5": "a" * 32}, MEDIUM]}),
         {"media without SHA256 or PDQ": 1}),
    ],
)  # fmt: skip
def test_kinds_of_hashes_that_cannot_be_matched_are_counted(
    tmp_path: Path, name: str, text: str, left_out: dict[str, int]
) -> None:
    assert read_hashes(written(tmp_path / name, text)).left_out == left_out


@pytest.mark.parametrize(
    ("name", "text", "where", "what"),
    [
        ("a.txt", f"{PDQ}\nabc\n", "line 2", "no pdq hash"),
        ("a.csv", f"hash,label\n{PDQ},\"two\nlines\"\nabc,x\n", "line 4", "no pdq hash"),
        ("a.csv", "name,age\n", "line 1", "no column 'hash'"),
        ("a.jsonl", f"{json.dumps(DESCRIPTOR)}\n{{\"type\": \n", "line 2", "broken"),
        ("a.jsonl", f"{json.dumps(DESCRIPTOR)}\n{{\"type\": \"HASH_PDQ\"}}\n", "line 2", "no pdq hash"),
        ("a.json", json.dumps([DESCRIPTOR, 7]), "indicator 2", "fields"),
        ("a.json", json.dumps({"data": 7}), "a.json", "no list"),
        ("a.json", "[" * 100_000, "a.json", "nests"),
        ("a.json", json.dumps({"value": [MEDIUM, {**MEDIUM, "Category": "x"}]}), "medium 2", "fields"),
        ("a.json", json.dumps({"value": 7}), "a.json", "no list 'value'"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_named_by_file_and_line(tmp_path: Path, name: str, text: str, where: str, what: str) -> None:
    with pytest.raises(ProvenanceError, match=what) as error:
        read_hashes(written(tmp_path / name, text))
    assert name in str(error.value.where)
    assert where in str(error.value.where)


def test_what_would_move_a_cursor_does_not_get_into_a_label() -> None:
    assert entry("pdq", PDQ, label="\x1b[2Jred\u202e\ud800").label == "[2Jred"


def test_distance_31_matches_and_32_does_not(bank: Bank) -> None:
    bank.add([entry("pdq", PDQ, label="x")])
    (found,) = match(Hashes((Pdq.from_hex(flipped(PDQ, 31)),)), [bank])
    assert (found.bank, found.kind, found.entry.label) == ("known-harm", "harm", "x")
    assert (found.distance, found.exact) == (31, False)
    assert match(Hashes((Pdq.from_hex(flipped(PDQ, 32)),)), [bank]) == []


def test_more_than_31_bits_come_with_a_warning_and_more_than_63_are_refused(bank: Bank) -> None:
    bank.add([entry("pdq", PDQ)])
    query = Hashes((Pdq.from_hex(flipped(PDQ, 63)),))
    with pytest.warns(UserWarning, match="only look alike"):
        assert [one.distance for one in match(query, [bank], threshold=63)] == [63]
    with pytest.raises(ProvenanceError, match="out of range"):
        match(query, [bank], threshold=64)


def test_the_same_file_is_an_exact_match_and_comes_first(bank: Bank, home: Path) -> None:
    photograph().save(home / "a.png")
    bank.add_images([home / "a.png"])
    assert [(one.entry.type, one.exact, one.distance) for one in match(home / "a.png", [bank])] == [
        ("sha256", True, 0), ("pdq", False, 0),
    ]  # fmt: skip


@pytest.mark.parametrize("change", ["jpeg", "half"])
def test_a_compressed_or_smaller_copy_matches(bank: Bank, home: Path, change: str) -> None:
    photograph().save(home / "a.png")
    bank.add_images([home / "a.png"])
    copy = home / "copy.jpg"
    photograph().resize((256, 256) if change == "half" else (512, 512)).save(copy, quality=50)
    (found,) = match(copy, [bank])
    assert (found.entry.type, found.form) == ("pdq", "as it is")


def test_a_mirrored_copy_matches_only_with_dihedral_hashes(bank: Bank, home: Path) -> None:
    photograph().save(home / "a.png")
    bank.add_images([home / "a.png"])
    mirrored = ImageOps.mirror(photograph())
    (found,) = match(mirrored, [bank])
    assert found.form == "flipped horizontally"
    assert match(mirrored, [bank], dihedral=False) == []


def test_flat_images_never_match_by_pdq(bank: Bank) -> None:
    flat = np.zeros((64, 64, 3), np.uint8)
    known = hashes(flat)
    bank.add([entry("pdq", form.hex) for form in known.pdq])
    assert known.unusable
    assert match(flat, [bank]) == []


def test_another_photograph_matches_nothing(bank: Bank, home: Path) -> None:
    photograph().save(home / "a.png")
    bank.add_images([home / "a.png"])
    assert match(photograph("coffee"), [bank]) == []


def test_several_banks_are_matched_in_one_call(bank: Bank) -> None:
    own = banks.create("ours", "own")
    for each in (bank, own):
        each.add([entry("sha256", SHA)])
    assert [(one.bank, one.kind) for one in match(Hashes(sha256=SHA), [bank, own])] == [
        ("known-harm", "harm"), ("ours", "own"),
    ]  # fmt: skip


def test_a_match_sees_what_another_process_added(bank: Bank) -> None:
    query = Hashes((Pdq.from_hex(PDQ),))
    assert match(query, [bank]) == []
    banks.load("known-harm").add([entry("pdq", PDQ)])
    assert len(match(query, [bank])) == 1


def test_an_image_that_is_not_there_is_named(bank: Bank) -> None:
    with pytest.raises(ImageError) as error:
        match("none.png", [bank])
    assert error.value.where == Path("none.png")


@pytest.mark.parametrize(
    ("options", "expected"), [({"threshold": 256}, 80.0), ({"threshold": 0, "forms": 1}, 10 / 2**256)]
)
def test_chance_matches_of_random_hashes_are_the_binomial_tail(options: dict[str, Any], expected: float) -> None:
    assert expected_chance_matches(10, **options) == pytest.approx(expected)
