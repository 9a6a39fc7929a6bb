"""`auditkit dashboard-user`: who may log in to the dashboard, and as what."""

from __future__ import annotations

from typing import Annotated

import typer

from app import output
from app.commands.base import Answer, verb


def register(app: typer.Typer) -> None:
    """Mount the group."""
    group = typer.Typer(help="Say who may log in to the dashboard, and as what.", no_args_is_help=True)
    group.callback(epilog="Example: auditkit dashboard-user add ana --role reviewer")(_users)
    group.command("add", epilog="Example: auditkit dashboard-user add ana --role reviewer")(verb(add))
    group.command("remove", epilog="Example: auditkit dashboard-user remove ana")(verb(remove))
    group.command("list", epilog="Example: auditkit dashboard-user list")(verb(list_))
    app.add_typer(group, name="dashboard-user", rich_help_panel="Look around")


def _users() -> None:
    """Say who may log in to the dashboard, and as what."""


def add(
    name: Annotated[str, typer.Argument(help="A pseudonym, which stands beside the user's decisions.")],
    role: Annotated[str, typer.Option(help="viewer, reviewer or admin.")] = "viewer",
    email: Annotated[
        str | None, typer.Option(help="By which an identity provider knows the user; no password is asked for then.")
    ] = None,
) -> Answer:
    """Add a user, or change one. The password is asked for, never taken from the command line."""
    from app.dashboard import users

    password = None
    if email is None:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    made = users.add(name, role, password=password, email=email)
    return Answer(
        {"user": name, "role": made.role, "email": made.email, "file": users.default_path()},
        lambda: output.console().print(f"{name} is a {made.role}: {users.ROLES[made.role]}.", markup=False),
    )


def remove(name: Annotated[str, typer.Argument(help="The user's name.")]) -> Answer:
    """Take a user out; they are logged out at once, and their decisions stay in the logs."""
    from app.dashboard import users

    users.remove(name)
    return Answer({"removed": name}, lambda: output.console().print(f"{name} is taken out.", markup=False))


def list_() -> Answer:
    """List the users and their roles; hashes of passwords are not shown."""
    from app.dashboard import users

    found = users.read()
    rows = [
        {"user": name, "role": one.role, "email": one.email, "password": one.password is not None}
        for name, one in found.items()
    ]

    def show() -> None:
        if not rows:
            output.console().print("There is no user yet: auditkit dashboard-user add NAME --role admin")
            return
        cells = [(r["user"], r["role"], r["email"] or "", "yes" if r["password"] else "no") for r in rows]
        output.console().print(output.table(["user", "role", "e-mail", "password"], cells))

    return Answer(rows, show)
