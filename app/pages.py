"""The Python verbs that write pages for people: `report`, `card`, `export`, `comparison_page`.

import auditkit as ak
ak.report("runs/RUN", pdf=True)
ak.export("runs/RUN", out="audit-for-the-board")
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from app.finding import find_run
from app.output import progress_bar

if TYPE_CHECKING:
    import pandas as pd

    from auditkit.runs import Run


def report(run: Run | str | Path, *, out: str | Path | None = None, pdf: bool = False) -> Path:
    """Write the run's report: a self-contained HTML page with a CSV and a JSON file beside it.

    Args:
        pdf: also write the page as tagged PDF (PDF/UA-1), under its name with the ending .pdf.

    Returns:
        The HTML file.

    Example:
        report(run)  # runs/<id>/report/index.html
    """
    from reports.build import build

    page = build(find_run(run), out=None if out is None else Path(out))
    return _with_pdf(page, pdf)


def card(run: Run | str | Path, *, out: str | Path | None = None, pdf: bool = False) -> Path:
    """Write the run's model card: one page of plain sentences as HTML and Markdown.

    Args:
        out: a folder; `report/` in the run by default.
        pdf: also as tagged PDF.

    Returns:
        The HTML file; model-card.md, and model-card.pdf, lie beside it.

    Example:
        card(run)  # runs/<id>/report/model-card.html
    """
    from reports import model_card

    found = find_run(run)
    page, _ = model_card.write(model_card.card(found), found.path / "report" if out is None else out)
    return _with_pdf(page, pdf)


def export(run: Run | str | Path, *, out: str | Path, images: bool = True, progress: bool = False) -> Path:
    """Write the run as a folder of pages that opens without a server: report, card, disclosure, images, data.

    Args:
        out: a new folder.
        images: whether every image, with its thumbnail, is in it.

    Returns:
        Its index.html.

    Example:
        export(run, out="audit-for-the-board")
    """
    from reports.site import write_site

    with progress_bar("export", progress) as show:
        return write_site(find_run(run), out, images=images, progress=show)


def comparison_page(
    changes: pd.DataFrame, first: Run | str | Path, second: Run | str | Path, out: str | Path, *, pdf: bool = False
) -> Path:
    """Write what `compare` found as one page that needs nothing else.

    Args:
        changes: what `compare(first, second)` returned.
        out: the HTML file. pdf: also as tagged PDF, under its name with the ending .pdf.

    Example:
        comparison_page(compare(run, fair), run, fair, "comparison.html")
    """
    from reports.comparison_page import write_page

    page = write_page(changes, find_run(first), find_run(second), out)
    return _with_pdf(page, pdf)


def _with_pdf(page: Path, pdf: bool) -> Path:
    """The page, with itself as PDF beside it where that is wanted."""
    if pdf:
        from reports.pdf import write_pdf

        write_pdf(page, page.with_suffix(".pdf"))
    return page
