"""The Python verbs of detectors; `auditkit train detector`, `detect` and `detectors` mirror them.

Example:
    import auditkit as ak
    ak.train_detector("data/", family="spectrum", out="detectors/mine")
    ak.detect("uploads/", detectors=["path:detectors/mine"])
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.autoencoders import USUAL, autoencoder, launderers
from app.finding import RUNS, find_run
from app.output import Progress, progress_bar
from auditkit.errors import AuditkitError, DetectorError, ImageError, RunError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from auditkit.runs import Run
    from detectors.examples import Examples
    from detectors.trained import Detector

Telling = Callable[[float, str], None]
"""Called with the fraction done, in 0..1, and a line for people."""

COLUMNS = ("file", "detector", "verdict", "score", "probability", "threshold", "fpr", "unfamiliar", "why", "error")
VERDICTS = ("generated", "no sign", "abstain", "not applicable")
BATCH = 16
MOST_PIXELS = 16_000_000
"""Of the images that are judged at once: large ones come alone."""


def train_detector(
    *data: str | Path,
    family: str = "cnn",
    out: str | Path,
    development: Sequence[str | Path] = (),
    test: Sequence[str | Path] = (),
    reconstruct: Sequence[str] = (),
    crop: int | None = None,
    crops: int = 1,
    launder: Sequence[str] = USUAL,
    skip_bad: bool = False,
    device: str = "auto",
    progress: bool | Telling = False,
    **settings: Any,
) -> Detector:
    """Train a detector on real and generated images and write it into a new folder.

    Args:
        data: folders (real/<origin>/, generated/<generator>/), tables or runs; see docs/detectors_data.md.
        family: `auditkit plugins` lists them as detector_families.
        out: the folder to write.
        development: held-out data to set the threshold on; by default a part of `data`.
        test: held-out data to report on; by default a part of `data`.
        reconstruct: autoencoders, by a bundled generator's name or a folder. The real images are reconstructed through
            each, encoded alike, and these pairs are what the detector learns from, beside the generated images of
            `data`. They are kept in a folder beside `out`, whose name ends in -pairs.
        crop, crops: pixels a side of each pair, and pairs of each real image; see `detectors.pairs.make_pairs`.
        launder: autoencoders that held-out real images are laundered through for the false-accusation rate on the card;
            none with ().
        skip_bad: leave out files that are no images, and count them.
        settings: options, name, seed, fpr, minutes, adversarial, calibration, limit, by_name, shares, duplicates, near;
            see `detectors.training.train`.

    Raises:
        DetectorError, PluginError, ImageError.

    Example:
        train_detector("data/", family="spectrum", out="detectors/mine").card["test"]
    """
    from detectors.reading import read_examples
    from detectors.trained import check_new
    from detectors.training import train

    out = check_new(out)
    if reconstruct:
        examples = _with_pairs(
            data, reconstruct, out.with_name(f"{out.name}-pairs"), crop=crop, crops=crops, skip_bad=skip_bad,
            device=device, progress=bool(progress),
        )  # fmt: skip
    else:
        examples = read_examples(*data, skip_bad=skip_bad)
    held = {
        part: read_examples(*named, skip_bad=skip_bad) if named else None
        for part, named in (("development", development), ("test", test))
    }
    with _telling("train", progress) as tell:
        return train(
            examples,
            family=family,
            out=out,
            development=held["development"],
            test=held["test"],
            launder=launderers(launder, device=device),
            device=device,
            progress=tell,
            **settings,
        )


def detect(
    *targets: str | Path | Run,
    detectors: Sequence[str | Path | Detector] = (),
    fpr: float | None = None,
    device: str = "auto",
    but: str | Path | None = None,
    runs: str | Path = RUNS,
    progress: bool | Progress = False,
) -> pd.DataFrame:
    """Ask detectors whether images are generated: a row an image and detector.

    Args:
        targets: image files, and folders, every file below which is looked at; or one run (its folder, its id,
            'latest'), which keeps the rows (`run.detections()`).
        detectors: names, `path:FOLDER` or loaded ones; () is every one that is installed, but for those
            that are asked only where they are named (`Detector.by_name`).
        fpr: false positive rate to judge at, one that the detectors froze a threshold at; by default their first.
        but: a file to leave out, that the answer is written to.

    Returns:
        file (of a run: id), detector, verdict ('generated', 'no sign', 'abstain' or 'not applicable'; '' where `error`
        says why the file could not be read), score, probability, threshold, fpr, unfamiliar, why, error. 'no sign' does
        not say that an image is real.

    Raises:
        DetectorError: no detector is installed or named, one is damaged, or has no threshold at `fpr`. ImageError: a
        target does not exist, or a folder holds no file. RunError: a run beside other targets, or a broken one.

    Example:
        detect("uploads/", detectors=["path:detectors/mine"])
    """
    import pandas as pd

    run = run_meant(targets, runs)
    if run is not None:
        return _of_run(run, detectors, fpr, device, progress)
    files = [each for target in targets for each in _files(Path(str(target)), None if but is None else Path(but))]
    asked = load_detectors(detectors, device=device)
    for one in asked:
        one.threshold(fpr)
    rows: list[dict[str, Any]] = []
    with progress_bar("detect", progress) as show:
        for batch in _batches(files, rows):
            names, images = [name for name, _ in batch], [image for _, image in batch]
            for one in asked:
                told = one.judge(images, fpr=fpr)
                rows += [_row(name, said) for name, said in zip(names, told, strict=True)]
            if show is not None:
                show(len({row["file"] for row in rows}), len(files))
    order = {name: place for place, (name, _) in enumerate(files)}
    rows.sort(key=lambda row: order[row["file"]])  # stable: detectors stay in order
    return pd.DataFrame(rows, columns=list(COLUMNS))


def run_meant(targets: Sequence[str | Path | Run], runs: str | Path = RUNS) -> Run | None:
    """The run that is meant, or None where it is files and folders of images.

    Raises:
        RunError: a run beside other targets, or a broken one.
    """
    meant = [each for each in targets if not isinstance(each, (str, Path)) or (Path(each) / "run.json").exists()]
    if meant and len(targets) > 1:
        raise RunError(
            "a run is asked about alone", where=str(meant[0]), mend="one command a run, or its images/ folder"
        )
    if len(targets) == 1:
        (one,) = targets
        known = str(one) == "latest" or (Path(runs) / str(one) / "run.json").exists()
        if meant or (known and not Path(str(one)).exists()):
            return find_run(one, folder=runs)
    return None


def _of_run(
    run: Run, detectors: Sequence[str | Path | Detector], fpr: float | None, device: str, progress: bool | Progress
) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    from auditkit.images import open_image

    asked = load_detectors(detectors, device=device)
    for one in asked:
        one.threshold(fpr)
    ids = list(dict.fromkeys(run.images()["id"]))
    rows: list[dict[str, Any]] = []
    with progress_bar("detect", progress) as show:
        for start in range(0, len(ids), BATCH):
            some = ids[start : start + BATCH]
            images = [np.asarray(open_image(run.image_path(id))) for id in some]
            for one in asked:
                told = one.judge(images, fpr=fpr)
                rows += [_row(id, said) | {"id": id} for id, said in zip(some, told, strict=True)]
            if show is not None:
                show(start + len(some), len(ids))
    order = {id: place for place, id in enumerate(ids)}
    found = pd.DataFrame(rows)[["id", *COLUMNS[1:-1]]]
    found = found.sort_values(["detector", "id"], key=lambda each: each.map(order) if each.name == "id" else each)
    run.write_detections(found.reset_index(drop=True))
    return found.reset_index(drop=True).rename(columns={"id": "file"}).assign(error="")


def load_detectors(named: Sequence[str | Path | Detector], *, device: str = "auto") -> list[Detector]:
    """The detectors that are named, or every one that is installed and need not be named.

    Raises:
        DetectorError: there is none, two have one name, or one is missing or damaged.
    """
    from auditkit.provenance.detecting import by_name, installed
    from detectors.trained import load

    wanted = list(named) or installed()
    found = [load(each, device=device) if isinstance(each, str | Path) else each for each in wanted]
    found = found if named else [one for one in found if not by_name(one)]
    if not found:
        raise DetectorError(
            "no detector is installed, and none is named",
            where="--detector",
            mend="train one: auditkit train detector DATA --out FOLDER; then --detector path:FOLDER",
        )
    names = [each.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise DetectorError(f"two detectors are called '{name}'", where="--detector", mend="name each once")
    return found


def list_detectors() -> list[dict[str, Any]]:
    """What each installed detector is, knows and reached; one that cannot be loaded is listed with its error."""
    from auditkit.provenance.detecting import installed

    rows = []
    for name in installed():
        try:
            rows.append({"name": name, **summary(detector_card(name)), "error": ""})
        except AuditkitError as error:
            rows.append({"name": name, **summary({}), "error": error.what})
    return rows


def detector_card(name: str | Path) -> dict[str, Any]:
    """The card of a detector: how it was trained, what it reached on held-out data, its warnings.

    Args:
        name: a registered name, `path:FOLDER` or a folder.

    Raises:
        DetectorError: it is missing or damaged.
    """
    from detectors.trained import load
    from detectors.training_card import warnings

    found = load(name, device="cpu")
    return {
        **found.card, "name": found.name, "sha256": found.sha256, "knows": list(found.knows), "by_name": found.by_name,
        "thresholds": [vars(each) for each in found.thresholds], "warnings": warnings(found.card),
    }  # fmt: skip


def summary(card: Mapping[str, Any]) -> dict[str, Any]:
    """Of a card, what a list shows: family, generators known, whether it is to be named, AUROC held out, warnings."""
    tested = card.get("test", {}).get("overall", [])
    area = next((row["estimate"] for row in tested if row["metric"] == "auroc"), None)
    return {
        "family": card.get("family", {}).get("name"),
        "knows": card.get("knows", []),
        "by_name": card.get("by_name", False),
        "auroc": area,
        "fpr": [each["fpr"] for each in card.get("thresholds", [])],
        "warnings": card.get("warnings", []),
    }


def _row(name: str, said: Any) -> dict[str, Any]:
    return {"file": name, **{key: getattr(said, key) for key in COLUMNS[1:-1]}, "error": ""}


def _files(target: Path, but: Path | None) -> list[tuple[str, Path | str]]:
    """(name, path) of each file, or (name, why it is not to be opened)."""
    from auditkit.provenance.inspection import printable
    from auditkit.provenance.scanning import listed

    if not target.exists():
        raise ImageError("the file does not exist", where=target, mend="check the path")
    if not target.is_dir():
        return [(printable(target), target)]
    found = [
        (printable(target / path), problem or target / path) for path, problem in listed(target, but=but or Path(""))
    ]
    if not found:
        raise ImageError("the folder holds no file", where=target, mend="check the path")
    return found


def _batches(
    files: Sequence[tuple[str, Path | str]], bad: list[dict[str, Any]]
) -> Iterator[list[tuple[str, np.ndarray]]]:
    """Opened images, few enough at once; a file that does not open becomes a row of `bad`."""
    import numpy as np

    from auditkit.images import open_image

    batch: list[tuple[str, np.ndarray]] = []
    pixels = 0
    for name, path in files:
        try:
            if isinstance(path, str):
                raise ImageError(path)
            image = np.asarray(open_image(path))
        except ImageError as error:
            bad.append(dict.fromkeys(COLUMNS, float("nan")) | dict.fromkeys(("detector", "verdict", "why"), "")
                       | {"file": name, "error": error.what})  # fmt: skip
            continue
        size = image.shape[0] * image.shape[1]
        if batch and (len(batch) == BATCH or pixels + size > MOST_PIXELS):
            yield batch
            batch, pixels = [], 0
        batch.append((name, image))
        pixels += size
    if batch:
        yield batch


@contextlib.contextmanager
def _telling(stage: str, progress: bool | Telling) -> Iterator[Telling | None]:
    """Progress as a fraction and a line, on a bar that counts in percent."""
    if callable(progress):
        yield progress
        return
    with progress_bar(stage, progress) as show:
        yield None if show is None else lambda fraction, line: show(round(100 * fraction), 100)


def _with_pairs(
    data: Sequence[str | Path],
    autoencoders: Sequence[str],
    folder: Path,
    *,
    crop: int | None,
    crops: int,
    skip_bad: bool,
    device: str,
    progress: bool | Progress,
) -> Examples:
    """Aligned pairs of the real images of `data`, with its generated images beside them."""
    import pandas as pd

    from detectors.examples import Examples
    from detectors.pairs import make_pairs
    from detectors.reading import read_examples

    examples = read_examples(*data, skip_bad=skip_bad, both=False)
    loaded = [autoencoder(name, device=device) for name in autoencoders]
    with progress_bar("pairs", progress) as show:
        made = make_pairs(examples.where(examples.labels == 0), loaded, folder, crop=crop, crops=crops, progress=show)
    generated = examples.where(examples.labels == 1)
    return Examples(pd.concat([made.table, generated.table], ignore_index=True))
