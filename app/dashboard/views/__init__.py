"""The views, in the order of the menu. A new one is a file here with `render()`, and a line in VIEWS.

The folder must not be called `pages`: Streamlit serves such files by their own address, past the frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.dashboard.views import (
    bias,
    detectors,
    gallery,
    generators,
    home,
    image,
    measures,
    mitigation,
    provenance,
    watermarks,
)


@dataclass(frozen=True)
class View:
    """A page of the dashboard. The first of VIEWS is served at `/`, the others at `/<path>`."""

    path: str
    title: str
    icon: str
    render: Callable[[], None]


VIEWS = (
    View("home", "Runs", ":material/home:", home.render),
    View("bias", "Representation", ":material/bar_chart:", bias.render),
    View("measures", "Measures", ":material/straighten:", measures.render),
    View("watermarks", "Watermarks", ":material/fingerprint:", watermarks.render),
    View("provenance", "Provenance", ":material/verified_user:", provenance.render),
    View("detectors", "Detectors", ":material/troubleshoot:", detectors.render),
    View("mitigation", "Mitigation", ":material/balance:", mitigation.render),
    View("generators", "Generators", ":material/palette:", generators.render),
    View("gallery", "Gallery", ":material/grid_view:", gallery.render),
    View("image", "Image", ":material/image:", image.render),
)
