"""Several processes on one run, and processes that are killed: no image made twice, none lost."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from auditkit.errors import RunError
from auditkit.processes import without_main
from auditkit.runs import Run, RunWriter, create, open_run, verify
from auditkit.runs.background import Background
from auditkit.runs.locks import RunLock
from tests.conftest import TINY_GENERATOR, TINY_SPEC, plain_image, write_pending
from tests.run_workers import make_run


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Starts processes that have all they need imported already, so that they can be killed at any moment."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.run_workers"])
    return context


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The ids of the 500 images of a run that nothing disturbed."""
    return ids(make_run(tmp_path_factory.mktemp("unbroken")))


def ids(run: Run) -> list[str]:
    return run.images()["id"].tolist()


def files(run: Run) -> set[str]:
    return {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()}


def start(context: ForkServerContext, out: Path, **options: Any) -> BaseProcess:
    process = context.Process(target=make_run, args=(out,), kwargs=options)
    with without_main():
        process.start()
    return process


def made(log: Path) -> Counter[str]:
    return Counter(log.read_text().splitlines()) if log.is_file() else Counter()


def wait_for(log: Path, lines: int) -> None:
    began = time.monotonic()
    while made(log).total() < lines:
        assert time.monotonic() - began < 60, "the process made nothing"
        time.sleep(0.002)


def test_of_two_processes_each_makes_a_part_and_no_image_is_made_twice(
    processes: ForkServerContext, tmp_path: Path, unbroken: list[str]
) -> None:
    logs = [tmp_path / "0.log", tmp_path / "1.log"]
    both = [start(processes, tmp_path / "runs", log=log, rank=rank, of=2, pause=0.002) for rank, log in enumerate(logs)]
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    assert all(made(log).total() > 0 for log in logs)
    assert max((made(logs[0]) + made(logs[1])).values()) == 1
    (folder,) = (tmp_path / "runs").iterdir()
    run = open_run(folder)
    assert ids(run) == unbroken
    assert {path.split("/")[0] for path in files(run)} == {"images", "images.parquet", "run.json"}


def test_when_one_of_two_is_killed_the_other_makes_the_rest(
    processes: ForkServerContext, tmp_path: Path, unbroken: list[str]
) -> None:
    log = tmp_path / "killed.log"
    other = start(processes, tmp_path / "runs", rank=0, of=2, pause=0.002)
    killed = start(processes, tmp_path / "runs", log=log, rank=1, of=2, pause=0.002)
    wait_for(log, random.randint(1, 150))
    os.kill(killed.pid or 0, signal.SIGKILL)
    other.join(120)
    assert other.exitcode == 0
    (folder,) = (tmp_path / "runs").iterdir()
    run = open_run(folder)
    assert ids(run) == unbroken
    assert not [path for path in files(run) if path.endswith(".tmp")]


def test_a_run_of_500_images_killed_at_random_moments_has_the_ids_of_an_unbroken_one(
    processes: ForkServerContext, tmp_path: Path, unbroken: list[str]
) -> None:
    kills = 0
    for _ in range(12):
        process = start(processes, tmp_path, log=tmp_path / "log", pause=0.0005)
        process.join(random.uniform(0.02, 0.3))
        if process.exitcode is None:
            os.kill(process.pid or 0, signal.SIGKILL)
            kills += 1
        process.join()
    run = make_run(tmp_path)
    assert kills > 0
    assert ids(run) == unbroken
    assert [problem for problem in verify(run) if problem.kind != "unsealed"] == []


def test_the_share_of_a_process_comes_first_and_then_the_others(tiny_writer: Callable[[], RunWriter]) -> None:
    with tiny_writer() as writer:
        order = []
        for shard in writer.claim(rank=1, of=2):
            order.append(shard.index)
            writer.write_shard(shard, [plain_image(t) for t in shard.tasks], [1.0] * 6, TINY_GENERATOR["defaults"])
    assert order == [1, 3, 0, 2]


def test_a_shard_is_claimed_once_and_is_free_again_when_its_writer_is_gone(
    tiny_writer: Callable[[], RunWriter],
) -> None:
    first, second = tiny_writer(), tiny_writer()
    assert next(first.claim()).index == 0
    assert next(second.claim()).index == 1
    first.close()
    with tiny_writer() as third:
        assert next(third.claim()).index == 0
    second.close()


def test_a_writer_merges_only_when_the_others_have_let_go(tiny_writer: Callable[[], RunWriter]) -> None:
    first, second = tiny_writer(), tiny_writer()
    write_pending(first)
    merged: list[Run] = []
    thread = threading.Thread(target=lambda: merged.append(first.finish()))
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    assert len(second.finish().images()) == 24  # it comes last, or lets the first go on: one of them merges
    thread.join(60)
    assert len(merged[0].images()) == 24


def test_a_plan_cannot_come_while_another_process_makes_the_run_without_it(tmp_path: Path) -> None:
    with create(tmp_path, TINY_SPEC, TINY_GENERATOR), pytest.raises(RunError, match="without the plan"):
        create(tmp_path, TINY_SPEC, TINY_GENERATOR, plan={"sha256": "a" * 64, "content": {}})


def test_images_written_behind_the_back_are_those_written_at_once(tmp_path: Path, tiny_run: Run) -> None:
    with create(tmp_path / "behind", TINY_SPEC, TINY_GENERATOR, shard_size=6) as writer:
        with Background(writer, ahead=2) as background:
            for shard in writer.claim():
                for position in reversed(range(6)):  # in any order
                    background.add(shard, position, plain_image(shard.tasks[position]))
                background.end(shard, [1.0] * 6, [TINY_GENERATOR["defaults"]] * 6)
        pd.testing.assert_frame_equal(writer.finish().images(), tiny_run.images())


def test_a_full_disk_is_told_where_the_images_are_made_and_the_run_resumes(
    tiny_writer: Callable[[], RunWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def make(writer: RunWriter) -> None:
        with Background(writer, ahead=2) as background:
            for shard in writer.claim():
                for position, task in enumerate(shard.tasks):
                    background.add(shard, position, plain_image(task))
                background.end(shard, [1.0] * 6, [TINY_GENERATOR["defaults"]] * 6)

    with tiny_writer() as writer, monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(RunError, match="shard 0 of 4 could not be written: there is no space left"):
            make(writer)
    with tiny_writer() as writer:
        make(writer)
        assert len(writer.finish().images()) == 24


def test_no_more_images_wait_to_be_written_than_there_is_room_for(
    tiny_writer: Callable[[], RunWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, added = threading.Event(), list[int]()
    with tiny_writer() as writer:
        shard = writer.pending()[0]
        store = writer.store

        def slow(*given: Any) -> dict[str, Any]:
            go_on.wait(60)
            return store(*given)

        monkeypatch.setattr(writer, "store", slow)

        def make() -> None:
            with Background(writer, ahead=2) as background:
                for position, task in enumerate(shard.tasks):
                    background.add(shard, position, plain_image(task))
                    added.append(position)

        maker = threading.Thread(target=make)
        maker.start()
        maker.join(0.3)
        assert added == [0, 1]
        go_on.set()
        maker.join(60)
        assert added == [0, 1, 2, 3, 4, 5]


def test_an_exception_of_the_maker_leaves_the_shard_to_be_made(tiny_writer: Callable[[], RunWriter]) -> None:
    def make() -> None:
        with tiny_writer() as writer, Background(writer) as background:
            for shard in writer.claim():
                background.add(shard, 0, Image.new("RGB", (8, 8)))
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make()
    with tiny_writer() as again:
        assert len(again.pending()) == 4


def test_a_file_system_without_locks_is_one_clear_error(tmp_path, monkeypatch):

    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(RunError, match="no locks") as caught:
        RunLock(tmp_path / "run").take_alone(wait=False)
    assert "local disk" in caught.value.mend
