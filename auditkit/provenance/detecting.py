"""The synthetic-image detectors that an inspection asks: plugins of the group `auditkit.detectors`.

This floor knows them by what they answer alone (`detectors.base.Judgement`). Of `name:argument`, such as `path:FOLDER`,
the plugin `name` is called with the argument.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from auditkit import registry
from auditkit.errors import AuditkitError, DetectorError, ImageError

PATH = "path"
"""The plugin that opens a folder; it is no detector by itself."""
FIELDS = ("detector", "verdict", "score", "probability", "threshold", "fpr", "unfamiliar", "why")
VERDICTS = ("generated", "no sign", "abstain", "not applicable")
"""The first that a detector gives is the verdict of all: one that knows the image says more than one that abstains."""


def installed() -> list[str]:
    """Names of the registered detectors; nothing is imported."""
    return [name for name in registry.names("detectors") if name != PATH]


@dataclass(frozen=True)
class _Loaded:
    """A detector, or why there is none."""

    name: str
    detector: Any | None
    why: str = ""


class Detectors:
    """What is asked of pictures, one after the other.

    Args:
        named: detectors to ask, loaded at once; () asks none; None asks every one that is installed, loaded with the
            first picture, but for those to be asked `by_name`, and passes over those that cannot be loaded.

    Raises:
        DetectorError, PluginError: one that was named is unknown, missing or damaged.
    """

    def __init__(self, named: Sequence[str] | None = None):
        self._named = named
        self._loaded: list[_Loaded] | None = None
        if named is not None:
            self._loaded = [_Loaded(name, load(name)) for name in dict.fromkeys(named)]

    @property
    def all(self) -> list[_Loaded]:
        if self._loaded is None:
            tried = (_tried(name) for name in installed())
            self._loaded = [one for one in tried if not by_name(one.detector)]
        return self._loaded

    def identity(self) -> list[list[str]]:
        """Name and sha256 of each: what makes a verdict stale."""
        return [[each.name, str(getattr(each.detector, "sha256", "")), each.why] for each in self.all]

    def part(self, picture: Callable[[], Any]) -> dict[str, Any]:
        """The part of an inspection: verdict, sentence, and what each detector says.

        Args:
            picture: opens the image, upright RGB; raises ImageError.
        """
        if not self.all:
            return _part("not asked", NONE if self._named is None else "No detector was asked.", [], [])
        import numpy as np

        try:
            pixels = np.asarray(picture())
        except ImageError as error:
            return _part("not readable", f"No detector was asked: {error.what}.", [], [])
        told, failed = [], []
        for each in self.all:
            if each.detector is None:
                failed.append({"detector": each.name, "why": each.why})
                continue
            try:
                told.append(_row(each.detector.judge([pixels])[0]))
            except Exception as error:  # a plugin is someone else's code; it must not cost the inspection
                failed.append({"detector": each.name, "why": f"{type(error).__name__}: {error}"})
        verdict = next((v for v in VERDICTS if any(row["verdict"] == v for row in told)), "not asked")
        return _part(verdict, sentence(told, failed), told, failed)


NONE = "No detector is installed. Nothing is said about whether the image was generated."


def load(name: str, *, device: str = "cpu") -> Any:
    """A detector by name, or `path:FOLDER`.

    Raises:
        DetectorError, PluginError: see `Detectors`.
    """
    plugin, colon, argument = name.partition(":")
    if plugin not in registry.names("detectors") or (plugin == PATH and not argument):
        known = ", ".join(installed()) or "none is installed"
        raise DetectorError(
            f"there is no detector '{name}'", where="--detector", mend=f"use one of: {known}; or path:FOLDER"
        )
    factory = registry.load("detectors", plugin)
    return factory(argument, device=device) if colon else factory(device=device)


def by_name(detector: Any) -> bool:
    """Whether whoever made the detector wants it asked only where somebody names it."""
    return bool(getattr(detector, "by_name", False))


def sentence(told: Sequence[dict[str, Any]], failed: Sequence[dict[str, Any]]) -> str:
    """What the detectors say, for people: each by name, and what it does not mean."""
    said = [_says(row) for row in told]
    said += [f"{row['detector']} could not be asked: {row['why'].rstrip('.')}." for row in failed]
    generated = [row for row in told if row["verdict"] == "generated"]
    if generated:
        errs = sum(row["fpr"] for row in told)
        asked = f"the {len(told)} detectors asked call" if len(told) > 1 else "it calls"
        said.append(
            f"That is a reason to look, not a proof: of real images like those that it was set on {asked} up to "
            f"{100 * errs:.2g}% generated."
        )
    elif any(row["verdict"] == "no sign" for row in told):
        said.append("No sign is no proof of a real picture: it may come from another generator, or have been changed.")
    else:
        said.append("Nothing is said about whether the image was generated.")
    return " ".join(said)


def _says(row: dict[str, Any]) -> str:
    name, verdict = row["detector"], row["verdict"]
    if verdict == "generated":
        return f"{name} calls the image generated. {_known(row, 'It knows')}"
    if verdict == "no sign":
        knows = f" of the generators that it knows ({_names(row['knows'])})" if row["knows"] else ""
        return f"{name} sees no sign{knows}."
    if verdict == "abstain":
        return f"{name} abstains: the image is unlike those that it was trained and calibrated on."
    return f"{name} does not apply: {row['why'][:1].lower()}{row['why'][1:]}"


def _known(row: dict[str, Any], lead: str) -> str:
    return f"{lead} {_names(row['knows'])}." if row["knows"] else ""


def _names(names: Sequence[str], most: int = 6) -> str:
    shown = list(names[:most])
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")


def _row(said: Any) -> dict[str, Any]:
    details = dict(getattr(said, "details", {}) or {})
    knows = [str(each) for each in details.pop("knows", [])]
    return {**{name: getattr(said, name) for name in FIELDS}, "knows": knows, "details": details}


def _tried(name: str) -> _Loaded:
    try:
        return _Loaded(name, load(name))
    except AuditkitError as error:
        return _Loaded(name, None, error.what)
    except Exception as error:  # a plugin's own code
        return _Loaded(name, None, f"{type(error).__name__}: {error}")


def _part(verdict: str, text: str, told: list[dict[str, Any]], failed: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "verdict": verdict,
        "sentence": " ".join(text.split()),
        "judgements": told,
        "failed": failed,
        "installed": installed(),
    }
