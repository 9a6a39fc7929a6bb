"""The views, in the order of the menu. A new one is a file here with `render()`, and a line in VIEWS.

The folder must not be called `pages`: Streamlit serves such files by their own address, past the frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from app.dashboard import access


@dataclass(frozen=True)
class View:
    """A page of the dashboard. The first of VIEWS is served at `/`, the others at `/<path>`."""

    path: str
    """In the address, and the name of its module."""
    title: str
    icon: str
    role: str = access.VIEWER
    """The least role that may look at it."""

    def render(self) -> None:
        """Draw it, if whoever is looking may see it: the frame asks too, and a view relies on no frame.

        Its module is imported when it is first looked at: some need what takes seconds to import.
        """
        access.require(self.role)
        import_module(f"{__name__}.{self.path}").render()


VIEWS = (
    View("home", "Runs", ":material/home:"),
    View("bias", "Representation", ":material/bar_chart:"),
    View("measures", "Measures", ":material/straighten:"),
    View("compare", "Compare", ":material/compare_arrows:"),
    View("mitigation", "Mitigation", ":material/balance:"),
    View("policy", "Policy", ":material/policy:"),
    View("provenance", "Provenance", ":material/verified_user:"),
    View("watermarks", "Watermarks", ":material/fingerprint:"),
    View("detectors", "Detectors", ":material/troubleshoot:"),
    View("review", "Review", ":material/gavel:", access.REVIEWER),
    View("generators", "Generators", ":material/palette:"),
    View("gallery", "Gallery", ":material/grid_view:"),
    View("image", "Image", ":material/image:"),
)
