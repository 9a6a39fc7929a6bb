"""A run that is interrupted, in every way we can think of, goes on with nothing lost or doubled."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from auditkit.errors import RunError
from auditkit.runs import Run, RunWriter, create
from auditkit.spec import RunSpec
from tests.conftest import TINY_GENERATOR, write_pending

CHILD = """
import os, signal, sys
from auditkit.runs import create
from auditkit.spec import RunSpec
from tests.conftest import TINY_GENERATOR, write_pending

renames, real = 0, os.replace

def replace(*paths):  # the temporary file is written, and not yet in its place
    global renames
    renames += 1
    if renames == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    real(*paths)

os.replace = replace
writer = create(sys.argv[1], RunSpec.from_toml(sys.argv[2]), TINY_GENERATOR, shard_size=6)
write_pending(writer)
writer.finish()
"""

SPEC = """
name = "tiny"
generator = "plain"
templates = ["a portrait of {a occupation}", "{a occupation} at work"]
axes.occupation = ["artist", "judge", "pilot", "teacher"]
images_per_prompt = 3
by = "occupation"
"""


def child(tmp_path: Path, kill_at: int) -> subprocess.Popen[str]:
    (tmp_path / "spec.toml").write_text(SPEC)
    arguments = [str(tmp_path / "runs"), str(tmp_path / "spec.toml"), str(kill_at)]
    root = Path(__file__).parent.parent
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def uninterrupted(tmp_path: Path, spec: RunSpec) -> Run:
    with create(tmp_path / "whole", spec, TINY_GENERATOR, shard_size=6) as writer:
        write_pending(writer)
        return writer.finish()


def files(run: Run) -> set[str]:
    return {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("kill_at", "moment"),
    [
        (1, "run.json"),
        (4, "an image of the first shard"),
        (8, "the table of the first shard"),
        (12, "an image of the second shard"),
        (30, "run.json at the end"),
        (31, "images.parquet"),
    ],
)
def test_a_run_killed_at_any_moment_resumes(
    tmp_path: Path, tiny_spec: RunSpec, tiny_writer: Callable[[], RunWriter], kill_at: int, moment: str
) -> None:
    process = child(tmp_path, kill_at)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, moment

    with tiny_writer() as writer:
        assert len(writer.pending()) == 4 - (kill_at > 8) - 3 * (kill_at > 29)
        write_pending(writer)
        run = writer.finish()

    whole = uninterrupted(tmp_path, tiny_spec)
    assert run.id == whole.id
    pd.testing.assert_frame_equal(run.images(), whole.images())
    assert files(run) == files(whole)


def test_a_full_disk_names_the_shard_and_leaves_the_run_resumable(
    tiny_writer: Callable[[], RunWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = 0
    real = os.replace

    def replace(*paths: str) -> None:
        nonlocal writes
        writes += 1
        if writes > 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(*paths)

    with tiny_writer() as writer:
        monkeypatch.setattr(os, "replace", replace)
        with pytest.raises(RunError) as caught:
            write_pending(writer)
        monkeypatch.undo()
    assert "shard 1 of 4 could not be written: there is no space left on the disk" in caught.value.what
    assert caught.value.mend is not None
    assert "resumes" in caught.value.mend
    assert not list(writer.run.path.rglob("*.tmp"))

    with tiny_writer() as writer:
        assert [shard.index for shard in writer.pending()] == [1, 2, 3]
        write_pending(writer)
        assert len(writer.finish().images()) == 24


def test_a_run_that_is_complete_has_nothing_pending(
    tiny_run: Run, tiny_writer: Callable[[], RunWriter]
) -> None:
    before = (tiny_run.path / "images.parquet").stat().st_mtime_ns
    with tiny_writer() as writer:
        assert writer.pending() == []
        assert writer.finish().id == tiny_run.id
    assert (tiny_run.path / "images.parquet").stat().st_mtime_ns == before


def test_resume_false_refuses_a_run_that_exists(tmp_path: Path, tiny_run: Run, tiny_spec: RunSpec) -> None:
    with pytest.raises(RunError, match="exists already"):
        create(tmp_path / "runs", tiny_spec, TINY_GENERATOR, resume=False)


def test_a_run_with_shards_missing_cannot_be_finished(tiny_writer: Callable[[], RunWriter]) -> None:
    with tiny_writer() as writer:
        write_pending(writer, shards=3)
        with pytest.raises(RunError, match="1 of 4 shards are still to be made"):
            writer.finish()


def test_a_damaged_shard_is_named_with_the_way_to_mend_it(tiny_writer: Callable[[], RunWriter]) -> None:
    with tiny_writer() as writer:
        write_pending(writer)
        shard = writer.run.path / "shards" / "00002.parquet"
        shard.write_bytes(b"nonsense")
        with pytest.raises(RunError, match=r"shard 2 is damaged[\s\S]*delete that file"):
            writer.finish()
        shard.unlink()
        write_pending(writer)
        assert len(writer.finish().images()) == 24


def test_a_shard_whose_table_does_not_hold_is_named(tiny_writer: Callable[[], RunWriter]) -> None:
    with tiny_writer() as writer:
        write_pending(writer)
        path = writer.run.path / "shards" / "00001.parquet"
        table = pd.read_parquet(path)
        table.loc[2, "path"] = "../elsewhere.png"
        table.to_parquet(path)
        with pytest.raises(RunError, match=r"shard 1 is damaged[\s\S]*path is images/"):
            writer.finish()


def test_a_closed_writer_writes_no_more(tiny_writer: Callable[[], RunWriter]) -> None:
    writer = tiny_writer()
    shard = writer.pending()[0]
    writer.close()
    with pytest.raises(RunError, match="closed"):
        writer.write_shard(shard, [], [], {})


def test_a_shard_takes_one_image_for_each_task(tiny_writer: Callable[[], RunWriter]) -> None:
    with tiny_writer() as writer, pytest.raises(RunError, match="6 tasks got 0 images"):
        writer.write_shard(writer.pending()[0], [], [], {})


def test_a_resumed_run_keeps_its_own_shard_size(tmp_path: Path, tiny_spec: RunSpec) -> None:
    with create(tmp_path, tiny_spec, TINY_GENERATOR, shard_size=6) as writer:
        write_pending(writer, shards=2)
    with create(tmp_path, tiny_spec, TINY_GENERATOR, shard_size=10) as writer:
        assert [len(shard.tasks) for shard in writer.pending()] == [6, 6]


def test_a_run_killed_while_it_is_tidied_up_is_tidied_up_the_next_time(
    tmp_path: Path, tiny_spec: RunSpec, tiny_writer: Callable[[], RunWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with tiny_writer() as writer:
        write_pending(writer)
        with monkeypatch.context() as patch:
            patch.setattr("auditkit.runs.writer.shutil.rmtree", killed)
            with pytest.raises(KeyboardInterrupt):
                writer.finish()
    assert (writer.run.path / "shards").is_dir()
    with tiny_writer() as writer:
        assert writer.pending() == []
        run = writer.finish()
    assert files(run) == files(uninterrupted(tmp_path, tiny_spec))
