"""Small pieces that views share."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from app import example
from app.dashboard import access, state
from auditkit.bias.base import ALL
from auditkit.errors import AuditkitError
from auditkit.runs import Run
from reports import words

FRAMING = (
    "What is counted is **perceived presentation**: how a classifier reads drawn or generated people, who do "
    "not exist and have no gender or ethnicity of their own. Each share stands beside its 95% interval and "
    "the number of images. Where there is too little to go on, the dashboard says *insufficient* and shows "
    "no number."
)


NO_EXPORT = "<style>[data-testid='stElementToolbar'] { display: none !important; }</style>"
"""Takes the menu away with which a table downloads itself."""


def choose_run(label: str = "Run") -> state.Loaded:
    """The run that the reader looks at; stops the view where there is none to look at."""
    sound = state.finished()
    if not sound:
        no_runs()
        st.stop()
    name = st.selectbox(
        label, sound, key=state.RUN, bind="query-params", persist_state="session", help="The newest first."
    )
    try:
        loaded = state.load(name)
    except AuditkitError as error:  # the others can still be chosen
        problem(error)
        st.stop()
    if state.shows_example():
        st.info(
            "There is no finished run in this folder yet. This is the small example that comes with auditkit; one of "
            "your own is made by `auditkit audit`, as the view Runs says."
        )
    for found in loaded.problems:
        problem(found)
    return loaded


def example_note(result: Path) -> None:
    """Says of the evaluation in a folder that it is the shipped example's, where it is."""
    if result.name in example.RESULTS and (result.parent / example.RUNS[0]).is_dir():
        st.info("This is the small example that comes with auditkit; one of your own takes its place.")


def grouping(run: Run) -> str:
    """The axis that the reader groups a run's images by, or ALL."""
    choices = [*run.axes, ALL]
    if len(choices) == 1:
        return ALL
    first = run.spec.by if run.spec is not None and run.spec.by in choices else choices[0]
    return st.selectbox(
        "Group by", choices, index=choices.index(first), format_func=_axis, key="by", bind="query-params"
    )


def _axis(name: str) -> str:
    return "nothing (all images together)" if name == ALL else words.name(name)


def no_runs() -> None:
    """What to do in a folder without runs."""
    st.info("There is no finished run in this folder yet. Make one, then reload this page:")
    st.code(
        f"auditkit audit occupations --generator personas --out {shlex.quote(str(state.runs_folder()))}",
        None,
    )


def problem(error: AuditkitError) -> None:
    """An error as the reader should see it: what, where, and what mends it."""
    lines = [f"**{plain(error.what)}**"]
    if error.where is not None:
        lines.append(f"Where: `{error.where}`")
    if error.mend:
        lines.append(f"What to do: {plain(error.mend)}")
    st.warning("  \n".join(lines), icon=":material/warning:")


def link(path: str, label: str, *, icon: str | None = None, **query: Any) -> None:
    """A link to another view, with its query parameters."""
    st.page_link(state.page(path), label=label, icon=icon, query_params={k: v for k, v in query.items() if v})


def commands(heading: str, *each: Sequence[str]) -> None:
    """Commands to copy, one for each list of arguments."""
    st.caption(heading)
    text = "\n".join(shlex.join(["auditkit", *arguments]) for arguments in each)
    st.code(text, language=None, wrap_lines=True)  # the colours of highlighted options are too pale to read


def download(label: str, data: str | bytes, *, file_name: str, mime: str, key: str | None = None) -> None:
    """A button that downloads something; nothing where exports are disabled."""
    if access.exports():
        st.download_button(
            label, data, file_name=file_name, mime=mime, key=key, on_click="ignore", icon=":material/download:"
        )


def sentences(said: Sequence[str]) -> None:
    """Plain sentences as one list."""
    st.markdown("\n".join(f"- {plain(sentence)}" for sentence in said))


def plain(text: str) -> str:
    """Text that Markdown must not read anything into, no links that it would make of an address either."""
    for sign in "\\`*_[]$<:#~|@":
        text = text.replace(sign, "\\" + sign)
    return re.sub(r"(www)\.", r"\1\\.", text, flags=re.IGNORECASE)


def clean(text: object, *, longest: int = 300) -> str:
    """Text from a stranger's file as one line: no control characters, nothing that turns the direction of reading."""
    kept = "".join(each if _harmless(each) else " " for each in str(text)[: 4 * longest])
    line = " ".join(kept.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def stranger(text: object, *, longest: int = 300) -> str:
    """A stranger's text for Markdown: `clean`, then `plain`."""
    return plain(clean(text, longest=longest)).replace(">", "\\>")


def _harmless(sign: str) -> bool:
    kind = unicodedata.category(sign)
    return kind[0] != "C" or sign in "\u200c\u200d"  # joiners, which scripts and emoji need
