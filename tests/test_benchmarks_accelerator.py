"""The arithmetic of the benchmark of accelerators: FLOPs, utilisation, joules, tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_checkpoints import tiny_sd_checkpoint

from benchmarks.accelerator import figures
from benchmarks.accelerator.generation import _flops
from generators.base import Job, Settings
from generators.latent import LatentGenerator


def test_utilisation_is_the_share_of_the_flops_that_the_device_could_have_done() -> None:
    assert figures.utilisation(flops=3e12, seconds=2.0, peak=3e12) == pytest.approx(0.5)


def test_a_device_without_a_known_peak_has_no_utilisation() -> None:
    assert figures.peak("NVIDIA H100 80GB HBM3") == 989e12
    assert figures.peak("NVIDIA H100 PCIe") is None
    assert figures.utilisation(1.0, 1.0, figures.peak("some card")) is None


def test_flops_grow_with_the_steps_and_double_with_guidance(tmp_path: Path) -> None:
    generator = LatentGenerator(tiny_sd_checkpoint(tmp_path / "tiny"), device="cpu")
    one = _flops(generator, Job("a judge", 1), Settings("ddim", 1, 1.0))
    assert one > 1e5
    assert _flops(generator, Job("a judge", 1), Settings("ddim", 3, 1.0)) == pytest.approx(3 * one)
    assert _flops(generator, Job("a judge", 1), Settings("ddim", 1, 3.0)) == pytest.approx(2 * one)


def test_work_is_told_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    joules = iter([0.0, 120.0])
    monkeypatch.setattr(figures, "_meter", lambda device: lambda: next(joules))
    row = figures.timed(lambda: 4, "cpu", repeats=3).row()
    assert row["joules_image"] == pytest.approx(10.0)
    assert row["memory_gib"] is None


def test_the_table_leaves_empty_what_a_row_lacks() -> None:
    text = figures.table([{"way": "plain", "images_s": 1234.5}, {"way": "ours", "mfu": 0.4567}])
    assert text.splitlines() == [
        "| way | images_s | mfu |", "|---|---|---|", "| plain | 1,234 |  |", "| ours |  | 0.457 |"
    ]  # fmt: skip
