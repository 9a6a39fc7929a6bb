"""Estimators of class shares from an imperfect classifier, one file each; `get` finds one by its name."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping

from auditkit.errors import SpecError
from auditkit.stats.estimators.base import CalibrationSample, Estimate, Estimator, Evidence

__all__ = ["DEFAULT", "ESTIMATORS", "CalibrationSample", "Estimate", "Estimator", "Evidence", "get"]

DEFAULT = "adjusted-count"

_MODULES = {
    "classify-and-count": "classify_and_count",
    "adjusted-count": "adjusted_count",
    "em": "em",
    "bayesian": "bayesian",
    "ppi": "ppi",
    "cleam": "cleam",
}


class _Lazy(Mapping[str, Estimator]):
    """Name to estimator; a module is imported when its estimator is first asked for."""

    def __getitem__(self, name: str) -> Estimator:
        module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
        found: Estimator = module.estimator
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


ESTIMATORS: Mapping[str, Estimator] = _Lazy()


def get(name: str) -> Estimator:
    """The estimator of that name.

    Raises:
        SpecError: there is none; near matches are named.
    """
    if name not in _MODULES:
        near = difflib.get_close_matches(name, _MODULES, n=2, cutoff=0.4)
        raise SpecError(
            f"There is no estimator '{name}'" + (f"; did you mean {' or '.join(near)}?" if near else "."),
            where="estimator",
            mend=f"use one of: {', '.join(_MODULES)}",
        )
    return ESTIMATORS[name]
