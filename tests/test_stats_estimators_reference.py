"""Ours against QuaPy and ppi-python on the same data; their numbers come from tests/reference_estimators.py."""

from __future__ import annotations

import numpy as np
import pytest
from reference_estimators import IMAGES, K, data

from auditkit.stats.confusion import Confusion
from auditkit.stats.corrected import constrained_shares
from auditkit.stats.estimators import Evidence, get
from auditkit.stats.estimators.bayesian import CHAINS, posterior_draws
from auditkit.stats.estimators.em import maximised

# QuaPy 0.2.3 (with jax 0.4.38, numpyro 0.16.1) and ppi-python 0.2.3.
ACC = [0.63758, 0.28283, 0.07959]
EMQ = [0.62393, 0.27811, 0.09796]
BAYESIAN_CC = [0.64328, 0.28143, 0.07529]
BAYESIAN_CC_LOW = [0.56927, 0.21552, 0.01691]
BAYESIAN_CC_HIGH = [0.72239, 0.34544, 0.13154]
PPI = [0.63185, 0.26701, 0.10114]
PPI_LOW = [0.57266, 0.21701, 0.05445]
PPI_HIGH = [0.69105, 0.317, 0.14784]


@pytest.fixture(scope="module")
def made() -> dict[str, np.ndarray]:
    return data()


@pytest.fixture(scope="module")
def counts(made) -> np.ndarray:
    table = np.zeros((K, K))
    np.add.at(table, (made["calibration"].argmax(axis=1), made["known"]), 1)
    return table


def test_the_adjusted_count_is_quapys_acc(made, counts):
    q = np.bincount(made["audit"].argmax(axis=1), minlength=K) / IMAGES
    np.testing.assert_allclose(constrained_shares(q, counts / counts.sum(axis=0)), ACC, atol=1e-4)


def test_em_is_quapys_emq(made):
    np.testing.assert_allclose(maximised(made["audit"]), EMQ, atol=1e-4)


def test_the_gibbs_sampler_has_the_posterior_of_quapys_nuts(made, counts):
    labels = np.bincount(made["audit"].argmax(axis=1), minlength=K)
    given, rng = Confusion.from_counts(counts), np.random.default_rng(0)
    draws = posterior_draws(np.tile(labels, (CHAINS, 1)), given, rng, 20_000, prior=1, matrix_prior=1)
    np.testing.assert_allclose(draws.mean(axis=0), BAYESIAN_CC, atol=0.004)
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    np.testing.assert_allclose(low, BAYESIAN_CC_LOW, atol=0.008)
    np.testing.assert_allclose(high, BAYESIAN_CC_HIGH, atol=0.008)


def test_prediction_powered_inference_is_ppi_pythons(made, counts):
    given = Evidence(
        made["audit"].argmax(axis=1),
        np.arange(IMAGES),
        made["audit"],
        Confusion.from_counts(np.vstack([counts, np.zeros(K)])),
        human=made["human"],
    )
    found = get("ppi").estimate(given, rng=np.random.default_rng(0))
    np.testing.assert_allclose(found.free, PPI, atol=1e-4)
    # Theirs takes the unlabelled images to be another sample, ours the same one: errors agree to some per cent.
    theirs = (np.array(PPI_HIGH) - PPI_LOW) / (2 * 1.959964)
    np.testing.assert_allclose(np.sqrt(np.diag(found.covariance)), theirs, rtol=0.03)
