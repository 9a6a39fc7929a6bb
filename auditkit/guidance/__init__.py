"""Mitigation: guidance that moves a generator toward a stated target (docs/mitigation.md).

`Request` says what is asked for, `steer` makes of it, a spec and a model what steers a run. One file a method.
"""

from auditkit.guidance.base import Aim, Batch, Mitigation, Model, Options, Text
from auditkit.guidance.policy import Policy
from auditkit.guidance.steering import Request, Steering, able, steer

__all__ = [
    "Aim", "Batch", "Mitigation", "Model", "Options", "Policy", "Request", "Steering", "Text", "able", "steer",
]  # fmt: skip
