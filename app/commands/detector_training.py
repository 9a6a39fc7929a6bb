"""What `auditkit train` mounts when it is asked for: the training of detectors."""

from __future__ import annotations

import typer

from app.commands import detecting

app = typer.Typer()
app.callback()(lambda: None)
detecting.training(app)
