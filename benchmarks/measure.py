"""Seconds and memory of measuring a scored run of 1e3, 1e4 and 1e5 images, every measure, 2,000 replicates.

    python -m benchmarks.measure --sizes 1000 10000 100000 --out measure-bench

The run is synthetic: tables of scores and embeddings without images, 20 occupations, at most 100 images a prompt. Each
size is measured in a process of its own, so that its peak memory is its own; each measure is timed alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from auditkit.clip.attributes import attribute
from auditkit.clip.folder import find_folder, weights_sha256
from auditkit.files import write_json
from auditkit.runs import Run, open_run
from auditkit.runs.record import make_record
from auditkit.schemas import IMAGES, write_table
from auditkit.spec import load_spec

ENCODER = "personas-clip"
ATTRIBUTES = ("gender", "skin_tone", "occupation", "age", "disability")
PER_PROMPT = 100


def synthetic_run(folder: Path, n: int, *, seed: int = 0) -> Run:
    """A run of n images as scoring leaves it, without the images themselves."""
    rng = np.random.default_rng(seed)
    spec = load_spec("occupations")
    jobs = spec.axes["occupation"]
    per_prompt = min(PER_PROMPT, max(n // (len(jobs) * len(spec.templates)), 1))
    n_prompts = n // per_prompt
    prompt = np.repeat(np.arange(n_prompts), per_prompt)
    job = np.array(jobs)[prompt % len(jobs)]
    ids = [hashlib.sha256(f"{seed} {i}".encode()).hexdigest() for i in range(n)]
    path = folder / f"synthetic-{n}"
    path.mkdir(parents=True, exist_ok=True)
    generator = {"name": "synthetic", "kind": "benchmark", "resolution": 128}
    write_json(path / "run.json", make_record(path.name, {"passed": {}, "resolved": spec.model_dump()}, generator))
    images = pd.DataFrame({"id": ids, "path": [f"images/{id[:2]}/{id}.png" for id in ids]})
    images = images.assign(
        prompt_id=prompt, prompt=[f"a portrait of a {j}, version {p}" for j, p in zip(job, prompt, strict=True)],
        template=np.array(spec.templates)[(prompt // len(jobs)) % len(spec.templates)],
        replicate=np.arange(n) % per_prompt, seed=np.arange(n), sampler="none", steps=1, guidance=1.0, width=128,
        height=128, shard=0, ms=1.0, axis_occupation=job,
    )  # fmt: skip
    write_table(images, path / "images.parquet", IMAGES)
    run = open_run(path)
    shift = rng.dirichlet(np.ones(5), size=len(jobs))
    for name in ATTRIBUTES:
        classes = list(attribute(name).classes)
        share = np.resize(shift, (len(jobs), len(classes))) + 0.05
        truth = np.array([rng.choice(len(classes), p=share[j] / share[j].sum()) for j in range(len(jobs))])[prompt % 20]
        redrawn = rng.random(n) < 0.8
        truth = np.where(redrawn, rng.integers(len(classes), size=n), truth)
        run.write_scores(_scores(ids, truth, classes, name, rng))
    if "skin_pixels" in _scorers():
        tones = rng.integers(10, size=n)
        pixels = _scores(ids, tones, [f"monk-{i:02d}" for i in range(1, 11)], "skin_pixels", rng)
        values = {"v_ita": 60 - 10.0 * tones, "v_lightness": 90 - 7.0 * tones, "v_fraction": 0.3, "v_delta_e": 2.0}
        run.write_scores(pixels.assign(encoder="pixels", in_domain=pd.NA, **values))
    centres = rng.normal(size=(len(jobs), 256)) * 0.1
    embeddings = centres[prompt % len(jobs)] + rng.normal(size=(n, 256)) * 0.06
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    folder_of_encoder = find_folder(ENCODER)
    assert folder_of_encoder is not None
    run.write_embeddings(ENCODER, ids, embeddings, fingerprint=weights_sha256(folder_of_encoder))
    return run


def _scorers() -> list[str]:
    from auditkit import registry

    return registry.names("scorers")


def _scores(
    ids: list[str], truth: np.ndarray, classes: list[str], scorer: str, rng: np.random.Generator
) -> pd.DataFrame:
    n, k = len(ids), len(classes)
    seen = np.where(rng.random(n) < 0.95, truth, rng.integers(k, size=n))
    sure = rng.uniform(0.6, 1.0, n)
    label = np.where(sure >= 0.65, np.array(classes, object)[seen], "unknown")
    p = np.repeat(((1 - sure) / max(k - 1, 1))[:, None], k, axis=1)
    p[np.arange(n), seen] = sure
    table = pd.DataFrame({"id": ids, "scorer": scorer, "scorer_version": 1, "encoder": ENCODER, "label": label})
    table = table.assign(confidence=sure, in_domain=pd.array(np.ones(n, bool), dtype="boolean"), domain_distance=0.1)
    posterior = pd.DataFrame(p / p.sum(axis=1, keepdims=True), columns=[f"p_{c}" for c in classes])
    return pd.concat([table, posterior], axis=1)


def measured(path: Path, replicates: int) -> dict[str, float]:
    """Seconds of each measure that applies, and of all; peak memory of this process in MB."""
    from app import api
    from auditkit import registry
    from auditkit.bias.base import Options

    run = open_run(path)
    options = Options(by="occupation", n_boot=replicates)
    out: dict[str, float] = {}
    for name in registry.names("measures"):
        if registry.load("measures", name).applies(run, options):
            continue
        start = time.perf_counter()
        api.measure(run, measures=[name], replicates=replicates)
        out[name] = time.perf_counter() - start
    return out | {"all": sum(out.values()), "MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("measure-bench"))
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measured(asked.one, asked.replicates)))
        return
    found = {}
    for n in asked.sizes:
        run = synthetic_run(asked.out, n)
        command = [sys.executable, "-m", "benchmarks.measure", "--one", run.path, "--replicates", str(asked.replicates)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found[n] = json.loads(answer.splitlines()[-1])
    table = pd.DataFrame(found).round(2)
    if len(asked.sizes) > 1:
        first, last = asked.sizes[0], asked.sizes[-1]
        # The exponent of cost over size: 1 is linear.
        table["exponent"] = (np.log(table[last] / table[first]) / np.log(last / first)).round(2)
    print(table.to_string())


if __name__ == "__main__":
    main()
