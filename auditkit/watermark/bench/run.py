"""`run`: mark, attack, read, for every scheme, image and attack; then sum up."""

from __future__ import annotations

import hashlib
import math
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from auditkit import __version__
from auditkit.errors import WatermarkError
from auditkit.watermark import attacks as registered
from auditkit.watermark.attacks import Step
from auditkit.watermark.bench import forging, quality, summary
from auditkit.watermark.bench.content import Picture, Source, pictures
from auditkit.watermark.bench.contestants import Contestant, Foreign, Marked, Outcome, Word, word_or_foreign
from auditkit.watermark.bench.store import Done, Store, read_record
from auditkit.watermark.keys import Key

Progress = Callable[[int, int], None]
"""Called with the images done so far, counted once for each scheme, and all there are."""

UNMARKED = "unmarked"
"""The control: images that were not marked, read for a message drawn at random."""

MEASURED = ("psnr", "ssim", "gmsd", "encode_ms", "decode_ms", "search_ms")


def run(
    schemes: Iterable[Any],
    images_by_content: Mapping[str, Source],
    *,
    out: str | Path,
    attacks: Iterable[str] | None = None,
    thorough: bool = False,
    fpr: float = 1e-6,
    psnr: float = 42.0,
    key: Key | None = None,
    seed: int = 0,
    peers: Iterable[Any] = (),
    regenerate: Mapping[str, Callable[[np.ndarray], np.ndarray]] | None = None,
    regenerate_images: int | None = 9,
    marked: Iterable[Marked] = (),
    forgery: bool = True,
    progress: Progress | None = None,
    command: str | None = None,
) -> Path:
    """Mark every image with a message of its own, attack it, read it; the bench folder `out`.

    Reading searches for geometry after geometric and combined attacks, and not after others. All schemes meet the same
    attacks: what is random in one follows from the seed, the image, the attack and its strength.

    Args:
        schemes, peers: names of registered schemes, or schemes; word schemes and other tools' alike.
        images_by_content: such as {'photographs': FOLDER, 'generated': [...], 'graphics': ...}.
        attacks: names with or without strengths ('jpeg', 'crop:0.8,0.5'); None is all. See `attacks.ATTACKS`.
        thorough: more strengths where none are named.
        fpr: false positive rate at which a mark counts as found, for an image and a message known beforehand.
        psnr: quality that word schemes are asked for, dB; other tools keep their own.
        key: None is a throwaway key that follows from the seed: fit for a bench and for nothing else.
        regenerate: callables such as {'autoencoder': ..., 'diffusion:0.2': ...} from `generators.regeneration`.
        regenerate_images: how many images of each content, the first ones, are regenerated, which takes seconds each;
            None is all.
        marked: images that came marked, as the content 'generated'.
        forgery: also copy, average and repeat the marks of word schemes.
        command: what to record as the command; None is that of this process.

    Returns:
        The folder.

    Raises:
        WatermarkError: an unknown attack, a folder of another bench, or nothing to do.
        ImageError, PluginError: an image or a scheme cannot be loaded.
        RunError: the folder cannot be written.
    """
    key = key or Key.from_secret(hashlib.sha256(f"auditkit watermark bench {seed}".encode()).digest())
    steps = registered.steps(attacks, thorough=thorough)
    plain = Step(registered.ATTACKS["none"], 0.0)
    steps = [plain, *(step for step in steps if step != plain)]  # quality and times are measured there
    costly = registered.regeneration(regenerate or {})
    contestants: list[Contestant] = [word_or_foreign(one, key, psnr) for one in [*schemes, *peers]]
    for each in contestants:
        if isinstance(each, Foreign) and hasattr(each.scheme, "prepare"):
            each.scheme.prepare()  # a missing package is said before an hour's work, not after
    came = list(marked)
    found = pictures(images_by_content)
    if not (contestants and found) and not came:
        raise WatermarkError("a bench needs a scheme and an image", mend="name both")
    store = Store(out, {"seed": seed, "psnr": psnr, "keys": [key.id], "rows": 1})
    done, began = store.done(), time.perf_counter()
    skipped: Counter[tuple[str, str, str]] = Counter()
    chosen = _first(found, regenerate_images)
    total, count = len(contestants) * len(found) + sum(len(one.images) for one in came), 0
    for contestant in contestants:
        others = forging.Others(contestant, found, seed) if forgery and isinstance(contestant, Word) else None
        for picture in found:
            try:
                store.add(_rows(contestant, picture, _due(steps, costly, picture, chosen), others, seed, done))
            except WatermarkError as error:  # too small for it
                skipped[contestant.name, picture.content, error.what] += 1
            count += 1
            if progress is not None:
                progress(count, total)
    for one in came:
        for i, (image, message) in enumerate(one.images):
            more = costly if regenerate_images is None or i < regenerate_images else []
            store.add(_marked_rows(one, image, message, [*steps, *more], seed, done))
            count += 1
            if progress is not None:
                progress(count, total)
    rows = store.rows()
    if rows.empty:
        why = next(iter(skipped))[2] if skipped else "no image"
        raise WatermarkError(f"no scheme could mark any image: {why}", where=out, mend="use larger images")
    newest = rows.groupby("scheme")["version"].transform("max")
    rows = rows[rows["version"] == newest]
    store.write_table("results.parquet", summary.results(rows, fpr))
    store.write_table("quality.parquet", summary.quality(rows))
    seconds = time.perf_counter() - began
    store.finish(_record(store, contestants, came, found, [*steps, *costly], fpr, skipped, seconds, command))
    return Path(out)


def _first(found: Sequence[Picture], n: int | None) -> set[tuple[str, str]]:
    """Content and hash of the first `n` images of each content."""
    by_content: dict[str, list[str]] = {}
    for picture in found:
        by_content.setdefault(picture.content, []).append(picture.hash)
    return {(content, hash) for content, hashes in by_content.items() for hash in hashes[:n]}


def _due(steps: Sequence[Step], costly: Sequence[Step], picture: Picture, chosen: set[tuple[str, str]]) -> list[Step]:
    return [*steps, *(costly if (picture.content, picture.hash) in chosen else ())]


def _rows(
    contestant: Contestant,
    picture: Picture,
    steps: Sequence[Step],
    others: forging.Others | None,
    seed: int,
    done: Done,
) -> list[dict[str, Any]]:
    """What is not done yet for one scheme and image."""
    key = (contestant.name, contestant.version, picture.content, picture.hash)
    due = [step for step in steps if (*key, step.attack.name, step.strength) not in done]
    forgeries = [one for one in forging.KINDS if others is not None and (*key, one, 1.0) not in done]
    if not due and not forgeries:
        return []
    message = contestant.message(_rng(seed, picture.hash, "message"))
    began = time.perf_counter()
    image = contestant.embed(picture.pixels, message)
    encode_ms = 1000 * (time.perf_counter() - began)
    out = []
    for step in due:
        plain = step.attack.name == "none"
        attacked = step.attack(image, step.strength, _rng(seed, picture.hash, step.attack.name, step.strength))
        search = step.attack.group in ("geometric", "combined")
        outcome = contestant.read(attacked, message, search=search)
        row = _row(key, step.attack.name, step.strength, step.label, step.attack.group, outcome, search)
        row["attack_psnr"] = _attack_psnr(image, attacked, step)
        if plain:
            ours = isinstance(contestant, Word)
            control = contestant.read(picture.pixels, message, search=ours)
            out.append(_row(key, UNMARKED, 0.0, "Not marked (control)", "none", control, ours))
            row |= {name: getattr(quality, name)(picture.pixels, image) for name in ("psnr", "ssim", "gmsd")}
            # Searching ends early where a mark is found: its whole cost is that of an image without one.
            row |= {"encode_ms": encode_ms, "decode_ms": outcome.ms, "search_ms": control.ms if ours else math.nan}
        out.append(row)
    if others is not None:
        for kind in forgeries:
            if (forged := others.forge(kind, picture, image, message)) is not None:
                outcome, suspect = others.judge(forged, message)
                row = _row(key, kind, 1.0, forging.KINDS[kind], "forgery", outcome, False)
                out.append(row | {"suspect": float(suspect)})
    return out


def _marked_rows(
    one: Marked, image: Any, message: Any, steps: Sequence[Step], seed: int, done: Done
) -> list[dict[str, Any]]:
    picture = pictures({"generated": [image]})[0]
    key = (one.name, one.version, picture.content, picture.hash)
    out = []
    for step in steps:
        if (*key, step.attack.name, step.strength) in done:
            continue
        attacked = step.attack(picture.pixels, step.strength, _rng(seed, picture.hash, step.attack.name, step.strength))
        outcome = one.read_evidence(attacked, message)
        row = _row(key, step.attack.name, step.strength, step.label, step.attack.group, outcome, True)
        row["attack_psnr"] = _attack_psnr(picture.pixels, attacked, step)
        if step.attack.name == "none":
            row["decode_ms"] = outcome.ms
        out.append(row)
    return out


def _row(
    key: tuple[str, int, str, str], attack: str, strength: float, title: str, group: str, found: Outcome, search: bool
) -> dict[str, Any]:
    return {
        **dict(zip(("scheme", "version", "content", "image"), key, strict=True)),
        "attack": attack,
        "strength": float(strength),
        "title": title,
        "group": group,
        "search": search,
        "p_value": float(found.p_value),
        "matched": found.matched,
        "bits": found.bits,
        "whole": bool(found.whole),
        "suspect": math.nan,
        "read_ms": found.ms,
        "attack_psnr": math.nan,
        "note": found.note,
        **dict.fromkeys(MEASURED, math.nan),
    }


def _attack_psnr(image: np.ndarray, attacked: np.ndarray, step: Step) -> float:
    in_place = step.attack.group in ("valuemetric", "regeneration") and image.shape == attacked.shape
    return quality.psnr(image, attacked) if in_place else math.nan


def _rng(seed: int, *parts: Any) -> np.random.Generator:
    """The same numbers for the same parts, whatever else is done and in whatever order."""
    digest = hashlib.sha256("\0".join([str(seed), *map(str, parts)]).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))


def _record(
    store: Store,
    contestants: Sequence[Contestant],
    came: Sequence[Marked],
    found: Sequence[Picture],
    steps: Sequence[Step],
    fpr: float,
    skipped: Mapping[tuple[str, str, str], int],
    seconds: float,
    command: str | None,
) -> dict[str, Any]:
    """record.json; what an earlier call of the same bench did is kept."""
    before = read_record(store.folder)  # anew: another process may have done other schemes meanwhile
    images: dict[str, list[dict[str, Any]]] = {k: list(v) for k, v in before.get("images", {}).items()}
    for picture in found:
        known = images.setdefault(picture.content, [])
        if picture.hash not in [one["sha256"] for one in known]:
            known.append(picture.record())
    schemes = {one["name"]: one for one in before.get("schemes", [])}
    taking_part: list[Contestant | Marked] = [*contestants, *came]
    for one in taking_part:
        package = one.scheme.package if isinstance(one, Foreign) else ""
        schemes[one.name] = {
            "name": one.name, "title": one.title or one.name, "version": one.version, "family": one.family,
            "bits": one.bits, "package": package,
        }  # fmt: skip
    listed = {(one["attack"], one["strength"]): one for one in before.get("attacks", [])}
    for step in steps:
        listed[step.attack.name, step.strength] = {
            "attack": step.attack.name, "strength": step.strength, "title": step.label, "group": step.attack.group,
        }  # fmt: skip
    name = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return {
        "commands": [*before.get("commands", []), name if command is None else command],
        "versions": _versions([one["package"] for one in schemes.values()]),
        "fpr": fpr,
        "images": images,
        "schemes": list(schemes.values()),
        "attacks": list(listed.values()),
        "skipped": [
            {"scheme": scheme, "content": content, "why": why, "n": n} for (scheme, content, why), n in skipped.items()
        ],
        "threads": os.environ.get("OMP_NUM_THREADS") or f"{os.cpu_count()} (as many as there are cores)",
        "cores": os.cpu_count(),
        "seconds": round(before.get("seconds", 0.0) + seconds, 1),
    }


def _versions(packages: Iterable[str]) -> dict[str, str]:
    out = {"auditkit": __version__, "python": sys.version.split()[0]}
    for package in ("numpy", "scipy", "pillow", "scikit-image", *packages):
        if package and package not in out:
            try:
                out[package] = metadata.version(package)
            except metadata.PackageNotFoundError:
                continue
    return out
