"""The Python verb of attacks on detectors; `auditkit detector attack` mirrors it.

import auditkit as ak
ak.attack_detector("data/", detector="path:detectors/mine", out="attacked").attacks
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.autoencoders import launderers
from app.output import Progress, jsonable, progress_bar
from auditkit.errors import DetectorError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from PIL import Image

    from detectors.attacks.suite import Attack, Attacked
    from detectors.examples import Examples
    from detectors.trained import Detector

EPS = {"linf": 2 / 255, "l2": 0.5}
"""Budgets where none is named."""
MOST = {"linf": 16 / 255, "l2": 5.0}
"""Largest budgets of the cost of evasion."""
SHOWN, CELL, LABEL = 8, 128, 230


@dataclass(frozen=True)
class AttackReport:
    """What was found, and where it lies.

    Attributes:
        out: the folder: attacks.csv, evasion.csv, evasion_images.csv, false_accusations.csv, report.json, sheet.png.
        attacks: a row an attack and direction, see `detectors.attacks.suite.Attacked`.
        evasion: the cost of evasion and of framing: a row a direction and measure, see
            `detectors.attacks.evasion.Cost`; empty for a detector without gradients, or where it was not asked for.
        false_accusations: a row a model that the real images were laundered through.
    """

    out: Path
    detector: str
    threshold: float
    fpr: float
    attacks: pd.DataFrame
    evasion: pd.DataFrame
    false_accusations: pd.DataFrame
    sheet: Path


def attack_detector(
    *data: str | Path,
    detector: str | Path | Detector,
    out: str | Path,
    attacks: Sequence[str] = ("pgd",),
    eps: float | Sequence[float] | None = None,
    norm: str = "linf",
    steps: int = 40,
    restarts: int = 1,
    queries: int = 1000,
    laundering: Sequence[str] | None = None,
    regenerate: str | None = None,
    autoencoders: Sequence[str] = ("personas",),
    directions: Sequence[str] = ("evasion", "framing"),
    cost: bool = True,
    images: int = 100,
    fpr: float | None = None,
    keep: bool = False,
    seed: int = 0,
    device: str = "auto",
    progress: bool | Progress = False,
) -> AttackReport:
    """Attack a detector in both directions: generated images that pass, real ones that are called generated.

    Args:
        data: held-out folders (real/<origin>/, generated/<generator>/), tables or runs.
        detector: a registered name, `path:FOLDER`, or a loaded one.
        out: the folder to write, new or empty.
        attacks: pgd, apgd, autoattack, square.
        eps: one budget or several, of values in [0, 1]; 2/255 for linf, .5 for l2 by default.
        norm: linf or l2. steps, restarts, queries: of the attacks.
        laundering: jpeg:75, resize:0.5, screenshot and so on; () for none, None for the usual ones.
        regenerate: a latent diffusion generator to make images again with, by its autoencoder and its diffusion.
        autoencoders: that real images are laundered through for the false-accusation rate: generators, or folders of an
            autoencoder.
        directions: evasion, framing.
        cost: also bisect the budget at which half of the images are fooled.
        images: of each class at most, spread over sources.
        fpr: of the frozen threshold, where the detector has several.
        keep: also write the attacked images, as PNG.

    Raises:
        DetectorError, GeneratorError, ImageError, PluginError, RunError.

    Example:
        attack_detector("data/", detector="path:detectors/mine", out="attacked", eps=2 / 255).attacks
    """
    import numpy as np
    import pandas as pd

    from detectors.attacks.evasion import cost_of_evasion
    from detectors.attacks.laundering import USUAL
    from detectors.attacks.laundering import laundering as launderings
    from detectors.attacks.regeneration import false_accusations
    from detectors.attacks.suite import Digital, Remade, attack
    from detectors.base import Differentiable
    from detectors.reading import read_examples
    from detectors.trained import Detector, check_new, load, pick_device

    folder = check_new(out)
    unknown = sorted(set(directions) - {"evasion", "framing"})
    if unknown or not directions:
        raise DetectorError("an attack is an evasion or a framing", where=f"directions={', '.join(unknown) or 'none'}")
    if norm not in EPS:
        raise DetectorError("budgets are measured in linf or l2", where=f"norm={norm}", mend="use linf or l2")
    if images < 1:
        raise DetectorError("at least one image of a class is attacked", where=f"images={images}")
    budgets = [EPS[norm]] if eps is None else [float(eps)] if isinstance(eps, (int, float)) else [*map(float, eps)]
    chosen: list[Attack] = [
        Digital(method, eps=size, norm=norm, steps=steps, restarts=restarts, queries=queries)  # type: ignore[arg-type]
        for method in attacks
        for size in budgets
    ]
    chosen += launderings(USUAL if laundering is None else laundering)
    asked = detector if isinstance(detector, Detector) else load(detector, device=device)
    threshold = asked.threshold(fpr)
    device = pick_device(device)
    score = asked.family.logits if isinstance(asked.family, Differentiable) else None
    if score is None and any(isinstance(one, Digital) and one.method != "square" for one in chosen):
        raise DetectorError(
            f"gradients do not go through the family '{asked.family.name}'", where=asked.name,
            mend="use --attack square, which needs scores alone",
        )  # fmt: skip
    examples = some_of(read_examples(*data, both=False), images, seed=seed)
    labels, sources, pixels = examples.labels, examples.sources, list(examples.images())
    if regenerate:
        chosen += [Remade(f"{regenerate} {name}", made) for name, made in _regenerations(regenerate, device).items()]
    models = launderers(autoencoders, device=device)
    common: dict[str, Any] = {"threshold": threshold.score, "seed": seed, "device": device}
    with progress_bar("attack", progress) as show:
        found = attack(
            chosen, pixels, labels, sources, scores=asked.scores, score=score, directions=directions,  # type: ignore[arg-type]
            progress=show, **common,
        )  # fmt: skip
    costs, each = [], []
    for direction in directions if cost and score is not None else ():
        rows = np.flatnonzero(labels == (direction == "evasion"))
        if not len(rows):
            continue
        with progress_bar(direction, progress) as show:
            spent = cost_of_evasion(
                score, [pixels[row] for row in rows], sources[rows], direction=direction, norm=norm,  # type: ignore[arg-type]
                most=MOST[norm], progress=show, **common,
            )  # fmt: skip
        more = {"direction": direction, "norm": norm, "most": spent.most}
        costs += [{**more, **vars(one), "wrong_already": spent.wrong_already} for one in spent.costs]
        each.append(spent.images.assign(direction=direction, file=examples.table["file"].to_numpy()[rows]))
    real = np.flatnonzero(labels == 0)
    accused = []
    for name, model in models.items() if len(real) else ():
        accused.append(
            false_accusations(
                asked.scores, [pixels[row] for row in real], sources[real], model, threshold=threshold.score, model=name
            )
        )
    report = AttackReport(
        out=folder,
        detector=asked.name,
        threshold=threshold.score,
        fpr=threshold.fpr,
        attacks=pd.DataFrame([one.row() for one in found]),
        evasion=pd.DataFrame(costs),
        false_accusations=pd.DataFrame([vars(one) for one in accused]),
        sheet=folder / "sheet.png",
    )
    _write(report, found, pixels, pd.concat(each, ignore_index=True) if each else pd.DataFrame(), keep)
    return report


def some_of(examples: Examples, most: int, *, seed: int) -> Examples:
    """At most `most` images of each class: one of every source first, then second ones; in the order of the table."""
    import numpy as np
    import pandas as pd

    shuffled = np.random.default_rng(seed).permutation(len(examples))
    table = pd.DataFrame({"label": examples.labels, "source": examples.sources}).iloc[shuffled]
    turn = table.groupby(["label", "source"], sort=False).cumcount().to_numpy()
    table = table.iloc[np.argsort(turn, kind="stable")]
    kept = np.zeros(len(examples), bool)
    kept[table.groupby("label", sort=False).head(most).index.to_numpy()] = True
    return examples.where(kept)


def _regenerations(generator: str, device: str) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    from generators.load import load_generator
    from generators.regeneration import regenerations

    return regenerations(load_generator(generator, device=device))


def _write(
    report: AttackReport, found: Sequence[Attacked], pixels: list[np.ndarray], each: pd.DataFrame, keep: bool
) -> None:
    from PIL import Image

    from auditkit.files import slug, write_atomic, write_json
    from auditkit.images import encode_png

    tables = {
        "attacks": report.attacks, "evasion": report.evasion, "evasion_images": each,
        "false_accusations": report.false_accusations,
    }  # fmt: skip
    if keep:
        for one in found:
            place = report.out / "images" / slug(f"{one.attack} {one.budget} {one.direction}")
            for row, image in zip(one.rows, one.images, strict=True):
                write_atomic(place / f"{row:05d}.png", encode_png(Image.fromarray(image)), sync=False)
    write_atomic(report.sheet, encode_png(sheet(found, pixels)))
    for name, table in tables.items():
        if len(table.columns):
            write_atomic(report.out / f"{name}.csv", table.to_csv(index=False).encode())
    write_json(report.out / "report.json", jsonable(as_data(report)))


def as_data(report: AttackReport) -> dict[str, Any]:
    """Plain data, for --json."""
    return {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}


def sheet(found: Sequence[Attacked], pixels: Sequence[np.ndarray], *, columns: int = SHOWN) -> Image.Image:
    """Attacked images, a row an attack and direction, RGB: as saved above, eight times their change below.

    Of an attack that changes sizes the change is left grey.
    """
    import numpy as np
    from PIL import Image, ImageDraw

    page = Image.new("RGB", (LABEL + columns * CELL, max(1, len(found)) * 2 * CELL), "white")
    draw = ImageDraw.Draw(page)
    for line, one in enumerate(found):
        top = 2 * line * CELL
        text = "\n".join([one.attack, one.budget, one.direction])
        draw.multiline_text((8, top + 8), text, fill="black", font_size=13)
        draw.text((8, top + CELL + 8), "change x 8", fill="black", font_size=13)
        for column, (row, image) in enumerate(list(zip(one.rows, one.images, strict=True))[:columns]):
            before = pixels[row]
            change = np.full(image.shape, 128, np.uint8)
            if before.shape == image.shape:
                difference = image.astype(np.int32) - before
                change = np.clip(128 + 8 * difference, 0, 255).astype(np.uint8)
            for below, picture in enumerate((image, change)):
                cell = Image.fromarray(picture)
                cell.thumbnail((CELL - 4, CELL - 4))
                page.paste(cell, (LABEL + column * CELL + 2, top + below * CELL + 2))
    return page
