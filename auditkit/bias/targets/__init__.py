"""Targets that shares are held against: uniform, planted, a shipped statistic, another run, or a table of the user's.

Each is one yardstick among several. None is the fair one, and a distance to it is no verdict.
"""

from auditkit.bias.targets.loading import load_target, target_shares
from auditkit.bias.targets.published import Shipped, shipped
from auditkit.bias.targets.target import Target

__all__ = ["Shipped", "Target", "load_target", "shipped", "target_shares"]
