"""The one plugin mechanism: entry points in the groups `auditkit.<group>`; built-ins use the same path.

A broken plugin warns; it does not stop the rest.
"""

from __future__ import annotations

import difflib
import warnings
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from auditkit.errors import PluginError

GROUPS = ("generators", "scorers", "measures", "watermarks", "mitigations", "detectors", "detector_families")

BUILT_IN = "auditkit-t2i"
"""The distribution that this package comes in; its names win over another distribution's."""


@dataclass(frozen=True)
class Plugin:
    """One entry point, and what went wrong when it was loaded (None: it loads)."""

    group: str
    name: str
    target: str
    distribution: str
    error: str | None = None


def names(group: str) -> list[str]:
    """The plugins registered in `group`, sorted; nothing is imported.

    Raises:
        PluginError: there is no such group.
    """
    return sorted(_entries(group))


def load(group: str, name: str) -> Any:
    """Import the object that `name` stands for in `group`.

    Raises:
        PluginError: no plugin has that name (near matches are named), or it cannot be imported.
    """
    entries = _entries(group)
    if name not in entries:
        near = difflib.get_close_matches(name, entries, n=3, cutoff=0.5)
        known = ", ".join(sorted(entries)) or "none"
        raise PluginError(
            f"there is no '{name}' among the {group}"
            + (f"; did you mean {' or '.join(near)}?" if near else ""),
            where=f"entry-point group auditkit.{group}",
            mend=f"use one of: {known}; 'auditkit plugins' lists them with their origin",
        )
    entry = entries[name]
    try:
        return entry.load()
    except Exception as error:  # a plugin is someone else's code: anything can come out of its import
        raise PluginError(
            f"the plugin '{name}' cannot be loaded: {type(error).__name__}: {error}",
            where=f"{entry.value} (from {_distribution(entry)})",
            mend=f"repair or remove the distribution {_distribution(entry)}",
        ) from error


def plugins(group: str | None = None) -> list[Plugin]:
    """Every plugin of `group` (default: of all groups), each imported to see whether it works.

    A plugin that does not import is listed with its error, and warned of.
    """
    found = []
    for each in GROUPS if group is None else (group,):
        for name, entry in sorted(_entries(each).items()):
            error = None
            try:
                load(each, name)
            except PluginError as problem:
                error = problem.what
                warnings.warn(f"{each}: {error}", stacklevel=2)
            found.append(Plugin(each, name, entry.value, _distribution(entry), error))
    return found


def _entries(group: str) -> dict[str, EntryPoint]:
    if group not in GROUPS:
        raise PluginError(
            f"there is no plugin group '{group}'", where=group, mend=f"use one of: {', '.join(GROUPS)}"
        )
    found: dict[str, EntryPoint] = {}
    # Built-ins last, so that no other distribution takes over one of their names in silence.
    for entry in sorted(entry_points(group=f"auditkit.{group}"), key=lambda e: _distribution(e) == BUILT_IN):
        before = found.get(entry.name)
        if before is not None and _distribution(before) != _distribution(entry):
            warnings.warn(
                f"{group}: '{entry.name}' of {_distribution(before)} is hidden by the one of "
                f"{_distribution(entry)}",
                stacklevel=3,
            )
        found[entry.name] = entry
    return found


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "unknown"
