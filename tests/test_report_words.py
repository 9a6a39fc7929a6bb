"""What a report says in words follows from the numbers, and from nothing else."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import words
from reports.tables import View


def cells(
    shares: dict[str, float],
    *,
    differs: tuple[str, ...] = (),
    status: dict[str, str] | None = None,
    by: str = "occupation",
) -> View:
    """A gender view with these shares of female."""
    rows = []
    for group, female in shares.items():
        state = (status or {}).get(group, "ok")
        for category, share in (("female", female), ("male", 1 - female)):
            known = share if state == "ok" else np.nan
            rows.append(
                {
                    "group": group, "category": category, "n_images": 50, "n_prompts": 5,
                    "classified": share, "classified_low": share, "classified_high": share,
                    "corrected": known, "low": known - 0.08, "high": known + 0.08, "target": 0.5,
                    "p_holm": 0.001 if group in differs else 1.0, "differs": group in differs,
                    "status": state, "note": "", "planted": np.nan, "covered": pd.NA,
                }
            )  # fmt: skip
    table = pd.DataFrame(rows)
    nothing = pd.DataFrame(columns=["group", "n_images", "share", "distance", "corrected", "category"])
    return View("gender", by, "uniform", ["female", "male"], table, nothing, nothing, nothing, nothing)


def test_the_headline_counts_the_groups_that_differ_and_names_the_widest_gap() -> None:
    view = cells({"nurse": 0.87, "judge": 0.3, "cook": 0.5}, differs=("nurse", "judge"))
    assert words.headline(view) == [
        "Of 3 occupations, 2 differ from an even split of perceived gender after correction for multiple "
        "testing (Holm).",
        "Largest gap: nurse, 87% female [79, 95], where the target is 50%.",
    ]


def test_a_gap_below_the_target_is_told_by_the_class_that_is_shown_more() -> None:
    assert "judge, 93% male" in words.headline(cells({"judge": 0.07}, differs=("judge",)))[1]


def test_one_group_is_singular() -> None:
    assert words.headline(cells({"nurse": 0.9}, differs=("nurse",)))[0].startswith(
        "Of 1 occupation, 1 differs "
    )


def test_no_finding_is_not_called_equality() -> None:
    view = cells({"nurse": 0.55, "cook": 0.5})
    assert words.headline(view)[0].startswith("No occupation of the 2 tested differs detectably from")
    assert "not proof of equality" in words.not_proof(view)[0]


def test_nothing_is_said_of_the_rest_where_every_group_differs() -> None:
    assert words.not_proof(cells({"nurse": 0.9, "judge": 0.1}, differs=("nurse", "judge"))) == []


def test_insufficient_and_uncalibrated_groups_are_named() -> None:
    view = cells({"a": 0.5, "b": 0.5, "c": 0.5}, status={"b": "insufficient", "c": "uncalibrated"})
    said = words.silences([view])
    assert said[0] == (
        "1 occupation is insufficient for perceived gender (too few images for an estimate): b. Nothing is "
        "claimed about it."
    )
    assert "1 occupation is uncalibrated" in said[1]
    assert (
        "Of 3 occupations, 1 could be tested"
        in words.headline(
            cells(
                {"a": 0.9, "b": 0.5, "c": 0.5},
                differs=("a",),
                status={"b": "insufficient", "c": "uncalibrated"},
            )
        )[0]
    )


def test_a_run_without_any_calibration_gives_plain_shares_with_their_caveat() -> None:
    view = cells({"a": 0.2, "b": 0.9}, status={"a": "uncalibrated", "b": "uncalibrated"})
    assert words.headline(view) == []
    assert words.silences([view])[0].startswith("All 2 occupations are uncalibrated")
    assert "from 20% (a) to 90% (b)" in words.uncorrected(view)[0]
    assert "errors that the classifier makes" in words.uncorrected(view)[0]


def test_a_run_as_a_whole_is_told_without_groups() -> None:
    view = cells({"all": 0.9}, differs=("all",), by="all")
    assert words.headline(view)[0].startswith("The images differ from an even split of perceived gender")
    assert words.headline(view)[1] == "Largest gap: 90% female [82, 98], where the target is 50%."


@pytest.mark.parametrize(
    ("count", "noun", "said"),
    [
        (1, "image", "1 image"),
        (0, "image", "0 images"),
        (2, "category", "2 categories"),
        (1000, "bus", "1,000 buses"),
    ],
)
def test_counts_agree_with_their_nouns(count: int, noun: str, said: str) -> None:
    assert words.plural(count, noun) == said


@pytest.mark.parametrize(
    ("value", "said"), [(0.0004, "<.001"), (0.0314, ".031"), (0.9999, "1"), (float("nan"), "–")]
)
def test_p_values_read_as_in_print(value: float, said: str) -> None:
    assert words.p_value(value) == said


@given(
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=8),
    states=st.lists(st.sampled_from(["ok", "insufficient", "uncalibrated"]), min_size=8, max_size=8),
    cut=st.floats(0, 0.5),
)
def test_no_sentence_holds_a_missing_number_or_a_verdict(
    shares: list[float], states: list[str], cut: float
) -> None:
    names = [f"g{i}" for i in range(len(shares))]
    status = dict(zip(names, states, strict=False))
    far = tuple(n for n, p in zip(names, shares, strict=True) if abs(p - 0.5) > cut and status[n] == "ok")
    view = cells(dict(zip(names, shares, strict=True)), differs=far, status=status)
    said = " ".join(
        [*words.headline(view), *words.silences([view]), *words.uncorrected(view), *words.not_proof(view),
         *words.overall(view), words.chart_alt(view)]
    )  # fmt: skip
    assert said
    assert not re.search(r"\b(nan|None|inf|biased|unbiased|debiased)\b", said)
