from __future__ import annotations

import numpy as np
import pytest

from auditkit.errors import DetectorError
from detectors.alarms import effective_number, expected
from detectors.metrics import Estimate, share


def rate(hits: int, of: int, *, each: int = 1) -> Estimate:
    return share(np.arange(of) < hits, np.arange(of) // each)


def test_at_one_in_a_hundred_one_percent_false_positives_make_every_second_alarm_false() -> None:
    table = expected(rate(1000, 1000), rate(10, 1000), base_rate=0.01, volume=100_000).set_index("measure")
    assert table.loc["false_alarms", "estimate"] == pytest.approx(990)
    assert table.loc["misses", "estimate"] == pytest.approx(0)
    assert table.loc["precision", "estimate"] == pytest.approx(1000 / 1990)


def test_false_alarms_of_none_seen_may_still_come() -> None:
    table = expected(rate(900, 1000), rate(0, 300), base_rate=0.01, volume=100_000).set_index("measure")
    assert table.loc["false_alarms", "estimate"] == 0
    assert 500 < table.loc["false_alarms", "ci_high"] < 1300
    assert table.loc["precision", "ci_low"] < 0.7


def test_images_of_one_source_make_the_numbers_less_sure() -> None:
    alone = expected(rate(900, 1000), rate(20, 1000), base_rate=0.01, volume=1000).set_index("measure")
    together = expected(rate(900, 1000), rate(20, 1000, each=10), base_rate=0.01, volume=1000).set_index("measure")
    assert effective_number(rate(20, 1000, each=10)) < 250
    assert together.loc["false_alarms", "ci_high"] > 1.5 * alone.loc["false_alarms", "ci_high"]


def test_intervals_cover_the_true_number_of_false_alarms() -> None:
    rng, inside = np.random.default_rng(0), 0
    for _ in range(200):
        false = share(rng.random(500) < 0.02, np.arange(500))
        row = expected(rate(90, 100), false, base_rate=0.01, volume=100_000).set_index("measure").loc["false_alarms"]
        inside += row["ci_low"] <= 1980 <= row["ci_high"]
    assert inside >= 180


def test_too_few_sources_give_no_number() -> None:
    table = expected(rate(5, 5), rate(0, 300), base_rate=0.01, volume=1000)
    assert table[["estimate", "ci_low", "ci_high"]].isna().all(axis=None)
    assert set(table["status"]) == {"insufficient"}


@pytest.mark.parametrize(("base_rate", "volume"), [(0, 10), (1, 10), (0.01, 0)])
def test_impossible_circumstances_are_refused(base_rate: float, volume: int) -> None:
    with pytest.raises(DetectorError):
        expected(rate(90, 100), rate(1, 100), base_rate=base_rate, volume=volume)
