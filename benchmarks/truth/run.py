"""The bench from corpus to table; what is finished is kept, and a stopped bench goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as arrow

from auditkit.errors import SpecError
from auditkit.files import sha256_file, write_atomic
from auditkit.schemas import read_parquet, write_parquet
from auditkit.stats.estimators import DEFAULT, ESTIMATORS, get
from benchmarks.truth.compose import Population, Setting, load_settings
from benchmarks.truth.pool import Pool, load_pool
from benchmarks.truth.simulate import simulate
from benchmarks.truth.table import draw, markdown, summarise

ROOT = Path(__file__).parents[2]
VAE = ROOT / "generators" / "bundled" / "personas" / "vae"
REPLICATES = 500

_CODE = (
    "benchmarks/truth/compose.py", "benchmarks/truth/simulate.py", "auditkit/clip/calibration.py",
    "auditkit/clip/posteriors.py", "auditkit/clip/domain.py", "auditkit/stats/confusion.py",
    "auditkit/stats/corrected.py", "auditkit/stats/design.py", "auditkit/stats/shift.py",
)  # fmt: skip
"""What an estimate hangs on beside the estimator's own module and what all share: with other code it is made again."""

Progress = Callable[[int, int], None]


def bench(
    out: str | Path = "bench/truth",
    *,
    corpus: str | Path = "corpus",
    vae: str | Path = VAE,
    encoder: str = "personas-clip",
    settings: Sequence[str] = (),
    estimators: Sequence[str] = (),
    audits: int = 400,
    seed: int = 0,
    embedding: Progress | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Simulate audits of known truth and write `truth.csv`, `truth.json`, `truth.md` and `truth.svg` into `out`.

    Args:
        out: also keeps the embedded drawings and, under `audits/`, each setting's estimates.
        corpus: as `auditkit corpus build` wrote it. vae: the autoencoder that images of the quality `soft` go through.
        settings, estimators: names; empty: all of benchmarks/truth/settings.toml, all of auditkit.stats.estimators.
        audits: simulated audits a setting, at least 2.
        embedding: called with (images embedded, in all); progress: with (audits simulated, in all).

    Returns:
        A row for each setting, attribute and estimator; see `benchmarks.truth.table.summarise`.

    Raises:
        TableError: there is no corpus; names the command that makes it. SpecError: an unknown setting or estimator.
    """
    wanted, names = chosen(settings, estimators)
    pool = load_pool(Path(corpus), Path(out), encoder=encoder, vae=Path(vae), progress=embedding)
    return run(pool, wanted, names, Path(out), audits=audits, seed=seed, progress=progress)


def chosen(settings: Sequence[str], estimators: Sequence[str]) -> tuple[list[Setting], list[str]]:
    """The settings and the names of the estimators asked for; none named: all. SpecError: there is none so named."""
    return load_settings(settings), [get(name).name for name in estimators] or list(ESTIMATORS)


def run(
    pool: Pool,
    settings: Sequence[Setting],
    estimators: Sequence[str],
    out: Path,
    *,
    audits: int,
    seed: int,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """As `bench`, of a pool."""
    if audits < 2:
        raise SpecError("Coverage needs more than one audit.", where="--audits", mend="Use 400 or more.")
    population = Population(pool)
    done, rows = 0, []
    for setting in settings:
        kept = {name: _kept(_path(out, setting, name), _key(pool, setting, name, audits, seed)) for name in estimators}
        missing = [name for name in estimators if kept[name] is None]

        def tick(before: int = done) -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(done, audits * len(settings))

        if missing:
            wanted = {name: ESTIMATORS[name] for name in missing}
            made = simulate(setting, population, wanted, audits=audits, seed=seed, replicates=REPLICATES, tick=tick)
            for name, table in made.items():
                _keep(_path(out, setting, name), table, _key(pool, setting, name, audits, seed))
            kept |= made
        else:
            done += audits
        for name in estimators:
            found = kept[name]
            assert found is not None
            rows += summarise(setting, name, found)
    table = pd.DataFrame(rows)
    _write(table, out)
    return table


def _write(table: pd.DataFrame, out: Path) -> None:
    write_atomic(out / "truth.csv", table.to_csv(index=False, float_format="%.6g").encode())
    write_atomic(out / "truth.json", (table.to_json(orient="records", indent=1, double_precision=6) + "\n").encode())
    write_atomic(out / "truth.md", markdown(table, DEFAULT).encode())
    if table["coverage"].notna().any():
        draw(table, out / "truth.svg")


def _path(out: Path, setting: Setting, estimator: str) -> Path:
    return out / "audits" / f"{setting.name}@{estimator}.parquet"


def _key(pool: Pool, setting: Setting, estimator: str, audits: int, seed: int) -> str:
    others = {name.replace("-", "_") for name in ESTIMATORS if name != estimator}
    shared = sorted((ROOT / "auditkit" / "stats" / "estimators").glob("*.py"))
    code = [ROOT / name for name in _CODE] + [path for path in shared if path.stem not in {"__init__", *others}]
    facts = {
        "setting": setting.model_dump(),
        "audits": audits,
        "seed": seed,
        "replicates": REPLICATES,
        "pool": hashlib.sha256(pool.embeddings.tobytes()).hexdigest(),
        "code": [sha256_file(path) for path in code],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _kept(path: Path, key: str) -> pd.DataFrame | None:
    """The estimates made before with the same pool, setting, number and code; None where there are none."""
    if not path.is_file():
        return None
    table = read_parquet(path)
    return table.to_pandas() if (table.schema.metadata or {}).get(b"key", b"").decode() == key else None


def _keep(path: Path, table: pd.DataFrame, key: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = arrow.Table.from_pandas(table, preserve_index=False)
    write_parquet(made.replace_schema_metadata({b"key": key.encode()}), path)
