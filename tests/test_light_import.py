"""What an import may not drag in, seen from a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest


def modules_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_auditkit_leaves_the_heavy_libraries_out() -> None:
    heavy = {"torch", "pandas", "numpy", "pydantic", "PIL", "pyarrow", "app"}
    assert not heavy & modules_after("import auditkit")


@pytest.mark.parametrize(
    "module", ["auditkit.runs", "auditkit.registry", "auditkit.bias.representation", "reports.build"]
)
def test_tables_statistics_and_reports_work_without_torch(module: str) -> None:
    assert not {"torch", "diffusers", "open_clip"} & modules_after(f"import {module}")


def test_the_facade_lists_its_verbs_and_refuses_other_names() -> None:
    import auditkit

    assert {"generate", "measure", "audit", "report", "open_run"} <= set(dir(auditkit))
    assert set(auditkit.__all__) <= set(dir(auditkit))
    with pytest.raises(AttributeError, match="no attribute 'debias'"):
        auditkit.debias  # noqa: B018


def test_every_verb_of_the_facade_is_there() -> None:
    import auditkit

    for name in auditkit.__all__:
        assert getattr(auditkit, name) is not None
