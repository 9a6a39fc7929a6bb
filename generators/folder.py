"""A run made of images from anywhere: a folder of files, and what is known of the prompt that made each."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditkit.errors import AuditkitError, ImageError, RunError, TableError
from auditkit.files import slug, write_atomic, write_json
from auditkit.images import open_image
from auditkit.prompts import fields
from auditkit.runs import Run, open_run
from auditkit.runs.record import make_record
from auditkit.runs.writer import image_table, store_image
from auditkit.schemas import IMAGES, write_table
from auditkit.spec import RunSpec, load_spec
from generators.importing.facts import Facts
from generators.importing.matching import Match, Matcher
from generators.importing.metadata import facts_of, read_texts
from generators.importing.sidecar import read_sidecar
from generators.importing.table import Entry, inside, read_table

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
"""The files of a folder that are taken for images where no CSV lists them."""
MAX_AXES = 50
MAX_MODELS = 50
"""Models that run.json counts by name; those beyond are counted together."""
IMPORTS = "imports.jsonl"
"""Of each image of an imported run its file, the source of its prompt, its negative prompt and its model."""


@dataclass(frozen=True)
class _Image:
    """One image to import, with all that is known of it."""

    entry: Entry
    facts: Facts
    match: Match | None

    @property
    def axes(self) -> dict[str, str | None]:
        return (self.match.prompt.axes if self.match else {}) | self.facts.axes


def import_folder(
    folder: str | Path,
    prompts_csv: str | Path | None = None,
    *,
    out: str | Path,
    name: str | None = None,
    spec: RunSpec | str | Path | None = None,
    skip_unknown: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Run:
    """Make a run of images that another system generated.

    Without a CSV every image file of `folder` and the folders in it is taken, in the order of their paths. What an
    image was made of is asked of the CSV first, then of a file beside it, then of the image's own metadata; each fills
    in what the one before leaves open.

    Args:
        folder: where the images are.
        prompts_csv: UTF-8 CSV with the columns `file` (relative to `folder`) and `prompt`. The columns seed, steps,
            guidance, sampler, negative and model say how an image was made; every other column becomes an axis to group
            by (`axis_model` the axis 'model'). An empty cell is a missing value.
        out: the folder that runs are kept in.
        name: first part of the run's id; the folder's name by default.
        spec: a suite's name, a TOML file or a RunSpec whose prompts are known again in those of the images, which get
            their axes (see `matching.Matcher`); images of other prompts are kept with missing axes.
        skip_unknown: leave images without a prompt out, and count them; they are an error otherwise.
        progress: called with (images done, images in all).

    Returns:
        The run. Images are kept as RGB PNG at their size. The same content gives the same run again.

    Raises:
        TableError: the CSV is not as it must be; the row is named.
        ImageError: a file is missing, truncated, too large or outside `folder`, or images have no prompt.
        SpecError: there is no such spec, or it does not hold.
        RunError: the run cannot be written. No half-written run is ever left.
    """
    folder, out = Path(folder), Path(out)
    if not folder.is_dir():
        raise ImageError("the folder does not exist", where=folder, mend="check the path")
    matcher = None if spec is None else Matcher(spec if isinstance(spec, RunSpec) else load_spec(spec))
    entries = _found(folder) if prompts_csv is None else read_table(Path(prompts_csv), folder)
    images, skipped = _known(entries, folder, matcher, skip_unknown)
    source = f"{folder.resolve().name} ({f'{Path(prompts_csv).name}, ' if prompts_csv else ''}{len(images)} rows)"
    name = (slug(name or folder.resolve().name)).lower()
    try:
        out.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".import-", dir=out))
    except OSError as error:
        raise RunError(f"the folder cannot be written: {error.strerror}", where=out, mend="choose another") from error
    try:
        table, lines = _import_images(work, images, folder, matcher, progress)
        run_id = f"{name}-import-{_digest(table, lines)}"
        if (out / run_id / "images.parquet").is_file():
            return open_run(out / run_id)
        write_table(table, work / "images.parquet", IMAGES)
        write_atomic(work / IMPORTS, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())
        write_json(work / "run.json", make_record(run_id, None, _generator(source, images, skipped, matcher)))
        work.chmod(0o777 & ~_umask())  # mkdtemp makes it private
        try:
            os.rename(work, out / run_id)
        except OSError as error:
            raise RunError(
                f"the run cannot be put in place: {error.strerror}", where=out / run_id, mend="remove what is there"
            ) from error
        return open_run(out / run_id)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _found(folder: Path) -> list[Entry]:
    """The image files of a folder without a CSV; hidden ones are left alone."""
    entries = []
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if file.suffix.lower() in SUFFIXES and not hidden and not file.is_dir():
            whole = inside(folder, str(name), str(file))
            entries.append(Entry(whole, str(file), Facts()))
    if not entries:
        raise ImageError("the folder holds no images", where=folder, mend=f"put files of {', '.join(SUFFIXES)} into it")
    return entries


def _known(entries: list[Entry], folder: Path, matcher: Matcher | None, skip_unknown: bool) -> tuple[list[_Image], int]:
    """What is known of each image, and how many were left out because no prompt is."""
    images, unknown = list[_Image](), list[Entry]()
    for entry in entries:
        facts = entry.facts.over(read_sidecar(entry.file, folder).over(facts_of(read_texts(_read(entry)))))
        if facts.prompt is None:
            unknown.append(entry)
        else:
            images.append(_Image(entry, facts, matcher.match(facts.prompt) if matcher else None))
    if unknown and (not skip_unknown or not images):
        named = ", ".join(entry.file.name for entry in unknown[:3])
        raise ImageError(
            f"{len(unknown)} of {len(entries)} images have no prompt, neither in a file beside them nor in their own "
            f"metadata: {named}{', ...' if len(unknown) > 3 else ''}",
            where=folder,
            mend="list them in a CSV (--prompts), put NAME.txt beside NAME.png, or leave them out with --skip-unknown",
        )
    named_axes = {axis for image in images for axis in image.axes}
    if len(named_axes) > MAX_AXES:
        raise TableError(
            f"there are {len(named_axes)} axes, and {MAX_AXES} is the most",
            where=folder,
            mend="leave out columns, or 'axes' of the JSON files, that are not to group by",
        )
    return images, len(unknown)


def _read(entry: Entry) -> bytes:
    try:
        return entry.file.read_bytes()
    except OSError as error:
        raise ImageError(
            f"the image cannot be read: {error.strerror}", where=entry.where, mend="make it readable"
        ) from error


def _import_images(
    work: Path,
    images: list[_Image],
    folder: Path,
    matcher: Matcher | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[Any, list[dict[str, Any]]]:
    """The images table, and the lines of IMPORTS."""
    axes = _axes(images, matcher)
    prompt_ids: dict[tuple[Any, ...], int] = {}
    replicates: Counter[int] = Counter()
    rows, lines = [], []
    for done, image in enumerate(images, start=1):
        facts, of = image.facts, image.axes
        values = {axis: of.get(axis) for axis in axes}
        prompt_id = prompt_ids.setdefault((facts.prompt, *values.values()), len(prompt_ids))
        try:
            stored = store_image(work, open_image(_read(image.entry)))
        except AuditkitError as error:
            if isinstance(error, RunError):
                raise
            raise ImageError(error.what, where=image.entry.where, mend=error.mend) from error
        rows.append(
            {
                **stored,
                "prompt_id": prompt_id,
                "prompt": facts.prompt,
                "template": image.match.prompt.template if image.match else facts.prompt,
                "replicate": replicates[prompt_id],
                "seed": facts.seed,
                "sampler": facts.sampler,
                "steps": facts.steps,
                "guidance": facts.guidance,
                "negative": facts.negative,
                "shard": 0,
                "ms": None,
                **{f"axis_{axis}": value for axis, value in values.items()},
            }
        )
        lines.append(
            {
                "id": stored["id"],
                "prompt_id": prompt_id,
                "replicate": replicates[prompt_id],
                "file": image.entry.file.relative_to(folder.resolve()).as_posix().encode("utf-8", "replace").decode(),
                "prompt_source": facts.source,
                "match": image.match.how if image.match else None,
                "negative": facts.negative,
                "model": facts.model,
                "model_hash": facts.model_hash,
            }
        )
        replicates[prompt_id] += 1
        if progress is not None:
            progress(done, len(images))
    return image_table(rows), lines


def _axes(images: list[_Image], matcher: Matcher | None) -> list[str]:
    """The axes of all images: those of the spec first, the one it groups by before the others."""
    of_spec = [axis for template in matcher.spec.templates for axis in fields(template)] if matcher else []
    by = [matcher.spec.by] if matcher and matcher.spec.by else []
    return list(dict.fromkeys([*by, *of_spec, *(axis for image in images for axis in image.axes)]))


def _digest(table: Any, lines: list[dict[str, Any]]) -> str:
    """Eight digits that stand for what is imported."""
    content = json.dumps(table.astype(object).where(table.notna(), None).to_dict("list"), default=str)
    said = [[line[key] for key in ("negative", "model", "model_hash")] for line in lines]
    if any(value for each in said for value in each):
        content += json.dumps(said)
    return hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()[:8]


def _generator(source: str, images: list[_Image], skipped: int, matcher: Matcher | None) -> dict[str, Any]:
    """The generator's part of run.json: what made these images is known by hearsay, as their metadata tell."""
    models = Counter(image.facts.model_label or "unknown" for image in images).most_common()
    counted = dict(models[:MAX_MODELS])
    if models[MAX_MODELS:]:
        counted["others"] = sum(count for _, count in models[MAX_MODELS:])
    details: dict[str, Any] = {
        "prompt_sources": dict(Counter(image.facts.source for image in images).most_common()),
        "models": counted,
        "skipped": skipped,
    }
    if matcher is not None:
        how = Counter(image.match.how if image.match else "none" for image in images)
        details["spec"] = {"name": matcher.spec.name} | {key: how[key] for key in ("equal", "within", "none")}
    return {
        "name": "import",
        "kind": "import",
        "source": source,
        "resolution": None,
        "defaults": None,
        "weights": None,
        "planted": None,
        "device": None,
        "dtype": None,
        "details": details,
    }


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
