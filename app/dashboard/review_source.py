"""What is reviewed: the images of a run, or the files of a scan, each named by the sha256 of its bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from app.dashboard import access, scans, state, widgets
from auditkit.decisions import DECISIONS
from auditkit.errors import AuditkitError
from auditkit.files import sha256
from auditkit.provenance.sentences import NAMES
from auditkit.runs import Run
from reports import words

SOURCES = {"run": "Images of a run", "scan": "Files of a scan"}
LARGEST = 100_000_000  # bytes of a scanned file that is opened to be shown
NOT_FOUND = "not found, which is no proof of anything"


@dataclass(frozen=True)
class Source:
    """A queue's images.

    Attributes:
        name: of the run or the scan. log: where decisions are appended.
        items: sha256 by position; each once.
        names: sha256 -> what a person calls the image.
        facts: what is known of an image, heading -> text; each mark for itself.
        picture: its bytes; None where there is no such file, or it is another now.
        mend: what a reader does about images without a picture.
    """

    name: str
    log: Path
    items: list[str]
    names: dict[str, str]
    facts: Callable[[str], dict[str, str]]
    picture: Callable[[str], bytes | None]
    mend: str


def choose() -> Source | None:
    """The source that the reader chooses; None, and said why, where there is none."""
    left, right = st.columns([2, 3])
    kind = left.segmented_control(
        "Review", list(SOURCES), default="run", required=True, format_func=SOURCES.__getitem__, key="source",
        bind="query-params",
    )  # fmt: skip
    with right:
        return _of_scan() if kind == "scan" else _of_run(widgets.choose_run())


def _of_run(loaded: state.Loaded) -> Source:
    run, marks = loaded.run, loaded.watermarks
    names, prompts = _named(run, state.stamp(run.path))
    generator = str(run.record["generator"].get("name", "a generator"))

    def facts(id: str) -> dict[str, str]:
        told = {"Prompt": prompts[id]}
        if marks is not None:
            found = marks[(marks["id"] == id) & (marks["verdict"] == "present")]
            told["Watermark"] = ", ".join(sorted(set(found["scheme"]))) or NOT_FOUND
        else:
            told["Watermark"] = "not looked for in this run"
        return told | {"Generated": f"yes, by {generator}: so the run's record says"}

    def picture(id: str) -> bytes | None:
        try:
            return run.image_path(id).read_bytes()
        except OSError:
            return None

    mend = "The image's file is missing: auditkit verify-run says more."
    return Source(loaded.name, run.path / DECISIONS, list(names), names, facts, picture, mend)


@st.cache_resource(max_entries=2, show_spinner="Reading the run")
def _named(_run: Run, stamp: tuple[tuple[str, int], ...]) -> tuple[dict[str, str], dict[str, str]]:
    """Name and prompt of each image, by id. Shared: never change them."""
    images = _run.images().drop_duplicates("id")
    columns = (images[name].tolist() for name in ("id", "prompt_id", "replicate", "prompt"))
    names, prompts = {}, {}
    for id, prompt, replicate, text in zip(*columns, strict=True):
        names[id], prompts[id] = f"image {prompt}.{replicate}", text
    return names, prompts


def _of_scan() -> Source | None:
    found = scans.listing()
    if not found:
        st.info("There is no table of a scan here: none beside the folder of runs, none in it.")
        widgets.commands("To scan a folder:", ["scan", "uploads", "--out", "verdicts.parquet"])
        return None
    name = st.selectbox("Scan", list(found), key="scan", bind="query-params")
    try:
        table = scans.load(found[name])
    except AuditkitError as error:
        widgets.problem(error)
        return None
    table = table[table["sha256"].fillna("").str.fullmatch(r"[0-9a-f]{64}").astype(bool)]
    table = table.drop_duplicates("sha256").set_index("sha256")
    folder = access.settings().scanned

    def facts(id: str) -> dict[str, str]:
        row = {str(name): str(value) for name, value in table.loc[id].items()}
        hashed = f"{row['hash']}, bank {row['hash_bank']}" if row["hash"] == "match" else row["hash"] or "not compared"
        # Each answer stands for itself; together they would seem to be more than they are.
        return {
            "C2PA": NAMES.get(row["c2pa"], row["c2pa"]) or "not read",
            "Watermark": row["watermark"] if row["watermark"] == "present" else NOT_FOUND,
            "Hash": hashed,
            "Detector": row["detector"] or "none was asked",
        }

    def picture(id: str) -> bytes | None:
        return None if folder is None else _scanned(folder, str(table["file"][id]), id)

    mend = (
        "The file is not in the folder of --scanned, or has changed since the scan."
        if folder is not None
        else "A scan does not say where its files lie. Start the dashboard with --scanned FOLDER to see them."
    )
    log = found[name].with_name(f"{found[name].stem}.{DECISIONS}")
    names = {str(id): widgets.clean(file, longest=120) for id, file in table["file"].items()}
    return Source(name, log, [str(id) for id in table.index], names, facts, picture, mend)


def _scanned(folder: Path, file: str, id: str) -> bytes | None:
    """A file that a table names. The table may be a stranger's: only what lies in the folder and has the hash."""
    try:
        path = (folder / file).resolve()
        if not path.is_relative_to(folder.resolve()) or not path.is_file() or path.stat().st_size > LARGEST:
            return None
        data = path.read_bytes()
    except (OSError, ValueError):
        return None
    return data if sha256(data) == id else None


def reviewer() -> str:
    """Whose decisions these are: whoever is logged in, else the pseudonym that the reader gives."""
    who = access.person()
    if who is not None and who.name:
        return who.name
    return (
        st.text_input(
            "Your pseudonym", key="reviewer", persist_state="session", max_chars=32, placeholder="such as A",
            help="Letters, digits, - and _. It stands beside your decisions, so that agreement can be told.",
        )
        or ""
    ).strip()  # fmt: skip


def progress(done: int, of: int, what: str) -> None:
    """How much of it is done, in words and as a bar."""
    st.progress(done / of if of else 0.0, text=f"{done:,} of {words.plural(of, what)} decided by you")
