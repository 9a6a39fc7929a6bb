"""What every verb shares: its answer, `--json`, `--debug`, and errors without tracebacks."""

from __future__ import annotations

import contextlib
import functools
import inspect
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from app import output
from auditkit.errors import AuditkitError

JSON_HELP = "Answer with one JSON document on stdout."
DEBUG_HELP = "Show the traceback of an error."


@dataclass(frozen=True)
class Answer:
    """What a verb answers: `data` for --json, `show` to print it for people."""

    data: Any
    show: Callable[[], None]
    exit_code: int = 0


def verb(function: Callable[..., Answer]) -> Callable[..., None]:
    """Make a command of a function that returns an `Answer`: add --json and --debug, print errors."""

    @functools.wraps(function)
    def command(*args: Any, as_json: bool, debug: bool, **kwargs: Any) -> None:
        quiet = contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
        with guarded(as_json=as_json, debug=debug):
            with quiet:  # a library that prints must not spoil the one document
                answer = function(*args, **kwargs)
            if as_json:
                output.print_json(answer.data)
            else:
                answer.show()
        raise typer.Exit(answer.exit_code)

    signature = inspect.signature(function, eval_str=True)
    switches = [_switch("as_json", "--json", JSON_HELP), _switch("debug", "--debug", DEBUG_HELP)]
    command.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), *switches], return_annotation=None
    )
    return command


def _switch(name: str, flag: str, text: str) -> inspect.Parameter:
    annotation = Annotated[bool, typer.Option(flag, help=text)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)


@contextlib.contextmanager
def guarded(*, as_json: bool = False, debug: bool = False) -> Iterator[None]:
    """Print errors as what, where and mend (exit code 1), an interruption with how to go on (130)."""
    try:
        with _friendly_warnings():
            yield
    except AuditkitError as error:
        _fail(error, as_json, debug)
    except KeyboardInterrupt:
        again = shlex.join(["auditkit", *sys.argv[1:]])
        output.say(f"\nStopped; what is finished is kept. To go on: {again}")
        raise typer.Exit(130) from None
    except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
        raise
    except Exception as error:
        what = f"unexpected {type(error).__name__}: {error}".rstrip(": ")
        mend = None if debug else "run the command again with --debug, and report the traceback"
        _fail(AuditkitError(what, mend=mend), as_json, debug)


def _fail(error: AuditkitError, as_json: bool, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    if as_json:
        output.print_json(error.as_dict())
    else:
        output.print_error(error)
    raise typer.Exit(1)


@contextlib.contextmanager
def _friendly_warnings() -> Iterator[None]:
    """Warnings as one line each on stderr, not as a place in our source."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *args, **kwargs: output.say(f"warning: {message}")
        yield


RunArgument = Annotated[str, typer.Argument(help="A run folder, a run's id, or 'latest'.")]
RunsOption = Annotated[Path, typer.Option("--runs", help="The folder that holds the runs.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
EncoderOption = Annotated[str, typer.Option(help="The CLIP encoder that looks at the images.")]
