"""What is decided before the first image, and what was done otherwise (docs/measurement.md, planning)."""

from auditkit.plan.analyses import record_analysis
from auditkit.plan.deviations import Deviation, deviations
from auditkit.plan.document import Analysis, Plan, Sequential, Sizing, load_plan, planned, save_plan
from auditkit.plan.drafting import Draft, Reach, draft
from auditkit.plan.looks import Look, look, looks

__all__ = [
    "Analysis",
    "Deviation",
    "Draft",
    "Look",
    "Plan",
    "Reach",
    "Sequential",
    "Sizing",
    "deviations",
    "draft",
    "load_plan",
    "look",
    "looks",
    "planned",
    "record_analysis",
    "save_plan",
]
