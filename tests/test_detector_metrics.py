from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from auditkit.errors import DetectorError
from detectors import metrics


def scores_of(n: int, *, apart: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    return rng.normal(size=n).round(2) + apart * labels, labels


def test_auroc_and_average_precision_agree_with_scikit_learn_ties_and_all() -> None:
    x, y = scores_of(2000)
    x = x.round(1)
    assert metrics.auroc(x, y) == pytest.approx(roc_auc_score(y, x), abs=1e-12)
    assert metrics.average_precision(x, y) == pytest.approx(average_precision_score(y, x), abs=1e-12)


def test_tpr_at_one_percent_is_read_off_the_roc_curve() -> None:
    x, y = scores_of(2000, apart=2)
    false, true, _ = roc_curve(y, x, drop_intermediate=False)
    assert metrics.tpr_at(x, y, 0.01) == pytest.approx(true[false <= 0.01].max())


def test_tpr_at_one_percent_is_refused_under_300_real_images() -> None:
    x, y = scores_of(598)
    assert np.isnan(metrics.tpr_at(x, y, 0.01))
    table = metrics.evaluate(x, y, np.arange(598)).set_index("metric")
    assert table.loc["tpr@0.01", "status"] == "insufficient"
    assert np.isnan(table.loc["tpr@0.01", ["estimate", "ci_low", "ci_high"]].to_numpy(float)).all()
    assert table.loc["auroc", "status"] == "ok"


def test_a_threshold_is_reached_by_no_more_real_images_than_asked_even_with_ties() -> None:
    reals = np.repeat([0.0, 1.0, 2.0], [90, 5, 5])
    assert (reals >= metrics.threshold_at(reals, 0.05)).mean() == 0.05
    assert (reals >= metrics.threshold_at(reals, 0.04)).mean() == 0
    assert np.isnan(metrics.threshold_at([], 0.01))


def test_one_class_alone_has_no_metric() -> None:
    assert np.isnan(metrics.auroc([1, 2], [1, 1]))
    assert np.isnan(metrics.average_precision([1, 2], [0, 0]))
    assert np.isnan(metrics.balanced_accuracy([1, 2], [1, 1], 1.5))
    table = metrics.evaluate(np.arange(50.0), np.ones(50), np.arange(50))
    assert (table[table.metric != "not_scored"].status == "insufficient").all()


def test_fewer_than_ten_sources_of_a_class_give_no_number_however_many_images() -> None:
    x, y = scores_of(2000)
    table = metrics.evaluate(x, y, np.arange(2000) % 18).set_index("metric")  # 9 sources of each class
    assert table.loc["auroc", "status"] == "insufficient"
    assert np.isnan(table.loc["auroc", "estimate"])


def test_images_of_one_source_widen_the_interval() -> None:
    x, y = scores_of(1000)
    x, y = np.repeat(x, 10), np.repeat(y, 10)
    apart = metrics.evaluate(x, y, np.arange(10000)).set_index("metric").loc["auroc"]
    together = metrics.evaluate(x, y, np.repeat(np.arange(1000), 10)).set_index("metric").loc["auroc"]
    width = (together.ci_high - together.ci_low) / (apart.ci_high - apart.ci_low)
    assert together.estimate == apart.estimate
    assert width == pytest.approx(np.sqrt(10), rel=0.15)


def test_images_without_a_score_are_left_out_and_counted() -> None:
    x, y = scores_of(400)
    x[:40] = np.nan
    table = metrics.evaluate(x, y, np.arange(400)).set_index("metric")
    assert table.loc["not_scored", "estimate"] == pytest.approx(0.1)
    assert table.loc["auroc", "n_images"] == 360
    assert table.loc["auroc", "estimate"] == pytest.approx(roc_auc_score(y[40:], x[40:]))


def test_perfect_separation_of_a_few_images_is_not_certain() -> None:
    y = np.arange(40) % 2
    table = metrics.evaluate(y + 0.0, y, np.arange(40), threshold=0.5).set_index("metric")
    for name in ("auroc", "average_precision", "balanced_accuracy", "tpr"):
        assert table.loc[name, "estimate"] == 1
        assert 0.75 < table.loc[name, "ci_low"] < 0.98
    assert table.loc["fpr", "estimate"] == 0
    assert 0.02 < table.loc["fpr", "ci_high"] < 0.25


def test_an_evaluation_is_the_same_every_time() -> None:
    x, y = scores_of(700)
    first, second = (metrics.evaluate(x, y, np.arange(700), threshold=0.5) for _ in range(2))
    assert first.equals(second)


def test_scores_and_labels_must_match() -> None:
    with pytest.raises(DetectorError, match="3 scores, 2 labels"):
        metrics.evaluate([1, 2, 3], [0, 1], [0, 1])
