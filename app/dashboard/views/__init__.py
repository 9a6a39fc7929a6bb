"""The views, in the order of the menu. A new one is a file here with `render()`, and a line in VIEWS.

The folder must not be called `pages`: Streamlit serves such files by their own address, past the frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.dashboard import access
from app.dashboard.views import (
    bias,
    detectors,
    gallery,
    generators,
    home,
    image,
    measures,
    policy,
    provenance,
    review,
    watermarks,
)


@dataclass(frozen=True)
class View:
    """A page of the dashboard. The first of VIEWS is served at `/`, the others at `/<path>`."""

    path: str
    title: str
    icon: str
    draw: Callable[[], None]
    role: str = access.VIEWER
    """The least role that may look at it."""

    def render(self) -> None:
        """Draw it, if whoever is looking may see it: the frame asks too, and a view relies on no frame."""
        access.require(self.role)
        self.draw()


VIEWS = (
    View("home", "Runs", ":material/home:", home.render),
    View("bias", "Representation", ":material/bar_chart:", bias.render),
    View("measures", "Measures", ":material/straighten:", measures.render),
    View("watermarks", "Watermarks", ":material/fingerprint:", watermarks.render),
    View("provenance", "Provenance", ":material/verified_user:", provenance.render),
    View("policy", "Policy", ":material/policy:", policy.render),
    View("review", "Review", ":material/gavel:", review.render, access.REVIEWER),
    View("detectors", "Detectors", ":material/troubleshoot:", detectors.render),
    View("generators", "Generators", ":material/palette:", generators.render),
    View("gallery", "Gallery", ":material/grid_view:", gallery.render),
    View("image", "Image", ":material/image:", image.render),
)
