"""`auditkit dashboard`: start Streamlit on this machine's own address."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from app import api, output
from app.commands.base import Answer, RunsOption, verb
from auditkit.errors import AuditkitError

FIRST_PORT = 8501
# The text colour lifts captions over WCAG's contrast of 4.5:1.
FLAGS = {
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "type",
    "client.toolbarMode": "minimal",
    "server.fileWatcherType": "none",
    "server.headless": "true",
    "theme.base": "light",
    "theme.primaryColor": "#0B5394",
    "theme.textColor": "#111111",
}


def register(app: typer.Typer) -> None:
    """Mount the verb."""
    app.command("dashboard", rich_help_panel="Look around", epilog="Example: auditkit dashboard --runs runs/")(
        verb(dashboard)
    )


def dashboard(
    runs: RunsOption = api.RUNS,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="8501 or the next free one by default.")] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser on it.")] = True,
    address: Annotated[str, typer.Option(help="An address of this machine's loopback.")] = "127.0.0.1",
) -> Answer:
    """Open the dashboard on a folder of runs. It listens on this machine only."""
    _refuse_other_machines(address)
    if not runs.is_dir() and runs == api.RUNS:
        output.say("There is no folder 'runs' here yet: the example that comes with auditkit is shown.")
    elif not runs.is_dir():
        raise AuditkitError(
            "there is no such folder of runs", where=runs, mend="name one with --runs, or: auditkit audit"
        )
    port = _free_port(address, port)
    url = f"http://{'[' + address + ']' if ':' in address else address}:{port}"
    output.say(f"Dashboard: {url}  (Ctrl+C stops it)")
    if browser:
        threading.Thread(target=_open_when_up, args=(address, port, url), daemon=True).start()
    code = _serve(command(runs, address=address, port=port))
    return Answer({"url": url, "exit_code": code}, lambda: None, exit_code=code)


def command(runs: Path, *, address: str, port: int) -> list[str]:
    """The Streamlit command line; flags, so that it is the same from any folder."""
    main = Path(__file__).parent.parent / "dashboard" / "main.py"
    flags = [f"--{name}={value}" for name, value in FLAGS.items()]
    place = [f"--server.address={address}", f"--server.port={port}"]
    return [sys.executable, "-m", "app.dashboard", "run", str(main), *flags, *place, "--", str(runs.resolve())]


def _refuse_other_machines(address: str) -> None:
    try:
        loopback = address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise AuditkitError(
            "the dashboard has no login yet, so it listens on this machine only",
            where=f"--address {address}",
            mend="leave --address out; to look from elsewhere: ssh -L 8501:127.0.0.1:8501 this-machine",
        )


def _free_port(address: str, wanted: int | None) -> int:
    for port in [wanted] if wanted else range(FIRST_PORT, FIRST_PORT + 50):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    raise AuditkitError("the port is taken", where=f"{address}:{wanted or FIRST_PORT}", mend="name another with --port")


def _serve(arguments: list[str]) -> int:
    """Run the server until it ends or we are told to stop: then it stops too, and that is no error."""
    with subprocess.Popen(arguments, env=_environment(), stdout=sys.stderr) as server:
        signal.signal(signal.SIGTERM, lambda *_: server.terminate())
        try:
            code = server.wait()
        except KeyboardInterrupt:
            server.terminate()
            server.wait()
            return 0
    return 0 if code == -signal.SIGTERM else code


def _environment() -> dict[str, str]:
    """The child finds `app` where this process found it, installed or not."""
    root = str(Path(__file__).parents[2])
    path = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": root if not path else os.pathsep.join([root, path])}


def _open_when_up(address: str, port: int, url: str) -> None:
    for _ in range(100):
        try:
            socket.create_connection((address, port), timeout=0.2).close()
        except OSError:
            time.sleep(0.1)
        else:
            webbrowser.open(url)
            return
