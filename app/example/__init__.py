"""A small example workspace that comes with auditkit: two runs of one prompt set and two evaluations, to be looked at.

`example.zip` holds two runs of `example.toml`: 48 images by `personas`, in which a bias was planted, and 48 by
`personas-balanced`, in which an even split was; scored, measured and sealed. Beside them lies what three mitigations
did to 144 images of the same prompts, and the test of a detector on generators that it had not seen: tables alone.
`python -m benchmarks.example` made it.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path

from auditkit.errors import AuditkitError
from auditkit.files import sha256_file

ARCHIVE = Path(__file__).with_name("example.zip")
SPEC = Path(__file__).with_name("example.toml")
RUNS = ("example-personas-1104acba", "example-personas-balanced-ba680bb1")
"""What is in the archive: the biased run, and the even one."""
RESULTS = ("mitigation", "detector-evaluation")
"""And what `auditkit mitigate` and `auditkit detector evaluate` found."""


def example(out: str | Path = "example") -> list[Path]:
    """Unpack the example into a folder of runs; what is there already is left as it is.

    Nothing is fetched and nothing is computed. `auditkit.open_run` opens a run, `auditkit dashboard --runs OUT` shows
    them.

    Args:
        out: the folder; made where it is missing.

    Returns:
        The runs' folders, in the order of RUNS.

    Raises:
        AuditkitError: the folder cannot be written, or auditkit's own archive is damaged.

    Example:
        example("example")
    """
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        missing = [name for name in (*RUNS, *RESULTS) if not (out / name).exists()]
        if missing:
            with tempfile.TemporaryDirectory(prefix=".example-", dir=out) as folder:
                _unpack(Path(folder))
                for name in missing:  # whole or not at all
                    if not (out / name).exists():
                        shutil.move(str(Path(folder) / name), out / name)
    except OSError as error:
        raise AuditkitError(
            f"the example cannot be written: {error.strerror or error}",
            where=out,
            mend="name another folder with --out",
        ) from None
    return [out / name for name in RUNS]


def shared() -> Path:
    """The example in this user's cache, unpacked when it is first asked for: a folder of runs.

    Raises:
        AuditkitError: as `example`.
    """
    from auditkit.places import cache

    folder = cache() / f"example-{sha256_file(ARCHIVE)[:8]}"
    example(folder)
    return folder


def _unpack(folder: Path) -> None:
    try:
        with zipfile.ZipFile(ARCHIVE) as archive:
            archive.extractall(folder)
    except (FileNotFoundError, zipfile.BadZipFile) as error:
        raise AuditkitError(
            f"the example that comes with auditkit is missing or damaged: {error}", where=ARCHIVE,
            mend="install auditkit again",
        ) from None  # fmt: skip
