"""What the tests of `scan` share: folders to scan (`uploads`, `letters`: fixtures) and a scan's table (`scanned`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from provenance_helpers import image_bytes, signed
from provenance_mutations import repainted

from auditkit.provenance import scanning
from auditkit.provenance.inspection import Inspector, Settings
from auditkit.provenance.scan_table import read_scan
from auditkit.provenance.scanning import scan

PLAIN = Settings(store="", keys="", banks=())


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    """Four files: signed, changed since, unsigned, and no image."""
    folder = tmp_path / "uploads"
    (folder / "more").mkdir(parents=True)
    (folder / "signed.png").write_bytes(signed("png").data)
    (folder / "changed.jpg").write_bytes(repainted(signed("jpeg").data))
    (folder / "more" / "plain.webp").write_bytes(image_bytes("webp"))
    (folder / "notes.txt").write_text("hello")
    return folder


def scanned(folder: Path, settings: Settings = PLAIN, *, out: Path | None = None, **options: Any) -> pd.DataFrame:
    out = out or folder.parent / "out.parquet"
    scan(folder, out, settings=settings, **{"workers": 1, **options})
    return read_scan(out).set_index("file")


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that are not about workers: no process is started, which takes most of a second."""

    def rows(folder: Path, todo: list[Any], settings: Settings, *_: Any) -> Iterator[dict[str, Any]]:
        inspector = Inspector(settings)
        for path, row in todo:
            yield row | scanning._looked_at(inspector, str(folder / path))

    monkeypatch.setattr(scanning, "_rows", rows)


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    folder = tmp_path / "letters"
    folder.mkdir()
    for name in "abcde":
        (folder / f"{name}.png").write_bytes(image_bytes("png"))
    return folder
