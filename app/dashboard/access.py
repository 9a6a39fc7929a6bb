"""Who is looking, and what they may: asked by the frame before any view, and by each view again.

Settings come from the command line that started the server; nothing of an address changes them.
"""

from __future__ import annotations

import argparse
import hashlib
import ipaddress
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from app.dashboard import users
from auditkit.errors import AuditkitError

LOGINS = ("none", "password", "oidc")
VIEWER, REVIEWER, ADMIN = users.ROLES
_SIGNED_IN = "_signed_in"
_TRIES, _WAIT = 5, 60.0
"""Wrong passwords for one name before it must wait, and for how many seconds."""
_failed: dict[str, list[float]] = {}
_ONE_AT_A_TIME = threading.Lock()
"""A hash takes 64 MiB: many at a time would be a way to fill the machine's memory."""


@dataclass(frozen=True)
class Settings:
    """How the dashboard was started.

    Attributes:
        login: none, password or oidc. export: whether anything may be downloaded.
        scanned: the folder that a scan's files lie in, to show them in the review; None where it was not named.
    """

    login: str = "none"
    export: bool = True
    scanned: Path | None = None

    def arguments(self) -> list[str]:
        """As arguments of main.py."""
        folder = [] if self.scanned is None else ["--scanned", str(self.scanned)]
        return ["--login", self.login, *([] if self.export else ["--no-export"]), *folder]


@dataclass(frozen=True)
class Person:
    """Who is looking. `name` is a pseudonym; empty where nobody logs in."""

    name: str
    role: str


def settings() -> Settings:
    """Of this server."""
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--login", choices=LOGINS, default="none")
    parser.add_argument("--no-export", action="store_true")
    parser.add_argument("--scanned", type=Path)
    found = parser.parse_args(sys.argv[2:])
    return Settings(found.login, not found.no_export, found.scanned)


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def person() -> Person | None:
    """Who is looking; None where they must log in first, or have no role.

    Raises:
        AuditkitError: the file of users cannot be read, or the server listens to others without a login.
    """
    how = settings().login
    if how == "none":
        address = st.get_option("server.address")
        if address and not is_loopback(str(address)):
            raise AuditkitError(
                "the dashboard listens to other machines and has no login", where=address, mend="auditkit dashboard"
            )
        return Person("", ADMIN)
    # Read each time: a user who is taken out, or gets another role or password, is so at once.
    known = users.read()
    name = _by_password(known) if how == "password" else users.by_email(known, _email())
    return None if name is None else Person(name, known[name].role)


def can(role: str) -> bool:
    """Whether whoever is looking has that role or a higher one."""
    who = person()
    ranks = list(users.ROLES)
    return who is not None and ranks.index(who.role) >= ranks.index(role)


def require(role: str) -> None:
    """Stop the view, and say so, unless whoever is looking may see it."""
    who = person()
    if who is None:
        st.warning("Log in first.", icon=":material/lock:")
        st.stop()
    if not can(role):
        st.title("Not for this role")
        st.info(f"This view is for the role {role} or a higher one, and you are {who.name} with the role {who.role}.")
        st.stop()


def exports() -> bool:
    """Whether anything may be downloaded."""
    return settings().export


def gate() -> None:
    """Draw the login and stop where nobody is logged in; else say in the side bar who is. The address stays."""
    who = person()
    how = settings().login
    if who is None:
        _, middle, _ = st.columns([1, 2, 1])
        with middle:
            st.title("auditkit")
            _password_form() if how == "password" else _provider()
        st.stop()
    if how != "none":
        st.sidebar.caption(f"Logged in as **{who.name}**, {who.role}")
        st.sidebar.button("Log out", on_click=_log_out, icon=":material/logout:")


def _by_password(known: dict[str, users.User]) -> str | None:
    name, mark = st.session_state.get(_SIGNED_IN, ("", ""))
    return name if name in known and mark and mark == _mark(known[name]) else None


def _mark(user: users.User) -> str:
    """Changes with the password, so that a new one ends the sessions of the old."""
    return hashlib.sha256((user.password or "").encode()).hexdigest()


def _password_form() -> None:
    with st.form("login"):
        name = st.text_input("Name", autocomplete="username")
        password = st.text_input("Password", type="password", autocomplete="current-password")
        sent = st.form_submit_button("Log in", type="primary")
    if sent and _log_in(name.strip(), password):
        st.rerun()


def _log_in(name: str, password: str) -> bool:
    now = time.monotonic()
    with _ONE_AT_A_TIME:
        recent = [at for at in _failed.get(name, []) if now - at < _WAIT]
        if len(recent) >= _TRIES:
            st.error(f"Too many wrong passwords for this name. Wait {_WAIT:.0f} seconds.")
            return False
        known = users.read()
        if not users.verify(known, name, password):
            _failed[name] = [*recent, now]
            if len(_failed) > 10_000:  # names that a guesser made up
                _failed.clear()
            st.error("That name and password do not belong together.")
            return False
        _failed.pop(name, None)
    st.session_state[_SIGNED_IN] = (name, _mark(known[name]))
    return True


def _email() -> str:
    """The address that the identity provider vouches for; empty where nobody is logged in."""
    user: Any = st.user
    if not user.get("is_logged_in") or user.get("email_verified") is False:
        return ""
    return str(user.get("email") or "")


def _provider() -> None:
    user: Any = st.user
    if not user.get("is_logged_in"):
        st.button("Log in", on_click=st.login, type="primary", icon=":material/login:")
        return
    st.warning("You are logged in, and have no role here. An administrator can give you one:", icon=":material/lock:")
    st.code("auditkit dashboard-user add NAME --role viewer --email YOUR-ADDRESS", language=None)
    st.button("Log out", on_click=_log_out)


def _log_out() -> None:
    st.session_state.clear()
    if settings().login == "oidc":
        st.logout()
