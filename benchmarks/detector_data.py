"""The data that the bundled detectors are trained and tested on.

python -m benchmarks.detector_data personas OUT --corpus corpus --images 2
    OUT/drawings/real/<style>/      drawings of people at work on plain papers, two papers each
    OUT/unseen/real/openmoji/       the same of a style that no bundled model was trained on
    OUT/reconstructed/              the drawings through the autoencoders of the family, aligned
    OUT/runs/                       a run of each bundled generator, neutral prompts
python -m benchmarks.detector_data photographs OUT --photographs photographs --autoencoder FOLDER ...
    OUT/train/, OUT/test/           crops of photographs and their reconstructions, encoded alike; those to train on
                                    at several scales, so that fine and coarse detail are both in them
    OUT/graphics/                   crops of wallpaper graphics, real, to set the threshold on too
python -m benchmarks.detector_data held-out OUT.csv DATA/drawings DATA/runs/*
    the part of these that `auditkit train detector ... --duplicates ignore` leaves for its test, as a table
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path

import pandas as pd
from PIL import Image

from app import api, detector_data
from benchmarks.photographs import LISTED, name_of
from generators import corpus
from generators.bundled import FOLDER
from generators.training import pixels

AUTOENCODERS = ("personas", "personas-dit")
ORIGIN = {"drawings": "drawings", "unseen": "openmoji"}
SCALES = (1.0, 0.7, 0.5, 0.35)
"""Of the photographs to train on, before they are cut and reconstructed; those to test on stay as they are."""
PACKAGES = {
    "backgrounds/mate": "mate-backgrounds", "backgrounds": "lomiri-wallpapers", "lxqt": "lxqt-themes",
    "wallpapers": "plasma-workspace-wallpapers",
}  # fmt: skip
GENERATORS = ("personas", "personas-balanced", "personas-dit", "personas-turbo", "personas-pixel")


def drawings(out: Path, table_of: Path, *, papers: int = 2, seed: int = 0) -> None:
    """Write every drawing of a woman or a man at work; the source is the drawing, whatever the paper."""
    import torch

    table = corpus.read(table_of)
    table = table[(table["occupation"] != "") & (table["gender"] != "neutral")].reset_index(drop=True)
    random = torch.Generator().manual_seed(seed)
    rows: dict[str, list[str]] = {"drawings": [], "unseen": []}
    for paper in range(papers):
        images = pixels.on_paper(pixels.load(table, "cpu"), 128, random)
        levels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
        for record, image in zip(table.to_dict("records"), levels, strict=True):
            part = "unseen" if record["split"] == "unseen" else "drawings"
            name = f"real/{record['style']}/{record['name']}-{paper}.png"
            (out / part / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(out / part / name)
            rows[part].append(f"{name},real,{record['style']}/{record['name']},{ORIGIN[part]}")
    for part, lines in rows.items():
        (out / part / "table.csv").write_text("\n".join(["file,label,source,origin", *lines]) + "\n")


def personas(out: Path, table_of: Path, images: int) -> None:
    """Drawings, their reconstructions, and a run of each generator."""
    drawings(out, table_of)
    for generator in GENERATORS:
        api.generate("occupations", generator=generator, images_per_prompt=images, out=out / "runs", progress=True)
    for name in AUTOENCODERS:
        through(out, name)


def through(out: Path, name: str) -> None:
    """The drawings through an autoencoder, each with its drawing's source."""
    import numpy as np

    from detectors.autoencoders import load_autoencoder
    from detectors.examples import Examples
    from detectors.reading import read_examples

    autoencoder = load_autoencoder(str(FOLDER / name / "vae"))
    examples: Examples = read_examples(out / "drawings", both=False)
    folder = out / "reconstructed" / f"{name}-autoencoder"
    lines = ["file,label,source,origin,generator,made"]
    for record, image in zip(examples.table.to_dict("records"), examples.images(), strict=True):
        path = Path(record["file"])
        target = f"generated/{path.parent.name}-{path.name}"
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(autoencoder.reconstruct(image))).save(folder / target)
        lines.append(f"{target},generated,{record['source']},{record['origin']},{name}-autoencoder,reconstruction")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")


def photographs(out: Path, folder: Path, autoencoders: list[str], *, side: int, crops: int, test_crops: int) -> None:
    """Aligned pairs of the photographs of `folder`/train, at each scale, and of `folder`/test."""
    for part, scales, count in (("train", SCALES, crops), ("test", (1.0,), test_crops)):
        scaled(folder / part, out / f"{part}-photographs", scales)
        detector_data.make_detector_pairs(
            out / f"{part}-photographs", autoencoders, out / part, crop=side, crops=count, progress=True
        )
    halves(out / "test")
    graphics(folder.parent / "graphics" / "train", out / "graphics", side=side, crops=test_crops)


def graphics(folder: Path, out: Path, *, side: int, crops: int, seed: int = 0) -> None:
    """Crops of wallpaper graphics at each scale, real: what a detector of photographs must not accuse, to set its
    threshold on beside the development photographs."""
    import numpy as np

    rng, lines = np.random.default_rng(seed), ["file,label,source,origin"]
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        for scale in SCALES:
            size = (round(image.width * scale), round(image.height * scale))
            small = image if scale == 1 else image.resize(size, Image.Resampling.LANCZOS)
            for number in range(crops):
                left, top = (int(rng.integers(0, (length - side) // 8 + 1)) * 8 for length in size)
                file = f"real/graphics/{path.stem}-{scale:g}-{number}.png"
                (out / file).parent.mkdir(parents=True, exist_ok=True)
                small.crop((left, top, left + side, top + side)).save(out / file)
                lines.append(f"{file},real,{path.stem},graphics")
    (out / "table.csv").write_text("\n".join(lines) + "\n")


def scaled(folder: Path, out: Path, scales: tuple[float, ...]) -> None:
    """Photographs at each of the scales, in a folder with a table: the source is the photograph, the origin its Debian
    package."""
    origins = packages()
    lines = ["file,label,source,origin"]
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        for scale in scales:
            size = (round(image.width * scale), round(image.height * scale))
            file = f"{scale:g}/{path.name}"
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            if not (out / file).exists():
                (image if scale == 1 else image.resize(size, Image.Resampling.LANCZOS)).save(out / file)
            lines.append(f"{file},real,{path.stem},{origins[path.stem]}")
    (out / "table.csv").write_text("\n".join(lines) + "\n")


def packages() -> dict[str, str]:
    """The Debian package of each photograph, by the name that its file here has."""
    found = {}
    for file in (file for part in tomllib.loads(LISTED.read_text("utf-8"))["photographs"].values() for file in part):
        prefix = next(each for each in PACKAGES if file.startswith(f"{each}/"))
        found[name_of(file)] = PACKAGES[prefix]
    return found


def halves(folder: Path) -> None:
    """Two tables of the test photographs: one to set a threshold on, one to report on."""
    table = pd.read_csv(folder / "table.csv", dtype=str, keep_default_na=False)
    sources = sorted(set(table["source"]))
    for name, chosen in (("development", sources[::2]), ("held-out", sources[1::2])):
        table[table["source"].isin(chosen)].to_csv(folder / f"{name}.csv", index=False)


def held_out(out: Path, data: list[Path], *, seed: int = 0) -> None:
    """The test part of the split that training draws, to attack and to launder what a detector did not learn from."""
    from detectors.reading import read_examples
    from detectors.splits import split

    examples = read_examples(*data)
    part = split(examples, seed=seed, duplicates="ignore")["test"]
    table = examples.table[part]
    out.parent.mkdir(parents=True, exist_ok=True)
    table.assign(file=[Path(file).resolve() for file in table["file"]]).to_csv(out, index=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["personas", "photographs", "held-out"])
    parser.add_argument("out", type=Path)
    parser.add_argument("data", type=Path, nargs="*", help="of held-out: what was trained on")
    parser.add_argument("--corpus", type=Path, default=Path("corpus"))
    parser.add_argument("--images", type=int, default=2, help="images a prompt")
    parser.add_argument("--photographs", type=Path, default=Path("photographs/photographs"))
    parser.add_argument("--autoencoder", action="append", default=[])
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--crops", type=int, default=5, help="of each photograph to train on, at each scale")
    parser.add_argument("--test-crops", type=int, default=4)
    given = parser.parse_args()
    if given.what == "personas":
        personas(given.out, given.corpus, given.images)
    elif given.what == "held-out":
        held_out(given.out, given.data)
    else:
        photographs(
            given.out, given.photographs, given.autoencoder, side=given.side, crops=given.crops,
            test_crops=given.test_crops,
        )  # fmt: skip


if __name__ == "__main__":
    main()
