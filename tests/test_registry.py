from __future__ import annotations

import warnings
from importlib.metadata import EntryPoint

import pytest

from auditkit import registry
from auditkit.errors import PluginError


@pytest.fixture
def plugins_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two entry points in place of the installed ones: one that works, one that is broken."""
    found = [
        EntryPoint("works", "json:dumps", "auditkit.scorers"),
        EntryPoint("broken", "no_such_module:thing", "auditkit.scorers"),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: [e for e in found if e.group == group])


@pytest.mark.usefixtures("plugins_of")
def test_a_broken_plugin_warns_and_does_not_stop_the_rest() -> None:
    with pytest.warns(UserWarning, match="'broken' cannot be loaded"):
        found = registry.plugins()
    assert [(plugin.name, plugin.error is None) for plugin in found] == [("broken", False), ("works", True)]


@pytest.mark.usefixtures("plugins_of")
def test_names_imports_nothing() -> None:
    assert registry.names("scorers") == ["broken", "works"]


@pytest.mark.usefixtures("plugins_of")
def test_loading_a_broken_plugin_tells_why() -> None:
    with pytest.raises(PluginError, match="no_such_module"):
        registry.load("scorers", "broken")


@pytest.mark.usefixtures("plugins_of")
def test_an_unknown_plugin_gets_its_near_match() -> None:
    with pytest.raises(PluginError, match=r"no 'work' among the scorers; did you mean works\?"):
        registry.load("scorers", "work")


def test_an_unknown_group_is_refused() -> None:
    with pytest.raises(PluginError, match="no plugin group 'scorer'"):
        registry.names("scorer")


def test_every_built_in_plugin_loads() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [plugin for plugin in registry.plugins() if plugin.distribution == registry.BUILT_IN]
    assert {"personas", "personas-balanced", "gender", "skin_tone", "occupation", "representation"} <= {
        plugin.name for plugin in found
    }
