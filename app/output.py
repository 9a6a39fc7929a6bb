"""What the commands print: answers on stdout, everything else (progress, warnings, errors) on stderr."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from auditkit.errors import AuditkitError

Progress = Callable[[int, int], None]
"""Called with (done, total) as a stage goes on."""

WIDTH = 110

_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that steer a terminal, turn the direction of writing, or are no text."""


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal, or WIDTH columns where there is none (a pipe, a log)."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else WIDTH, highlight=False)


def visible(value: Any, *, lines: bool = False) -> Any:
    """Text, or plain data with text in it, as it may be shown: what steers a terminal is spelled out, as \\x1b.

    Strangers' files can hold anything in their titles and names.

    Args:
        lines: leave line breaks and tabs as they are.
    """
    if isinstance(value, str):
        kept = "\n\t" if lines else ""
        return _UNSEEN.sub(lambda x: x[0] if x[0] in kept else x[0].encode("unicode_escape").decode(), value)
    if isinstance(value, dict):
        return {visible(key, lines=lines): visible(item, lines=lines) for key, item in value.items()}
    return [visible(item, lines=lines) for item in value] if isinstance(value, (list, tuple)) else value


def jsonable(value: Any) -> Any:
    """Plain JSON data of `value`: NaN and infinities become null, tables become lists of rows."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "to_dict") and hasattr(value, "columns"):  # a DataFrame, without importing pandas here
        return [jsonable(row) for row in value.to_dict("records")]
    if hasattr(value, "model_dump"):  # a pydantic model
        return jsonable(value.model_dump(mode="json"))
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:  # a numpy scalar
        return jsonable(value.item())
    if isinstance(value, Iterable):
        return [jsonable(item) for item in value]
    return None if type(value).__name__ in ("NAType", "NaTType") else str(value)


def print_json(value: Any) -> None:
    """One JSON document on stdout, in which no character steers the terminal that it is shown in."""
    text = json.dumps(jsonable(value), indent=2, ensure_ascii=False, allow_nan=False)
    text = _UNSEEN.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_error(error: AuditkitError) -> None:
    """'error:' in red with what, where and mend, on stderr."""
    from rich.text import Text

    out = console(stderr=True)
    text = Text.assemble(("error: ", "bold red"), visible(error.what, lines=True))
    for name, value in (("where", error.where), ("mend", error.mend)):
        if value is not None:
            text.append(f"\n  {name + ':':<7}", style="bold")
            text.append(visible(str(value)))
    out.print(text, soft_wrap=True)


def say(message: str) -> None:
    """A line for the reader on stderr, where it does not disturb an answer."""
    console(stderr=True).print(visible(message, lines=True), markup=False, soft_wrap=True)


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> Table:
    """A plain table. A heading that starts with '>' is right-aligned."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        right = heading.startswith(">")
        made.add_column(heading.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(visible(str(cell), lines=True)) for cell in row))
    return made


def duration(seconds: float) -> str:
    """`4.2 s`, `1 min 05 s`, `2 h 10 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


@contextmanager
def progress_bar(stage: str, show: bool | Progress) -> Iterator[Progress | None]:
    """Progress of one stage on stderr: a bar with rate and time left in a terminal, else a line each 10%.

    Args:
        stage: what is being done, in a word or two.
        show: False for silence, or a function of one's own to call instead.
    """
    if show is False:
        yield None
    elif show is not True:
        yield show
    elif sys.stderr.isatty():
        yield from _bar(stage)
    else:
        yield _lines(stage)


def _bar(stage: str) -> Iterator[Progress]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    started = time.monotonic()
    with Bar(*columns, console=console(stderr=True)) as bar:
        task = bar.add_task(stage, total=None, rate="")

        def update(done: int, total: int) -> None:
            rate = done / max(time.monotonic() - started, 1e-9)
            bar.update(task, completed=done, total=total, rate=f"{rate:.1f}/s" if done else "")

        yield update


def _lines(stage: str) -> Progress:
    started, last = time.monotonic(), -1

    def update(done: int, total: int) -> None:
        nonlocal last
        tenth = 10 * done // total if total else 10
        if tenth > last:
            last = tenth
            seconds = time.monotonic() - started
            left = f", {duration(seconds * (total - done) / done)} left" if 0 < done < total else ""
            rate = f" ({done / seconds:.1f}/s{left})" if done and seconds > 0.05 else ""
            say(f"{stage}: {done}/{total}{rate}")

    return update
