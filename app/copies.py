"""The Python verbs of copies, memorisation and protected works; `auditkit copies`, `memorisation` and `protected`.

import auditkit as ak
ak.index_copies("training/", "training.index")
ak.calibrate_copies("training.index", "held-out/")
found = ak.find_copies("latest", "training.index")      # .table, .expected_false, .counts()
ak.memorisation(["a lighthouse at dusk"], generator="path:checkpoint", ordinary="ordinary.txt")
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.api import ENCODER, RUNS, find_run
from app.output import Progress, progress_bar
from auditkit.errors import DetectorError, SpecError

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from auditkit.stats.known_negatives import Cut
    from detectors.copies.calibration import Calibration
    from detectors.copies.finding import Found
    from detectors.copies.index import Index
    from detectors.copies.prints import Picture
    from detectors.copies.protected import Added, Registry

CORPUS = "corpus"
Source = str | Path
Sources = Source | Sequence[Source]


def index_copies(
    source: Source,
    out: str | Path,
    *,
    split: str | None = None,
    encoder: str = ENCODER,
    device: str = "auto",
    progress: bool | Progress = False,
) -> Index:
    """Index a training set: a folder of images, or a persona corpus (its folder or corpus.parquet).

    Args:
        out: the index's folder. split: of a corpus, 'train' by default.

    Raises:
        DetectorError, EncoderError, ImageError, TableError, RunError.
    """
    from detectors.copies.index import build

    pictures, root, kind = _training(source, split or "train")
    loaded = _encoder(encoder, device)
    with progress_bar("index", progress) as tell:
        return build(pictures, out, encoder=loaded, root=root, kind=kind, progress=_counted(tell, len(pictures)))


def calibrate_copies(
    index: Source,
    held_out: Source,
    *,
    split: str | None = None,
    training: Source | None = None,
    copies: int | None = None,
    changes: Sequence[str] = (),
    seed: int = 0,
    device: str = "auto",
    progress: bool | Progress = False,
) -> Calibration:
    """Calibrate an index on unrelated images and planted copies of its training images, and keep that beside it.

    Args:
        held_out: images of the same kind that were not trained on: a folder, a run's images or a corpus.
        split: of a corpus that is held out, 'calibration' by default.
        training: where the indexed images are now, if not where they were.
        copies, changes, seed: see `detectors.copies.planting`.

    Raises:
        DetectorError, EncoderError, ImageError, TableError, WatermarkError, RunError.
    """
    from detectors.copies.index import load
    from detectors.copies.planting import CHANGES, COPIES, calibrate

    opened = load(index)
    loaded = _encoder(opened.about.encoder, device)
    pictures = _pictures(held_out, split or "calibration")
    original = _originals(opened, training)
    with progress_bar("calibrate", progress) as tell:
        made = calibrate(
            opened, pictures, encoder=loaded, original=original, changes=list(changes) or CHANGES,
            copies=copies or COPIES, seed=seed, progress=tell,
        )  # fmt: skip
    made.save(opened.folder)
    return made


def find_copies(
    images: Sources,
    index: Source,
    *,
    rate: float = 0.01,
    runs: str | Path = RUNS,
    device: str = "auto",
    progress: bool | Progress = False,
) -> Found:
    """The nearest training image of each image of a run, a folder or some files, and whether it is a copy.

    Args:
        rate: share of unrelated images that may be called copies.

    Raises:
        DetectorError, EncoderError, ImageError, RunError.
    """
    from detectors.copies import calibration
    from detectors.copies.finding import find
    from detectors.copies.index import load

    opened = load(index)
    pictures = _asked(images, runs)
    known = calibration.load(opened.folder, index=opened.about.id)
    calibration.check_rate(rate)
    loaded = _encoder(opened.about.encoder, device)
    with progress_bar("find", progress) as tell:
        return find(
            pictures, opened, encoder=loaded, calibration=known, rate=rate, progress=_counted(tell, len(pictures))
        )


def copies_page(
    found: Found,
    images: Sources,
    out: str | Path,
    *,
    index: Source | None = None,
    training: Source | None = None,
    runs: str | Path = RUNS,
) -> Path:
    """Write a page with each image beside its nearest training image, the nearest pairs first.

    Args:
        images: what was asked about. index: None for protected works, of which no picture is kept.
        training: where the indexed images are now, if not where they were.
    """
    from detectors.copies.index import load
    from reports.copies_page import write_page

    opens = {picture.name: picture.open for picture in _asked(images, runs)}
    original = None if index is None else _originals(load(index), training)
    return write_page(found.table, found.as_dict(), out, image=lambda name: opens[name](), nearest=original)


def memorisation(
    prompts: Source | Sequence[str],
    *,
    generator: str,
    ordinary: Source | Sequence[str] | None = None,
    rate: float = 0.05,
    steps: int | None = None,
    first: int | None = None,
    seeds: int | None = None,
    guidance: float | None = None,
    device: str = "auto",
    progress: bool | Progress = False,
) -> tuple[pd.DataFrame, Cut | None]:
    """How strongly each prompt steers a checkpoint: large for prompts whose picture it has memorised.

    Args:
        prompts: a list of prompts, a text file with one a line, a suite's name or a spec's .toml.
        ordinary: prompts of the same kind known not to be memorised; without them prompts are only ranked.
        rate: share of ordinary prompts that may be called memorised.
        steps, first, seeds, guidance: see `generators.noise_magnitude`.

    Raises:
        GeneratorError, SpecError, DetectorError.
    """
    from detectors.copies.calibration import check_rate
    from generators.load import load_generator
    from generators.noise_magnitude import memorisation as judged
    from generators.noise_magnitude import noise_magnitudes

    check_rate(rate)
    asked, known = _prompts(prompts), None if ordinary is None else _prompts(ordinary)
    loaded = load_generator(generator, device=device)
    given = {"steps": steps, "first": first, "seeds": seeds, "guidance": guidance}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    with progress_bar("prompts", progress) as tell:
        found = noise_magnitudes(loaded, asked, **options, progress=tell)
    if known is None:
        return judged(found, rate=rate)
    with progress_bar("ordinary", progress) as tell:
        return judged(found, noise_magnitudes(loaded, known, **options, progress=tell), rate=rate)


def protect(
    images: Sources,
    *,
    owner: str,
    title: str = "",
    licence: str = "",
    note: str = "",
    registry: str | Path | None = None,
    encoder: str | None = None,
    device: str = "auto",
    progress: bool | Progress = False,
) -> Added:
    """Register works by their prints; the pictures are not kept. No faces: whole works only."""
    with _registry("register", images, RUNS, registry, encoder, device, progress) as (opened, asked):
        return opened.add(owner=owner, title=title, licence=licence, note=note, **asked)


def calibrate_protected(
    unrelated: Sources,
    *,
    registry: str | Path | None = None,
    encoder: str | None = None,
    device: str = "auto",
    progress: bool | Progress = False,
) -> int:
    """Learn from unrelated images how near images come to works by chance; how many are known now."""
    with _registry("calibrate", unrelated, RUNS, registry, encoder, device, progress) as (opened, asked):
        return opened.add_unrelated(**asked)


def check_protected(
    images: Sources,
    *,
    rate: float = 0.01,
    registry: str | Path | None = None,
    runs: str | Path = RUNS,
    device: str = "auto",
    progress: bool | Progress = False,
) -> Found:
    """Hold images of a run, a folder or some files against all registered works."""
    with _registry("check", images, runs, registry, None, device, progress) as (opened, asked):
        return opened.check(rate=rate, **asked)


def _encoder(name: str, device: str) -> Any:
    from auditkit.clip.encoders import load_encoder

    return load_encoder(name, device=device)


@contextlib.contextmanager
def _registry(
    title: str, images: Sources, runs: str | Path, where: str | Path | None, encoder: str | None, device: str,
    progress: bool | Progress,
) -> Iterator[tuple[Registry, dict[str, Any]]]:  # fmt: skip
    """The registry, and what each of its verbs takes: pictures, their encoder, progress on a bar of this title."""
    from detectors.copies.protected import Registry

    opened = Registry(where)
    loaded = _encoder(encoder or opened.encoder() or ENCODER, device)
    pictures = _asked(images, runs)
    with progress_bar(title, progress) as tell:
        yield opened, {"pictures": pictures, "encoder": loaded, "progress": _counted(tell, len(pictures))}


def _counted(tell: Progress | None, total: int) -> Callable[[int], None] | None:
    return None if tell is None else lambda done: tell(done, total)


def _training(source: Source, split: str) -> tuple[list[Picture], str, str]:
    """Pictures of a training set, the root of their names, and what kind of names they are."""
    path = Path(source)
    if _is_corpus(path):
        return _corpus(path, split), str(path.resolve()), CORPUS
    if not path.is_dir():
        raise DetectorError("there is no such folder of images", where=path, mend="check the path")
    return _folder(path), str(path.resolve()), "folder"


def _is_corpus(path: Path) -> bool:
    return path.name == "corpus.parquet" or (path / "corpus.parquet").is_file()


def _pictures(source: Source, split: str, runs: str | Path = RUNS) -> list[Picture]:
    """Of a corpus, a folder, a file or a run."""
    from auditkit.images import open_image
    from detectors.copies.prints import Picture

    path = Path(source)
    if _is_corpus(path):
        return _corpus(path, split)
    if path.is_file():
        return [Picture(str(path), partial(open_image, path))]
    if path.is_dir() and not (path / "run.json").is_file():
        return _folder(path)
    run = find_run(source, folder=runs)
    ids = run.images()["id"].drop_duplicates()
    return [Picture(str(each), partial(open_image, run.image_path(str(each)))) for each in ids]


def _asked(images: Sources, runs: str | Path) -> list[Picture]:
    from detectors.copies.prints import Picture

    sources: Iterable[Source] = [images] if isinstance(images, (str, Path)) else images
    parts = [(source, _pictures(source, "train", runs)) for source in sources]
    if len(parts) == 1:
        return parts[0][1]
    # Folders may hold files of one name.
    return [
        Picture(str(Path(source) / each.name), each.open) if Path(source).is_dir() else each
        for source, part in parts
        for each in part
    ]


def _folder(path: Path) -> list[Picture]:
    from auditkit.images import open_image
    from auditkit.watermark.folders import image_files
    from detectors.copies.prints import Picture

    names = [name for name, why in image_files(path) if not why]
    return [Picture(str(name), partial(open_image, path / name)) for name in names]


def _corpus(path: Path, split: str) -> list[Picture]:
    from detectors.copies.prints import Picture
    from generators import corpus

    table = corpus.read(path)
    part = table[table["split"] == split]
    if part.empty:
        mend = f"use one of: {', '.join(sorted(set(table['split'])))}"
        raise DetectorError(f"the corpus has no drawings of the split '{split}'", where=path, mend=mend)
    named = zip(part["style"] + "/" + part["name"], part["png"], strict=True)
    return [Picture(name, partial(_drawing, png)) for name, png in named]


def _drawing(png: bytes) -> Image.Image:
    """On a white page of 128 px, as bundled generators draw."""
    from PIL import Image

    from auditkit.images import open_image

    drawing = open_image(png)
    page = Image.new("RGB", (128, 128), "white")
    page.paste(drawing, ((128 - drawing.width) // 2, (128 - drawing.height) // 2))
    return page


def _originals(index: Index, training: Source | None) -> Callable[[str], Image.Image]:
    """Opens an indexed training image by its name."""
    from auditkit.images import open_image

    if index.about.kind == CORPUS:
        table = {p.name: p.open for p in _corpus(Path(training or index.about.root), "train")}

        def drawn(name: str) -> Image.Image:
            if name not in table:
                raise DetectorError("the corpus has no such training drawing", where=name, mend="make the index again")
            return table[name]()

        return drawn
    root = Path(training or index.about.root)

    def opened(name: str) -> Image.Image:
        path = root / name
        if not path.resolve().is_relative_to(root.resolve()):
            raise DetectorError("a name in the index leads out of its folder", where=name, mend="make the index again")
        return open_image(path)

    return opened


def _prompts(source: Source | Sequence[str]) -> list[str]:
    """Distinct prompts of a list, a text file, a suite or a spec."""
    from auditkit.prompts import expand
    from auditkit.spec import load_spec

    if not isinstance(source, (str, Path)):
        return list(dict.fromkeys(source))
    path = Path(source)
    if path.is_file() and path.suffix != ".toml":
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(f"the prompts cannot be read: {error}", where=path, mend="give UTF-8 text") from None
        found = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
        if not found:
            raise SpecError("the file has no prompts", where=path, mend="write one prompt a line")
        return found
    return list(dict.fromkeys(prompt.text for prompt in expand(load_spec(source))))
