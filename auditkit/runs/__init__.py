"""A run directory: create, append a shard, resume, open, seal, verify (docs/architecture.md)."""

from auditkit.runs.run import BrokenRun, Run, list_runs, open_run
from auditkit.runs.seal import Problem, seal, verify
from auditkit.runs.writer import RunWriter, Shard, Task, create

__all__ = [
    "BrokenRun",
    "Problem",
    "Run",
    "RunWriter",
    "Shard",
    "Task",
    "create",
    "list_runs",
    "open_run",
    "seal",
    "verify",
]
