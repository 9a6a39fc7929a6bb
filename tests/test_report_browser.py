"""The report in a real browser: no axe violation, nothing fetched, no sideways scrolling on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import report_helpers as made
from browser_helpers import assert_accessible, assert_fits_and_fetches_nothing

from reports.build import build

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = ["cook", "judge", "singer"]
    run = made.make_run(tmp_path_factory.mktemp("runs"), values=values, images_per_prompt=8)
    run.write_measurements(made.measured(run, insufficient=("cook",), uncalibrated=("singer",)))
    return build(run)


def test_axe_finds_no_violation(browser: Any, html: Path) -> None:
    assert_accessible(browser, html)


def test_the_page_fits_its_window_and_asks_for_nothing(browser: Any, html: Path) -> None:
    assert_fits_and_fetches_nothing(browser, html)
