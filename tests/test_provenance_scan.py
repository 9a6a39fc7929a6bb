"""Scanning a folder: a row for every file, whatever it is; stopped at any moment, it goes on where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import scan_helpers
from provenance_helpers import image_bytes, isolated, issued, pki, signed  # noqa: F401
from scan_helpers import PLAIN, scanned

from auditkit.errors import ProvenanceError, TrustError
from auditkit.provenance import scan_table, scanning
from auditkit.provenance.inspection import Settings
from auditkit.provenance.scan_table import COLUMNS, read_scan
from auditkit.provenance.scanning import scan
from auditkit.provenance.store import open_store
from auditkit.watermark import keys

in_process, letters, uploads = scan_helpers.in_process, scan_helpers.letters, scan_helpers.uploads  # fixtures

# --- the table ----------------------------------------------------------------------------------------------


def test_every_file_below_the_folder_has_a_row_with_its_verdict(uploads: Path) -> None:
    table = scanned(uploads, workers=2)
    assert table["c2pa"].to_dict() == {
        "changed.jpg": "tampered-content", "more/plain.webp": "no-manifest", "notes.txt": "unsupported",
        "signed.png": "valid-untrusted",
    }  # fmt: skip
    assert (table["error"] == "").all()
    assert list(table.index) == sorted(table.index)


def test_the_columns_and_their_types_are_those_that_are_promised(uploads: Path, in_process: None) -> None:
    table = scanned(uploads).reset_index()
    assert list(table) == list(COLUMNS)
    assert {name: str(kind) for name, kind in table.astype(COLUMNS).dtypes.items()} == COLUMNS
    assert table["bytes"].tolist() == [(uploads / name).stat().st_size for name in table["file"]]
    assert (table["ms"] > 0).all()


def test_details_is_the_answer_of_inspect(uploads: Path, in_process: None) -> None:
    row = scanned(uploads).loc["signed.png"]
    details = json.loads(row["details"])
    assert details["c2pa"]["verdict"] == row["c2pa"]
    assert details["c2pa"]["signer"]["name"] == row["signer"]
    assert details["sha256"] == row["sha256"]


def test_anchors_that_are_named_count_in_the_workers(uploads: Path) -> None:
    table = scanned(uploads, Settings(store="", keys="", banks=(), trust=(str(pki().root),)))
    assert table.loc["signed.png", "c2pa"] == "trusted"


def test_progress_ends_at_the_number_of_files(uploads: Path, in_process: None) -> None:
    seen: list[tuple[int, int]] = []
    scan(uploads, uploads.parent / "o.parquet", settings=PLAIN, workers=1, progress=lambda *at: seen.append(at))
    assert seen[0] == (0, 4)
    assert seen[-1] == (4, 4)


def test_an_empty_folder_gives_an_empty_table(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    assert scanned(tmp_path / "none").empty


# --- files of every kind ------------------------------------------------------------------------------------


def test_odd_files_cost_a_row_each(uploads: Path) -> None:
    (uploads / "empty.png").write_bytes(b"")
    (uploads / "png.jpg").write_bytes(signed("png").data)
    (uploads / "bomb.png").write_bytes(bomb(60_000))
    (uploads / "cut.png").write_bytes(signed("png").data[:300])
    (uploads / "upload.tmp").write_bytes(signed("png").data)
    os.mkfifo(uploads / "pipe")
    (uploads / "round").symlink_to("round")
    (uploads / "nowhere.png").symlink_to("missing.png")
    (uploads / "inside.png").symlink_to("signed.png")
    table = scanned(uploads)
    assert table["error"].to_dict() == {
        "changed.jpg": "", "more/plain.webp": "", "notes.txt": "", "signed.png": "", "png.jpg": "", "cut.png": "",
        "bomb.png": "", "upload.tmp": "", "inside.png": "", "empty.png": "the file is empty",
        "pipe": "this is not a plain file", "nowhere.png": "the file does not exist",
        "round": "the file cannot be read: Too many levels of symbolic links",
    }  # fmt: skip
    assert table.loc["png.jpg", "media_type"] == "image/png"
    assert table.loc["png.jpg", "c2pa"] == table.loc["upload.tmp", "c2pa"] == "valid-untrusted"
    assert table.loc["cut.png", "c2pa"] == "malformed"
    assert table.loc["bomb.png", "c2pa"] in ("no-manifest", "malformed")
    assert "million pixels" in json.loads(table.loc["bomb.png", "details"])["hash"]["sentence"]


def test_links_out_of_the_folder_and_to_folders_are_not_followed(
    uploads: Path, tmp_path: Path, in_process: None
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.png").write_bytes(signed("png").data)
    (uploads / "out.png").symlink_to(outside / "secret.png")
    (uploads / "away").symlink_to(outside)
    (uploads / "again").symlink_to("more")
    table = scanned(uploads)
    assert table.loc["out.png", "error"] == table.loc["away", "error"] == "a link to a file outside the folder"
    assert table.loc["again", "error"] == "a link to a folder, which is not followed"
    assert table.loc[["out.png", "away", "again"], "details"].isna().all()
    assert len(table) == 7


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_files_and_folders_that_may_not_be_read_are_rows(uploads: Path, in_process: None) -> None:
    (uploads / "signed.png").chmod(0)
    (uploads / "more").chmod(0)
    try:
        errors = scanned(uploads)["error"]
    finally:
        (uploads / "more").chmod(0o700)
    assert errors["signed.png"] == "the file cannot be read: Permission denied"
    assert errors["more"] == "the folder cannot be read: Permission denied"


def test_a_file_that_does_not_open_is_a_row(uploads: Path, monkeypatch: pytest.MonkeyPatch, in_process: None) -> None:
    read = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.name == "signed.png":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert scanned(uploads)["error"]["signed.png"] == "the file cannot be read: Permission denied"


def test_a_folder_that_does_not_open_is_a_row(uploads: Path, monkeypatch: pytest.MonkeyPatch, in_process: None) -> None:
    opened = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path).name == "more":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert scanned(uploads)["error"]["more"] == "the folder cannot be read: Permission denied"


def test_hidden_files_and_sidecars_and_the_table_itself_are_left_out(uploads: Path, in_process: None) -> None:
    made = signed("png", embed=False)
    (uploads / "beside.png").write_bytes(made.data)
    (uploads / "beside.c2pa").write_bytes(made.manifest)
    (uploads / "alone.c2pa").write_bytes(made.manifest)
    (uploads / ".hidden.png").write_bytes(made.data)
    (uploads / ".git").mkdir()
    (uploads / ".git" / "x.png").write_bytes(made.data)
    out = uploads / "table.parquet"
    scanned(uploads, out=out)
    table = scanned(uploads, out=out)
    assert set(table.index) == {"alone.c2pa", "beside.png", "changed.jpg", "more/plain.webp", "notes.txt", "signed.png"}
    assert table.loc["beside.png", "c2pa"] == "valid-untrusted"
    assert table.loc["alone.c2pa", "c2pa"] == "unsupported"


def test_a_name_that_is_no_text_is_a_row(uploads: Path, in_process: None) -> None:
    (uploads / os.fsdecode(b"caf\xe9.png")).write_bytes(signed("png").data)
    first, again = scanned(uploads), scanned(uploads)
    assert first.loc["caf\\udce9.png", "c2pa"] == "valid-untrusted"
    assert len(again) == 5


def test_a_name_with_a_line_break_is_a_row(uploads: Path, in_process: None) -> None:
    (uploads / "a\nb.png").write_bytes(signed("png").data)
    assert scanned(uploads).loc["a\nb.png", "c2pa"] == "valid-untrusted"


# --- going on -----------------------------------------------------------------------------------------------


def test_a_second_scan_keeps_what_has_not_changed_and_sees_what_has(uploads: Path, in_process: None) -> None:
    out = uploads.parent / "out.parquet"
    scan(uploads, out, settings=PLAIN, workers=1)
    (uploads / "changed.jpg").write_bytes(signed("jpeg", seed=2).data)
    (uploads / "notes.txt").unlink()
    (uploads / "new.png").write_bytes(image_bytes("png"))
    done = scan(uploads, out, settings=PLAIN, workers=1)
    table = read_scan(out).set_index("file")
    assert (done.made, done.kept) == (2, 2)
    assert table.loc["changed.jpg", "c2pa"] == "valid-untrusted"
    assert sorted(table.index) == ["changed.jpg", "more/plain.webp", "new.png", "signed.png"]


def test_a_sidecar_that_came_or_went_is_seen(tmp_path: Path, in_process: None) -> None:
    folder, out = tmp_path / "few", tmp_path / "out.parquet"
    folder.mkdir()
    made = signed("png", embed=False)
    (folder / "a.png").write_bytes(made.data)
    verdicts = []
    for change in (lambda: None, lambda: (folder / "a.c2pa").write_bytes(made.manifest), (folder / "a.c2pa").unlink):
        change()
        scan(folder, out, settings=PLAIN, workers=1)
        verdicts.append(read_scan(out)["c2pa"].tolist())
    assert verdicts == [["no-manifest"], ["valid-untrusted"], ["no-manifest"]]


def test_a_scan_with_nothing_to_do_starts_no_worker(
    uploads: Path, monkeypatch: pytest.MonkeyPatch, in_process: None
) -> None:
    scanned(uploads)
    monkeypatch.setattr(scanning, "_Worker", None)
    assert len(scanned(uploads)) == 4


def test_other_settings_start_anew(uploads: Path, in_process: None) -> None:
    out = uploads.parent / "out.parquet"
    scan(uploads, out, settings=PLAIN, workers=1)
    trusting = Settings(store="", keys="", banks=(), trust=(str(pki().root),))
    assert scan(uploads, out, settings=trusting, workers=1).made == 4
    assert read_scan(out).set_index("file").loc["signed.png", "c2pa"] == "trusted"


def test_anchors_that_changed_under_the_same_name_start_anew(uploads: Path, tmp_path: Path, in_process: None) -> None:
    anchors, out = tmp_path / "anchors.pem", tmp_path / "out.parquet"
    settings = Settings(store="", keys="", banks=(), trust=(str(anchors),))
    anchors.write_bytes(issued(tmp_path / "other", self_signed=True).chain.read_bytes())
    scan(uploads, out, settings=settings, workers=1)
    anchors.write_bytes(pki().root.read_bytes())
    assert scan(uploads, out, settings=settings, workers=1).made == 4


def test_a_store_that_has_learned_something_starts_anew(uploads: Path, tmp_path: Path, in_process: None) -> None:
    out = tmp_path / "out.parquet"
    settings = Settings(store=str(tmp_path / "store"), keys="", banks=())
    with open_store(tmp_path / "store", create=True) as store:
        assert scan(uploads, out, settings=settings, workers=1).made == 4
        store.add(signed("webp"), title="p", signer="s")
    assert scan(uploads, out, settings=settings, workers=1).made == 4
    assert read_scan(out).set_index("file").loc["more/plain.webp", "c2pa"] == "recovered-exact"


def test_a_new_watermark_key_starts_anew(tmp_path: Path, in_process: None) -> None:
    folder, out, ring = tmp_path / "few", tmp_path / "out.parquet", tmp_path / "ring.json"
    folder.mkdir()
    (folder / "notes.txt").write_text("hello")
    settings = Settings(store="", keys=str(ring), banks=())
    keys.create(ring)
    assert scan(folder, out, settings=settings, workers=1).made == 1
    assert scan(folder, out, settings=settings, workers=1).made == 0
    keys.rotate(ring)
    assert scan(folder, out, settings=settings, workers=1).made == 1


def test_a_scan_that_was_killed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    folder, out = tmp_path / "many", tmp_path / "out.parquet"
    folder.mkdir()
    for number in range(120):
        (folder / f"{number:03}.txt").write_text("hello")
    code = (
        "from auditkit.provenance import scanning\n"
        "from auditkit.provenance.inspection import Settings\n"
        "import os, time\n"
        "scanning.BATCH = 10\n"
        "def show(done, total):\n"
        "    if done == 45:\n"
        "        print('here', flush=True)\n"
        "        time.sleep(60)\n"
        f"scanning.scan({str(folder)!r}, {str(out)!r}, settings=Settings(store='', keys='', banks=()), workers=1, "
        "progress=show)\n"
    )
    path = os.pathsep.join([str(Path(scanning.__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": path})  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    assert not out.exists()
    done = scan(folder, out, settings=PLAIN, workers=1)
    assert (done.kept, done.made) == (40, 80)
    assert len(read_scan(out)) == 120
    assert sorted(path.name for path in tmp_path.iterdir() if "parquet" in path.name) == ["out.parquet"]


def test_rows_are_saved_by_the_clock_too(letters: Path, monkeypatch: pytest.MonkeyPatch, in_process: None) -> None:
    monkeypatch.setattr(scanning, "SAVE_SECONDS", 0.0)
    saved: list[int] = []
    write = scan_table.Parts.write

    def counted(self: Any, rows: list[dict[str, Any]]) -> None:
        saved.append(len(rows))
        write(self, rows)

    monkeypatch.setattr(scan_table.Parts, "write", counted)
    scanned(letters)
    assert saved == [1, 1, 1, 1, 1, 0]


def test_a_part_that_was_half_written_is_done_again(letters: Path, in_process: None) -> None:
    parts = letters.parent / ".out.parquet.parts"
    parts.mkdir()
    (parts / "1.parquet").write_bytes(b"PAR1 and no more")
    assert len(scanned(letters)) == 5
    assert not parts.exists()


# --- what is refused ----------------------------------------------------------------------------------------


def test_a_table_that_is_none_of_a_scan_is_not_written_over(uploads: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.parquet"
    pd.DataFrame({"a": [1]}).to_parquet(out)
    before = out.read_bytes()
    with pytest.raises(ProvenanceError, match="holds something else"):
        scan(uploads, out, settings=PLAIN)
    assert out.read_bytes() == before


def test_a_file_that_is_no_table_is_not_written_over(uploads: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.parquet"
    out.write_text("my notes")
    with pytest.raises(ProvenanceError, match="no table"):
        scan(uploads, out, settings=PLAIN)
    assert out.read_text() == "my notes"


@pytest.mark.parametrize("out", ["table.csv", "table"])
def test_another_ending_is_refused(uploads: Path, out: str) -> None:
    with pytest.raises(ProvenanceError, match=r"\.parquet"):
        scan(uploads, out, settings=PLAIN)


def test_a_missing_folder_or_a_file_is_refused(uploads: Path) -> None:
    for wrong in (uploads / "none", uploads / "signed.png"):
        with pytest.raises(ProvenanceError, match="no such folder"):
            scan(wrong, "out.parquet", settings=PLAIN)


def test_settings_that_name_nothing_are_refused_before_any_worker_starts(uploads: Path) -> None:
    with pytest.raises(TrustError):
        scan(uploads, "out.parquet", settings=Settings(trust=("none.pem",)))


def test_a_table_of_something_else_is_not_read(tmp_path: Path) -> None:
    pd.DataFrame({"file": ["x"]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(ProvenanceError, match="no column 'bytes'"):
        read_scan(tmp_path / "t.parquet")
    with pytest.raises(ProvenanceError, match="no such table"):
        read_scan(tmp_path / "none.parquet")


def bomb(side: int) -> bytes:
    """A PNG whose header says that it is `side` pixels wide and high."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    header = side.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content
