"""Charts hold the numbers, in text and shape, and are drawn offline."""

from __future__ import annotations

import json
import re

import pytest
import report_helpers as made

from auditkit.runs import Run
from reports import charts, tables

JOBS = ["artist", "guard", "health worker", "judge", "singer"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made.make_run(tmp_path_factory.mktemp("runs"), values=JOBS, images_per_prompt=10)


@pytest.fixture(scope="module")
def views(run: Run) -> dict[str, tables.View]:
    table = made.measured(run, insufficient=("guard",), uncalibrated=("singer",))
    return {
        name: tables.view(table, name, planted=tables.planted_shares(run, name, by="occupation"))
        for name in ("gender", "skin_tone")
    }


def test_a_group_without_an_estimate_keeps_its_row_and_says_why(views: dict[str, tables.View]) -> None:
    svg = charts.to_svg(charts.shares_chart(views["gender"]))
    assert "guard · insufficient" in svg
    assert "singer · uncalibrated" in svg


@pytest.mark.parametrize("attribute", ["gender", "skin_tone"])
def test_a_chart_fits_a_phone(views: dict[str, tables.View], attribute: str) -> None:
    svg = charts.to_svg(charts.shares_chart(views[attribute], width=343))
    width = re.search(r'width="([\d.]+)"', svg)
    assert width
    assert float(width[1]) <= 350


def test_each_class_has_a_panel(views: dict[str, tables.View]) -> None:
    svg = charts.to_svg(charts.shares_chart(views["skin_tone"]))
    assert all(tone in svg for tone in made.CLASSES["skin_tone"])


def test_the_legend_names_only_marks_that_are_there(views: dict[str, tables.View], run: Run) -> None:
    plain = tables.view(made.measured(run), "gender")
    svg = charts.to_svg(charts.shares_chart(plain))
    assert "Target" in svg
    assert "Planted truth" not in svg
    assert "uncorrected" not in svg
    assert "Planted truth" in charts.to_svg(charts.shares_chart(views["gender"]))


def test_marks_differ_in_shape_and_not_only_in_colour() -> None:
    together = (charts.DIFFERS, charts.SAME, charts.TARGET, charts.PLANTED, charts.PLAIN)
    looks = [
        (charts.MARKS[mark]["shape"], charts.MARKS[mark]["fill"] in ("#ffffff", "transparent"))
        for mark in together
    ]
    assert len(set(looks)) == len(together)


def test_a_chart_is_plain_vega_lite_without_missing_numbers(views: dict[str, tables.View]) -> None:
    for chart in (charts.shares_chart(views["gender"]), charts.recovery_chart(views["skin_tone"])):
        assert json.dumps(chart.to_dict(), allow_nan=False)


def test_many_groups_are_drawn(views: dict[str, tables.View], run: Run) -> None:
    import pandas as pd

    table = made.measured(run)
    copies = [
        table.assign(group=table["group"].where(table["group"] == "all", table["group"] + f" {i}"))
        for i in range(60)
    ]
    many = tables.view(
        pd.concat(copies).drop_duplicates(["measure", "attribute", "category", "group"]), "skin_tone"
    )
    assert len(many.groups) == 300
    assert "judge 59" in charts.to_svg(charts.shares_chart(many))
