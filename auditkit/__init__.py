"""auditkit: trust-and-safety audits of text-to-image generators.

The verbs live in `app.api`; they are looked up there by name when first used, so that `import auditkit`
stays light. That table of names is the only upward step in the tree.
"""

# Without `from __future__ import annotations`, whose name would hide the package auditkit.annotations.
import importlib
from typing import Any

__version__ = "0.1.0"

_VERBS = ("generate", "import_folder", "score", "measure", "compare", "audit", "report", "open_run", "list_runs")

__all__ = ["__version__", *_VERBS]  # noqa: PLE0604  (they are strings)


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        return getattr(importlib.import_module("app.api"), name)
    raise AttributeError(f"module 'auditkit' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_VERBS})
