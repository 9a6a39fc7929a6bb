"""Numbers of kept libraries on fixed data, to hold our estimators against; the libraries are too heavy for the tests.

    python -m venv ref && ref/bin/pip install quapy==0.2.3 ppi-python==0.2.3 jax==0.4.38 numpyro==0.16.1
    cd tests && ../ref/bin/python reference_estimators.py

prints them; they stand in tests/test_stats_estimators_reference.py.
"""

from __future__ import annotations

import sys
import types

import numpy as np

K, IMAGES, SOURCES, LABELS = 3, 600, 150, 120
SHARES = np.array([0.6, 0.3, 0.1])


def posteriors(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Exact posteriors under equal class shares: normal scores whose mean is 2 in the class's own direction."""
    scores = 2 * (rng.normal(size=(len(truth), K)) + 2 * np.eye(K)[truth])
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def data() -> dict[str, np.ndarray]:
    """A calibration set of SOURCES a class, an audit of IMAGES, and LABELS true classes of them."""
    rng = np.random.default_rng(11)
    known = np.repeat(np.arange(K), SOURCES)
    truth = rng.choice(K, size=IMAGES, p=SHARES)
    human = np.full(IMAGES, -1)
    seen = rng.choice(IMAGES, LABELS, replace=False)
    human[seen] = truth[seen]
    return {
        "known": known,
        "calibration": posteriors(known, rng),
        "audit": posteriors(truth, rng),
        "truth": truth,
        "human": human,
    }


def main() -> None:
    # QuaPy asks for all Bayesian extras at once; this model needs no Stan.
    for name in ("stan", "stan.common"):
        sys.modules.setdefault(name, types.ModuleType(name))
    from ppi_py import ppi_mean_ci, ppi_mean_pointestimate
    from quapy.method._bayesian import P_TEST_Y, sample_posterior_bayesianCC
    from quapy.method.aggregative import ACC, EMQ

    made = data()
    labels, known = made["audit"].argmax(axis=1), made["known"]
    predicted = made["calibration"].argmax(axis=1)
    rates = ACC.getPteCondEstim(np.arange(K), known, predicted)
    counted = np.bincount(labels, minlength=K) / len(labels)
    acc = ACC.solve_adjustment(rates, counted, method="inversion", solver="minimize")
    em, _ = EMQ.EM(np.full(K, 1 / K), made["audit"], epsilon=1e-10)
    table = np.zeros((K, K))
    np.add.at(table, (known, predicted), 1)
    draws = sample_posterior_bayesianCC(
        np.bincount(labels, minlength=K), table, num_warmup=1000, num_samples=20000, alpha=np.ones(K)
    )[P_TEST_Y]
    seen = made["human"] >= 0
    y, f, rest = np.eye(K)[made["human"][seen]], made["audit"][seen], made["audit"][~seen]
    low, high = ppi_mean_ci(y, f, rest, alpha=0.05)
    point = ppi_mean_pointestimate(y, f, rest)
    for name, found in [
        ("ACC", acc), ("EMQ", em), ("BAYESIAN_CC", draws.mean(axis=0)),
        ("BAYESIAN_CC_LOW", np.quantile(draws, 0.025, axis=0)), ("BAYESIAN_CC_HIGH", np.quantile(draws, 0.975, axis=0)),
        ("PPI", point), ("PPI_LOW", low), ("PPI_HIGH", high),
    ]:  # fmt: skip
        print(f"{name} = {np.asarray(found).round(5).tolist()}")


if __name__ == "__main__":
    main()
