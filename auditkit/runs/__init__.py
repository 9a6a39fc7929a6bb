"""A run directory: create, append a shard, resume, open, seal, verify (docs/architecture.md)."""

from auditkit.runs.refusals import Refused, read_refusals
from auditkit.runs.run import BrokenRun, Run, list_runs, open_run
from auditkit.runs.seal import Problem, changed_since, seal, verify
from auditkit.runs.writer import RunWriter, Shard, Task, create

__all__ = [
    "BrokenRun",
    "Problem",
    "Refused",
    "Run",
    "RunWriter",
    "Shard",
    "Task",
    "changed_since",
    "create",
    "list_runs",
    "open_run",
    "read_refusals",
    "seal",
    "verify",
]
