"""`write_page(disclosure, folder)`: a disclosure as one page that needs nothing else, and as JSON beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from auditkit.files import write_atomic
from auditkit.provenance.disclosure import ADVICE, STATED, Disclosure, Field
from reports.render import page, to_json
from reports.words import plural

PAGE, DATA = "disclosure.html", "disclosure.json"

HOW_TO_READ = (
    "Each table holds what one law or code asks for. ‘Unknown’ means that the run’s record does not hold the answer, "
    "not that there is none: the provider can state it. A stated answer is marked, and nobody has verified it.",
)
LIMITS = (
    ADVICE,
    "An answer says what the record of one run holds. It is not an audit of the system, and other runs may differ.",
    "That marks were put in does not show that they are still in copies of the images that others hold.",
    "What a run takes in time or energy is inference. It says nothing of what training took: that is here only where a "
    "model card or the provider tells it.",
    "The tables hold the items that this tool knows of; a law may ask for more.",
)


def write_page(disclosure: Disclosure, folder: str | Path) -> tuple[Path, Path]:
    """Write `disclosure.html` and `disclosure.json` into a folder.

    Returns:
        The page and the data.

    Raises:
        RunError: the folder cannot be written.
    """
    html, data = Path(folder) / PAGE, Path(folder) / DATA
    write_atomic(data, to_json(disclosure.as_dict()).encode())
    write_atomic(html, page("disclosure.html", assemble(disclosure)).encode())
    return html, data


def assemble(disclosure: Disclosure) -> dict[str, Any]:
    """All that the page shows, as plain values for the template."""
    counts = disclosure.counts()
    missing = [one for one in disclosure.fields if not one.known]
    return {
        "title": f"What is disclosed of {disclosure.about['Generator']}",
        "facts": disclosure.about,
        "figures": [
            (counts["recorded"], "answered from the run’s record"),
            (counts["stated"], "stated by the provider, not verified"),
            (counts["unknown"], "unknown"),
        ],
        "summary": [_summary(disclosure)],
        "how_to_read": HOW_TO_READ,
        "regimes": [
            {
                "id": one.id,
                "title": one.title,
                "applies": one.applies,
                "about": one.about,
                "count": _count(disclosure.counts(one.id)),
                "rows": [_row(each) for each in disclosure.of(one.id)],
            }
            for one in disclosure.regimes
        ],
        "missing": plural(len(missing), "field"),
        "statements": _statements(disclosure),
        "command": f"auditkit disclose {disclosure.run_id} --statements statements.toml",
        "limits": LIMITS,
        "advice": ADVICE,
        "version": disclosure.version,
    }


def _summary(disclosure: Disclosure) -> str:
    counts, n = disclosure.counts(), len(disclosure.fields)
    text = f"Of {n} items that {len(disclosure.regimes)} laws and codes ask for, the run’s record answers "
    text += f"{counts['recorded']}"
    text += f", the provider states {counts['stated']}" if counts["stated"] else ""
    return f"{text}, and {counts['unknown']} {'is' if counts['unknown'] == 1 else 'are'} unknown."


def _statements(disclosure: Disclosure) -> str:
    """The lines of a file of statements for what is unknown, under the heading of each regime."""
    blocks = []
    for regime in disclosure.regimes:
        lines = [f'{one.id} = ""  # {one.article}' for one in disclosure.of(regime.id) if not one.known]
        if lines:
            blocks.append("\n".join([f"# {regime.title}", *lines]))
    return "\n\n".join(blocks)


def _count(counts: dict[str, int]) -> str:
    stated = f", {counts['stated']} stated" if counts["stated"] else ""
    return f"{counts['recorded']} answered{stated}, {counts['unknown']} unknown"


def _row(field: Field) -> dict[str, Any]:
    return {
        "article": field.article,
        "name": field.name,
        "question": field.question,
        "value": field.value,
        "state": "unknown" if not field.known else "stated" if field.source == STATED else "recorded",
        "source": field.source or "not in the run",
        "note": field.note,
    }
