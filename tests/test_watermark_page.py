"""The page of a bench: its sentences follow from its numbers, and it opens in a browser without a fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser_helpers import assert_accessible, assert_fits_and_fetches_nothing
from watermark_bench_helpers import small_bench

from auditkit.errors import WatermarkError
from auditkit.watermark import bench
from reports.watermark_page import write_page


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    again = {"diffusion:0.1": lambda image: image // 2, "diffusion:0.2": lambda image: image // 4}
    return write_page(small_bench(tmp_path_factory.mktemp("page"), regenerate=again))


def test_the_page_lies_in_the_bench_and_tells_its_rates(page: Path) -> None:
    text = page.read_text()
    results = bench.read_table(page.parent, "results.parquet")
    attacked = results[~results["group"].isin(["none", "forgery", "regeneration"])]
    survived = int((attacked["tpr"] >= 0.95).sum())
    assert page.name == "index.html"
    assert f"{survived} of {len(attacked)}" in text
    assert "toy is found in 100% [29, 100] of untouched images" in text
    assert "none was called marked" in text


def test_the_page_says_what_it_does_not_prove(page: Path) -> None:
    text = page.read_text()
    assert "does not say that an image was not generated" in text
    assert "No scheme here is promised to survive it" in text


def test_every_chart_has_a_text_in_its_place(page: Path) -> None:
    text = page.read_text()
    assert text.count("<img") == text.count('alt="Line chart') + text.count('alt="Observed against') > 0


def test_a_bench_that_is_not_finished_has_no_page(tmp_path: Path) -> None:
    with pytest.raises(WatermarkError, match="no bench"):
        write_page(tmp_path)


@pytest.mark.browser
def test_axe_finds_no_violation(browser: Any, page: Path) -> None:
    assert_accessible(browser, page)


@pytest.mark.browser
def test_the_page_fits_its_window_and_asks_for_nothing(browser: Any, page: Path) -> None:
    assert_fits_and_fetches_nothing(browser, page)
