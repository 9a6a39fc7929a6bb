"""`auditkit dashboard`: start Streamlit on this machine's own address."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app import api, output
from app.commands.base import Answer, RunsOption, verb
from auditkit.errors import AuditkitError

if TYPE_CHECKING:
    from app.dashboard.access import Settings

FIRST_PORT = 8501
SECRETS = Path(".streamlit") / "secrets.toml"
SET_UP = "see docs/dashboard_review.md, 'Logging in'"
# The text colour lifts captions over WCAG's contrast of 4.5:1.
FLAGS = {
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "type",
    "client.toolbarMode": "minimal",
    # Its greeting would ask another host for this machine's address.
    "logger.hideWelcomeMessage": "true",
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
    address: Annotated[str, typer.Option(help="Where to listen; other machines can reach all but loopback.")] = (
        "127.0.0.1"
    ),
    login: Annotated[
        str, typer.Option(help="none, password (auditkit dashboard-user) or oidc (an identity provider).")
    ] = "none",
    export: Annotated[bool, typer.Option("--export/--no-export", help="Let people download tables and logs.")] = True,
    scanned: Annotated[
        Path | None, typer.Option(help="The folder that was scanned, to show its files in the review.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="PEM file of a TLS certificate, for https.")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file of the certificate's key.")] = None,
    host: Annotated[str | None, typer.Option(help="The name that browsers ask for, such as audit.example.org.")] = None,
) -> Answer:
    """Open the dashboard on a folder of runs. Without a login it listens on this machine only."""
    started = _settings(login, export, scanned)
    tls = _tls(certificate, key)
    _refuse_other_machines(address, login, tls=bool(tls))
    if not runs.is_dir() and runs == api.RUNS:
        output.say("There is no folder 'runs' here yet: the example that comes with auditkit is shown.")
    elif not runs.is_dir():
        raise AuditkitError(
            "there is no such folder of runs", where=runs, mend="name one with --runs, or: auditkit audit"
        )
    port = _free_port(address, port)
    url = f"http{'s' if tls else ''}://{'[' + address + ']' if ':' in address else address}:{port}"
    output.say(f"Dashboard: {url}  (Ctrl+C stops it)")
    if browser:
        threading.Thread(target=_open_when_up, args=(address, port, url), daemon=True).start()
    code = _serve(command(runs, address=address, port=port, settings=started, extra=[*tls, *_named(host)]))
    return Answer({"url": url, "exit_code": code}, lambda: None, exit_code=code)


def command(
    runs: Path, *, address: str, port: int, settings: Settings | None = None, extra: Sequence[str] = ()
) -> list[str]:
    """The Streamlit command line; flags, so that it is the same from any folder."""
    main = Path(__file__).parent.parent / "dashboard" / "main.py"
    flags = [f"--{name}={value}" for name, value in FLAGS.items()]
    place = [f"--server.address={address}", f"--server.port={port}", *extra]
    own = [] if settings is None else settings.arguments()
    return [sys.executable, "-m", "app.dashboard", "run", str(main), *flags, *place, "--", str(runs.resolve()), *own]


def _settings(login: str, export: bool, scanned: Path | None) -> Settings:
    from app.dashboard import access, users

    if login not in access.LOGINS:
        raise AuditkitError(
            f"there is no login '{login[:30]}'", where="--login", mend=f"use one of: {', '.join(access.LOGINS)}"
        )
    if scanned is not None and not scanned.is_dir():
        raise AuditkitError("there is no such folder", where=scanned, mend="name the folder that was scanned")
    if login != "none":
        known = users.read()
        if not any(one.password if login == "password" else one.email for one in known.values()):
            how = "" if login == "password" else " --email ana@example.org"
            raise AuditkitError(
                f"no user could log in with --login {login}",
                where=users.default_path(),
                mend=f"auditkit dashboard-user add ana --role admin{how}",
            )
    if login == "oidc":
        _check_provider()
    return access.Settings(login, export, None if scanned is None else scanned.resolve())


def _check_provider() -> None:
    """Whether Streamlit knows an identity provider; its own error would come only when somebody logs in."""
    if importlib.util.find_spec("authlib") is None:
        raise AuditkitError(
            "logging in by OpenID Connect needs Authlib", where="--login oidc", mend="pip install 'auditkit[oidc]'"
        )
    for file in (Path.cwd() / SECRETS, Path.home() / SECRETS):
        try:
            told = tomllib.loads(file.read_text("utf-8")).get("auth", {})
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            raise AuditkitError("the file cannot be read", where=file, mend="write it as TOML") from None
        # A provider may stand in a table of its own; the client's secret and address are then there.
        missing = [name for name in ("redirect_uri", "cookie_secret") if not told.get(name)]
        if missing:
            raise AuditkitError(f"[auth] has no {missing[0]}", where=file, mend=SET_UP)
        return
    raise AuditkitError("no identity provider is set up", where=Path.cwd() / SECRETS, mend=SET_UP)


def _tls(certificate: Path | None, key: Path | None) -> list[str]:
    if certificate is None and key is None:
        return []
    for name, path in (("--certificate", certificate), ("--key", key)):
        if path is None or not path.is_file():
            raise AuditkitError("TLS needs a certificate and its key", where=path or name, mend="name a PEM file")
    return [f"--server.sslCertFile={certificate}", f"--server.sslKeyFile={key}"]


def _named(host: str | None) -> list[str]:
    """Streamlit takes messages only from pages of this machine's own addresses, and of this name."""
    if host is None:
        return []
    if not re.fullmatch(r"[A-Za-z0-9.:-]+", host):
        raise AuditkitError("that is no name of a host", where="--host", mend="write it as audit.example.org")
    return [f"--browser.serverAddress={host}"]


def _refuse_other_machines(address: str, login: str, *, tls: bool) -> None:
    from app.dashboard.access import is_loopback

    if is_loopback(address):
        return
    if login == "none":
        raise AuditkitError(
            "without a login the dashboard listens on this machine only",
            where=f"--address {address}",
            mend="add --login password or oidc; or leave --address out, and ssh -L 8501:127.0.0.1:8501 this-machine",
        )
    if not tls:
        output.say("Without --certificate and --key, passwords and images go over the network as they are.")


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
