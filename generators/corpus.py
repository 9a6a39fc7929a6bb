"""The persona corpus: people of the open emoji sets, a full cross of occupation x gender form x skin tone x style.

No scraped face and no consent question: drawings under open licences, labelled by construction, since the
CLDR name of each states whom it shows. Five styles train the bundled models; OpenMoji is kept unseen.
Only rebuilding or retraining reads this module; using auditkit does not.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from auditkit.errors import RunError, TableError

OCCUPATIONS = (
    "artist", "astronaut", "construction worker", "cook", "detective", "factory worker", "farmer",
    "firefighter", "guard", "health worker", "judge", "mechanic", "office worker", "pilot",
    "police officer", "scientist", "singer", "student", "teacher", "technologist",
)  # fmt: skip
GENDERS = ("female", "male")
TONES = ("light", "medium-light", "medium", "medium-dark", "dark")
OBJECTS = (
    "red apple", "bicycle", "umbrella", "guitar", "house", "automobile", "banana", "camera", "airplane", "key",
    "pizza", "soccer ball", "violin", "trumpet", "backpack", "tent", "rocket", "cactus", "sunflower", "balloon",
    "candle", "bread", "carrot", "locomotive", "sailboat", "light bulb", "hammer", "bed", "drum", "trophy",
)  # fmt: skip


@dataclass(frozen=True)
class Style:
    """One emoji set: its npm package, what captions call it, its licence, and whether models may train on it."""

    package: str
    name: str
    licence: str
    trains: bool


STYLES = (
    Style("noto", "noto", "Apache-2.0", True),
    Style("twemoji", "twemoji", "CC-BY-4.0", True),
    Style("fluent-emoji", "fluent", "MIT", True),
    Style("fluent-emoji-flat", "flat", "MIT", True),
    Style("noto-v1", "classic", "Apache-2.0", True),
    Style("openmoji", "openmoji", "CC-BY-SA-4.0", False),
)
SOURCES = Path(__file__).parent / "corpus_sources"
COLUMNS = (
    "name", "style", "kind", "concept", "label", "gender", "skin_tone", "occupation", "split", "licence", "png",
)  # fmt: skip

# One of the longer names first, so that 'medium-light' is not read as 'light'.
_TONE = "|".join(sorted(TONES, key=len, reverse=True))
_SUFFIX = re.compile(rf"^(?P<base>.+?)-(?P<tone>{_TONE})(-skin-tone)?$")
_MIDDLE = re.compile(rf"^(?P<who>woman|man|person)-(?P<tone>{_TONE})(-skin-tone)?-(?P<what>.+)$")
# People whose gender or age is in the noun itself: name -> (gender, concept).
_WHOLE = {
    "woman": ("female", "person"), "man": ("male", "person"), "person": ("neutral", "person"),
    "girl": ("female", "child"), "boy": ("male", "child"), "child": ("neutral", "child"),
    "old-woman": ("female", "older person"), "old-man": ("male", "older person"),
    "older-person": ("neutral", "older person"), "princess": ("female", "royal"), "prince": ("male", "royal"),
    "mrs-claus": ("female", "santa claus"), "santa-claus": ("male", "santa claus"),
}  # fmt: skip
# Two people in one drawing, no face to see, or the same drawing under a second name.
_NOT_ONE_PERSON = {
    "with bunny ears", "wrestling", "in bed", "merpeople", "in suit levitating", "in business suit levitating",
    "feeding baby", "taking bath", "holding hands", "kiss",
}  # fmt: skip


def build(
    out: str | Path,
    *,
    sources: str | Path | None = None,
    size: int = 120,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Render the corpus to `<out>/corpus.parquet` and return that path.

    Args:
        out: folder to write to; made where missing. The table is written under a temporary name and renamed.
        sources: folder with `node_modules` of the pinned packages; by default they are installed by npm into
            `<out>/sources` from the package.json that auditkit ships (the one step that needs the network).
        size: side of each square image in pixels.
        progress: called with (images done, images in all).

    Returns:
        A table with one row an image: name, style, kind (person or object), concept (the CLDR name without
        gender and tone), label (the CLDR name), gender (female, male, neutral), skin_tone, occupation (or ''),
        split (train, calibration, test; `unseen` for the style no model trains on), licence, png (RGBA bytes).

    Raises:
        RunError: npm is missing or fails, or resvg_py is not installed. TableError: a package is not there or
        cannot be read, or a drawing cannot be rendered.
    """
    if importlib.util.find_spec("resvg_py") is None:
        raise RunError(
            "Rendering the corpus needs resvg_py.",
            where="resvg_py",
            mend="In the project's folder: pip install -e '.[corpus]'",
        )
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    packages = Path(sources) if sources is not None else _install(out / "sources")
    labels = _cldr_labels(packages)
    rows, bodies = [], []
    for style in STYLES:
        icons = _read_icons(packages, style)
        for row, body in _select(icons, style, labels):
            rows.append(row)
            bodies.append(body)
    table = pd.DataFrame(rows)
    table["split"] = _split(table)
    table["png"] = _render(bodies, [f"{row['style']}/{row['name']}" for row in rows], size, progress)
    path = out / "corpus.parquet"
    table[list(COLUMNS)].to_parquet(path.with_suffix(".tmp"), index=False)
    path.with_suffix(".tmp").replace(path)
    return path


def read(path: str | Path, *, split: str = "") -> pd.DataFrame:
    """The corpus table that `build` wrote; `path` is its folder or the file. TableError where it is not one.

    Args:
        split: a word that draws another hold-out than the stored one.
    """
    path = Path(path)
    path = path / "corpus.parquet" if path.is_dir() else path
    if not path.is_file():
        raise TableError("There is no persona corpus here.", where=path, mend="auditkit corpus build")
    try:
        table = pd.read_parquet(path)
    except (ValueError, OSError) as error:  # pyarrow's own errors are kinds of these
        raise TableError(
            f"The corpus cannot be read: {error}", where=path, mend="auditkit corpus build"
        ) from None
    missing = set(COLUMNS) - set(table.columns)
    if missing:
        raise TableError(
            f"The corpus lacks the columns {sorted(missing)}.", where=path, mend="auditkit corpus build"
        )
    return table.assign(split=_split(table, split)) if split else table


def _install(folder: Path) -> Path:
    """Put the pinned npm packages into `folder`; nothing is run from them (`--ignore-scripts`)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        if (SOURCES / name).is_file():
            shutil.copyfile(SOURCES / name, folder / name)
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise RunError(
            "npm is not installed.", where=folder, mend="Install Node.js with npm, then run again."
        ) from None
    except subprocess.CalledProcessError as error:
        mend = "Check the connection to the npm registry, then run again."
        raise RunError(
            f"npm could not install the emoji sets: {error.stderr.strip()}", where=folder, mend=mend
        ) from None
    return folder


def _read_icons(packages: Path, style: Style) -> dict[str, tuple[str, str]]:
    """Name -> (SVG body, viewBox) of one set; an icon's box defaults to its file's."""
    path = packages / "node_modules" / "@iconify-json" / style.package / "icons.json"
    if not path.is_file():
        raise TableError(
            "An emoji set is missing.", where=path, mend="Leave out `--sources` to install the pinned sets."
        )
    data = _json(path)
    width, height = data.get("width", 16), data.get("height", 16)
    return {
        name: (
            icon["body"],
            f"{icon.get('left', 0)} {icon.get('top', 0)} {icon.get('width', width)} {icon.get('height', height)}",
        )
        for name, icon in data["icons"].items()
    }


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        mend = "Leave out `--sources` to install the pinned packages."
        raise TableError(f"The package's file is not JSON: {error}.", where=path, mend=mend) from None


def _cldr_labels(packages: Path) -> dict[str, str]:
    """CLDR slug (`woman-judge`) -> English CLDR name (`woman judge`), skin tones left out."""
    path = packages / "node_modules" / "emojibase-data" / "en" / "data.json"
    if not path.is_file():
        raise TableError(
            "The CLDR names are missing.", where=path, mend="Leave out `--sources` to install them."
        )
    labels = (entry["label"] for entry in _json(path))
    return {re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-"): label for label in labels}


def _select(
    icons: dict[str, tuple[str, str]], style: Style, labels: dict[str, str]
) -> Iterator[tuple[dict[str, str], tuple[str, str]]]:
    """The rows of one style: every toned person whose gender form is known, and the objects."""
    for name in sorted(icons):
        person = _person(name)
        if person is None:
            continue
        slug = person.pop("slug")
        row = person | {"name": name, "style": style.name, "kind": "person", "licence": style.licence}
        yield row | {"label": labels.get(slug, slug.replace("-", " "))}, icons[name]
    for concept in OBJECTS:
        name = concept.replace(" ", "-")
        if name in icons:
            row = {
                "concept": concept,
                "gender": "",
                "skin_tone": "",
                "occupation": "",
                "label": labels.get(name, concept),
            }
            yield (
                row | {"name": name, "style": style.name, "kind": "object", "licence": style.licence},
                icons[name],
            )


def _person(name: str) -> dict[str, str] | None:
    """Gender form, tone, concept and CLDR slug that a set's name states; None where it is not one toned person."""
    if (match := _MIDDLE.match(name)) and match["what"] not in TONES:  # not fluent's `woman-medium-dark`
        base, tone = f"{match['who']}-{match['what']}", match["tone"]
    elif match := _SUFFIX.match(name):
        base, tone = match["base"], match["tone"]
    else:
        return None
    if base in _WHOLE:
        gender, concept = _WHOLE[base]
    elif base.startswith(("woman-", "man-", "person-")):
        who, concept = base.split("-", 1)
        gender = {"woman": "female", "man": "male", "person": "neutral"}[who]
    elif base.replace("-", " ") in OCCUPATIONS:
        gender, concept = "neutral", base
    else:
        return None
    concept = concept.replace("-", " ")
    if concept in _NOT_ONE_PERSON or "skin tone" in concept or "facing right" in concept:
        return None
    concept = concept.replace("blonde", "blond")
    occupation = concept if concept in OCCUPATIONS else ""
    return {"gender": gender, "skin_tone": tone, "concept": concept, "occupation": occupation, "slug": base}


def _split(table: pd.DataFrame, salt: str = "") -> pd.Series:
    """Hold out one training style for each (concept, gender form, tone), chosen by hash: 3 in 5 of those cells
    calibrate the instrument, 2 in 5 test it. Every combination stays in training in its other styles.

    Another salt holds out other drawings, for an encoder that is to judge independently of the first.
    """
    split = pd.Series("train", index=table.index)
    trains = {style.name for style in STYLES if style.trains}
    split[~table["style"].isin(trains)] = "unseen"
    people = table[(table["kind"] == "person") & table["style"].isin(trains)]
    for cell, group in people.groupby(["concept", "gender", "skin_tone"], sort=True):
        if len(group) < 3:
            continue
        digest = hashlib.sha256((salt + "|".join(map(str, cell))).encode()).digest()
        held = group.sort_values("style").index[digest[0] % len(group)]
        split[held] = "calibration" if digest[1] % 5 < 3 else "test"
    return split


def _render(
    bodies: list[tuple[str, str]], names: list[str], size: int, progress: Callable[[int, int], None] | None
) -> list[bytes]:
    import resvg_py

    def one(item: tuple[str, str], name: str) -> bytes:
        body, box = item
        svg = (
            f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{box}" width="{size}" height="{size}">{body}</svg>'
        )
        try:
            return bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size))
        except ValueError as error:
            mend = "Leave out `--sources` to install the pinned packages."
            raise TableError(f"A drawing cannot be rendered: {error}.", where=name, mend=mend) from None

    images: list[bytes] = []
    with ThreadPoolExecutor() as pool:
        for image in pool.map(one, bodies, names):
            images.append(image)
            if progress is not None:
                progress(len(images), len(bodies))
    return images
