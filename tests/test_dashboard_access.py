"""Who may open the dashboard and what they may: users, roles, logins, and where the server may listen."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import streamlit as st
import synthetic_run
from streamlit.testing.v1 import AppTest
from test_dashboard_views import FRAME, MAIN
from typer.testing import CliRunner

from app import cli
from app.commands import dashboard
from app.dashboard import access, users
from app.dashboard.views import VIEWS
from auditkit.errors import AuditkitError

PASSWORD = "four plain words here"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("AUDITKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(access, "_failed", {})
    return tmp_path / "home"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return synthetic_run.make_run(tmp_path_factory.mktemp("runs"), images_per_prompt=1)


def frame(monkeypatch, run, *arguments: str) -> AppTest:
    monkeypatch.setattr(sys, "argv", ["main.py", str(run.path.parent), *arguments])
    return AppTest.from_file(str(MAIN), default_timeout=30).run()


def log_in(test: AppTest, name: str, password: str) -> AppTest:
    test.text_input[0].set_value(name)
    test.text_input[1].set_value(password)
    return test.button[0].click().run()


def start(*arguments: str):
    return CliRunner().invoke(cli.app, ["dashboard", "--no-browser", "--json", *arguments])


def test_a_password_is_kept_as_its_argon2id_hash_in_a_file_of_the_owner_alone(home):
    users.add("ana", "reviewer", password=PASSWORD)
    text = users.default_path().read_text()
    assert PASSWORD not in text
    assert json.loads(text)["ana"]["password"].startswith("$argon2id$")
    assert users.default_path().stat().st_mode & 0o077 == 0


def test_a_password_is_verified_and_nobody_unknown_is(home):
    users.add("ana", "viewer", password=PASSWORD)
    users.add("eve", "viewer", email="eve@example.org")
    known = users.read()
    assert users.verify(known, "ana", PASSWORD)
    assert not users.verify(known, "ana", PASSWORD + "x")
    assert not users.verify(known, "bob", "nobody has this password")
    assert not users.verify(known, "eve", "nobody has this password")


def test_a_new_role_keeps_the_password(home):
    users.add("ana", "viewer", password=PASSWORD)
    users.add("ana", "admin")
    assert users.read()["ana"].role == "admin"
    assert users.verify(users.read(), "ana", PASSWORD)


@pytest.mark.parametrize(
    ("told", "what"),
    [
        ({"role": "king"}, "no role 'king'"),
        ({"password": "short"}, "has 5 signs"),
        ({"name": "../x"}, "pseudonym"),
        ({"password": None}, "could not log in"),
        ({"password": None, "email": "nothing"}, "no e-mail address"),
    ],
)
def test_a_user_that_does_not_hold_is_refused_and_nothing_is_written(home, told, what):
    given = {"name": "ana", "role": "viewer", "password": PASSWORD} | told
    with pytest.raises(users.UserError, match=what):
        users.add(given.pop("name"), given.pop("role"), **given)
    assert not users.default_path().exists()


def test_a_file_of_users_that_others_may_read_is_refused(home):
    users.add("ana", "viewer", password=PASSWORD)
    users.default_path().chmod(0o644)
    with pytest.raises(users.UserError, match="others may read"):
        users.read()


def test_the_command_asks_for_the_password_and_says_the_role(home):
    done = CliRunner().invoke(
        cli.app, ["dashboard-user", "add", "ana", "--role", "reviewer"], input=f"{PASSWORD}\n{PASSWORD}\n"
    )
    assert done.exit_code == 0, done.output
    assert users.verify(users.read(), "ana", PASSWORD)
    listed = CliRunner().invoke(cli.app, ["dashboard-user", "list", "--json"])
    assert json.loads(listed.stdout) == [{"user": "ana", "role": "reviewer", "email": None, "password": True}]
    assert CliRunner().invoke(cli.app, ["dashboard-user", "remove", "ana"]).exit_code == 0
    assert users.read() == {}


@pytest.mark.parametrize("address", ["0.0.0.0", "192.168.1.4", "::", "example.org"])
def test_the_dashboard_does_not_listen_to_others_without_a_login(run, address):
    done = start("--runs", str(run.path.parent), "--address", address)
    assert done.exit_code == 1
    assert "without a login" in json.loads(done.stdout)["what"]


def test_a_host_that_is_none_is_refused(run):
    done = start("--runs", str(run.path.parent), "--host", "--server.enableCORS=false x")
    assert "no name of a host" in json.loads(done.stdout)["what"]


def test_a_login_that_nobody_could_pass_is_refused(run):
    done = start("--runs", str(run.path.parent), "--login", "password")
    assert "no user could log in" in json.loads(done.stdout)["what"]
    users.add("ana", "admin", password=PASSWORD)
    done = start("--runs", str(run.path.parent), "--login", "oidc")
    assert "--email" in json.loads(done.stdout)["mend"]


def test_a_provider_that_is_not_set_up_is_refused(home, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "nobody")
    monkeypatch.setattr(dashboard.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AuditkitError, match="needs Authlib"):
        dashboard._check_provider()
    monkeypatch.setattr(dashboard.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(AuditkitError, match="no identity provider"):
        dashboard._check_provider()
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "secrets.toml").write_text('[auth]\nredirect_uri = "x"\n')
    with pytest.raises(AuditkitError, match="has no cookie_secret"):
        dashboard._check_provider()


def test_settings_reach_the_server_and_are_read_back(run, monkeypatch, tmp_path):
    told = access.Settings("password", export=False, scanned=tmp_path)
    made = dashboard.command(run.path.parent, address="127.0.0.1", port=1, settings=told)
    monkeypatch.setattr(sys, "argv", made[made.index("--") :])
    assert access.settings() == told


def test_without_a_login_on_loopback_everything_opens(monkeypatch, run):
    test = frame(monkeypatch, run)
    assert not test.exception
    assert test.title[0].value == "Runs"


def test_a_password_opens_the_dashboard_and_a_wrong_one_does_not(monkeypatch, run):
    users.add("ana", "viewer", password=PASSWORD)
    test = frame(monkeypatch, run, "--login", "password")
    assert test.title[0].value == "auditkit"
    assert not test.subheader
    log_in(test, "ana", "something else")
    assert "do not belong together" in test.error[0].value
    log_in(test, "ana", PASSWORD)
    assert test.title[0].value == "Runs"
    assert "**ana**, viewer" in test.sidebar.caption[0].value


def test_a_user_who_is_taken_out_or_gets_a_new_password_is_logged_out_at_once(monkeypatch, run):
    users.add("ana", "viewer", password=PASSWORD)
    test = log_in(frame(monkeypatch, run, "--login", "password"), "ana", PASSWORD)
    users.add("ana", "viewer", password=PASSWORD + " new")
    assert test.run().title[0].value == "auditkit"


def test_after_five_wrong_passwords_the_right_one_has_to_wait(monkeypatch, run):
    users.add("ana", "viewer", password=PASSWORD)
    monkeypatch.setattr(access.users, "verify", lambda known, name, password: False)
    test = frame(monkeypatch, run, "--login", "password")
    for _ in range(5):
        log_in(test, "ana", "guess")
    monkeypatch.undo()
    monkeypatch.setattr(sys, "argv", ["main.py", str(run.path.parent), "--login", "password"])
    access._failed["ana"] = [access.time.monotonic()] * 5
    log_in(test, "ana", PASSWORD)
    assert "Too many" in test.error[0].value


def test_an_identity_that_has_no_role_sees_nothing_and_one_that_has_does(monkeypatch, run):
    users.add("ana", "viewer", email="Ana@Example.org")
    monkeypatch.setattr(st, "user", {"is_logged_in": True, "email": "eve@example.org"})
    test = frame(monkeypatch, run, "--login", "oidc")
    assert "no role here" in test.warning[0].value
    monkeypatch.setattr(st, "user", {"is_logged_in": True, "email": "ana@example.org", "email_verified": False})
    assert not test.run().subheader
    monkeypatch.setattr(st, "user", {"is_logged_in": True, "email": "ANA@example.org"})
    assert test.run().title[0].value == "Runs"


@pytest.mark.parametrize("path", [view.path for view in VIEWS])
def test_each_view_refuses_by_itself_without_a_frame(monkeypatch, run, path):
    users.add("ana", "viewer", password=PASSWORD)
    monkeypatch.setattr(sys, "argv", ["main.py", str(run.path.parent), "--login", "password"])
    test = AppTest.from_string(FRAME.replace("PATH", path), default_timeout=30).run()
    assert [one.value for one in test.warning] == ["Log in first."]
    assert not test.title


def test_without_exports_there_is_no_button_that_downloads(monkeypatch, run):
    def downloads(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["main.py", str(run.path.parent), *arguments])
        return len(AppTest.from_string(FRAME.replace("PATH", "bias"), default_timeout=30).run().get("download_button"))

    assert downloads() > 0
    assert downloads("--no-export") == 0


def test_every_download_asks_whether_exports_are_allowed():
    folder = Path(dashboard.__file__).parent.parent / "dashboard"
    using = [file.name for file in folder.rglob("*.py") if "st.download_button" in file.read_text()]
    assert using == ["widgets.py"]
