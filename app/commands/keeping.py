"""Verbs that keep runs: runs, seal, verify-run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from app import api, finding, output
from app.commands.base import Answer, RunArgument, RunsOption, verb


def register(app: typer.Typer) -> None:
    """Mount this theme's verbs."""
    panel = "Keep"
    app.command("runs", rich_help_panel=panel, epilog="Example: auditkit runs")(verb(runs))
    app.command("seal", rich_help_panel=panel, epilog="Example: auditkit seal latest")(verb(seal))
    app.command("verify-run", rich_help_panel=panel, epilog="Example: auditkit verify-run latest")(verb(verify_run))


def runs(
    folder: Annotated[Path, typer.Argument(help="The folder that holds the runs.")] = api.RUNS,
) -> Answer:
    """List the runs in a folder, the newest first, and what each has."""
    found = [_row(run) for run in finding.list_runs(folder)]

    def show() -> None:
        rows = [
            (
                row["run"],
                (row["made"] or "?")[:16].replace("T", " "),
                row["images"],
                row["state"] if row["error"] is None else row["error"],
            )
            for row in found
        ]
        output.console().print(output.table(["run", "made", ">images", "state"], rows))

    return Answer(found, show)


def seal(run: RunArgument, runs: RunsOption = api.RUNS) -> Answer:
    """Write SEAL: the sha256 of every file of the run but the report."""
    path = api.seal(api.find_run(run, folder=runs))
    return Answer({"seal": path}, lambda: output.console().print(f"Sealed: {path}", soft_wrap=True))


def verify_run(run: RunArgument, runs: RunsOption = api.RUNS) -> Answer:
    """Hold a run against its seal, and each image against its id; exit code 1 where something differs."""
    found = api.find_run(run, folder=runs)
    problems = [dataclasses.asdict(problem) for problem in api.verify(found)]

    def show() -> None:
        out = output.console()
        if problems:
            rows = [tuple(str(value) for value in problem.values()) for problem in problems]
            out.print(output.table(list(problems[0]), rows, title=f"{len(problems)} problem(s) in {found.path}"))
        else:
            out.print(f"{found.path}: as it was sealed", soft_wrap=True)

    return Answer({"run": found.id, "ok": not problems, "problems": problems}, show, exit_code=int(bool(problems)))


def _row(run: Any) -> dict[str, Any]:
    from auditkit.runs import BrokenRun

    row: dict[str, Any] = {"run": run.path.name, "path": run.path, "made": None, "images": 0}
    if isinstance(run, BrokenRun):
        return row | {"state": "broken", "error": run.error.what}
    row["made"] = run.record.get("created")
    states = {
        "measured": (run.path / "measurements.parquet").exists(),
        "reported": (run.path / "report" / "index.html").exists(),
        "sealed": (run.path / "SEAL").exists(),
    }
    if not run.complete:
        return row | {"state": "unfinished", "error": None}
    state = ", ".join(name for name, there in states.items() if there) or "generated"
    return row | {"images": len(run.images()), "state": state, "error": None}
