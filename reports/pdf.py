"""A page as PDF: tagged (PDF/UA-1), so that a screen reader finds headings, tables and what pictures show.

WeasyPrint lays the page out as its own print style says. Nothing is fetched: what a page needs is in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from auditkit.errors import AuditkitError
from auditkit.files import write_atomic

VARIANT = "pdf/ua-1"
STYLE = """
.masthead dl.facts { display: grid; grid-template-columns: 1fr 1fr 1fr; }
.key-figures { display: grid; grid-template-columns: 1fr 1fr; }
.thumbnails { grid-template-columns: repeat(8, 1fr); }
"""
"""The page's grids fill themselves with as many columns as fit, which WeasyPrint does not do."""
MEND = "pip install 'auditkit[pdf]', and Pango (Debian: apt install libpango-1.0-0 libpangoft2-1.0-0)"


class PdfError(AuditkitError):
    """A page cannot be made a PDF."""


def to_pdf(html: str) -> bytes:
    """One of our pages as PDF/UA-1.

    Raises:
        PdfError: WeasyPrint or Pango, which it needs, is not there.
    """
    weasyprint = library()
    made = weasyprint.HTML(string=html, url_fetcher=_fetcher(), media_type="print").write_pdf(
        stylesheets=[weasyprint.CSS(string=STYLE)], pdf_variant=VARIANT, pdf_tags=True, optimize_images=True
    )
    assert isinstance(made, bytes)
    return made


def write_pdf(html: Path, pdf: Path) -> Path:
    """Make a PDF of a page on disk, and return it.

    Raises:
        PdfError, RunError: it cannot be made, or not written.
    """
    write_atomic(pdf, to_pdf(html.read_text(encoding="utf-8")))
    return pdf


def library() -> Any:
    """WeasyPrint, without what its import does to everyone: it has Pillow read truncated images as if they were whole.

    Raises:
        PdfError: it or Pango is not there.
    """
    from PIL import ImageFile

    before = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        import weasyprint
    except (ImportError, OSError) as error:  # OSError: its library is there, Pango is not
        why = str(error).splitlines()[0]
        raise PdfError(f"no PDF can be made here: {why}", where="weasyprint", mend=MEND) from None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before
    return weasyprint


def _fetcher() -> Any:
    """Fetches what is in the page itself, and nothing from anywhere else."""
    from weasyprint.urls import URLFetcher

    class Inside(URLFetcher):  # type: ignore[misc]
        def fetch(self, url: str, headers: Any = None) -> Any:
            if not url.startswith("data:"):
                raise ValueError("only what is in the page is shown")
            return super().fetch(url, headers)

    return Inside()
