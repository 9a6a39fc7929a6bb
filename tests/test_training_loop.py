"""The training loop: resuming, the log, the average that is exported, checkpoints without pickle."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from training_helpers import schedule

from auditkit.errors import RunError
from generators.training import checkpoints, loop


class Lesson:
    """A linear module and its steps; `stop_at` interrupts as Ctrl-C would."""

    def __init__(self, *, stop_at: int | None = None, width: int = 3) -> None:
        torch.manual_seed(0)
        self.module = nn.Linear(width, 1)
        self.stop_at, self.width, self.steps = stop_at, width, 0

    def __call__(self, index: int) -> dict[str, Tensor]:
        if index == self.stop_at:
            raise KeyboardInterrupt
        self.steps += 1
        x = torch.randn(8, self.width, generator=torch.Generator().manual_seed(index))
        loss = (self.module(x) - x.sum(1, keepdim=True)).square().mean()
        return {"loss": loss, "half": loss / 2}

    def train(self, out: Path, **changes: Any) -> dict[str, Tensor]:
        modules: dict[str, nn.Module] = {"linear": self.module}
        return loop.run(self, modules, schedule(**changes), out=out)["linear"].state_dict()


def log(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(tmp_path):
    unbroken, last = Lesson(), Lesson()
    whole = unbroken.train(tmp_path / "whole", steps=9)
    with pytest.raises(KeyboardInterrupt):
        Lesson(stop_at=4).train(tmp_path / "broken", steps=9, save_every=-1)
    resumed = last.train(tmp_path / "broken", steps=9)
    assert last.steps == 5
    for key, value in whole.items():
        assert torch.equal(resumed[key], value)
        assert torch.equal(last.module.state_dict()[key], unbroken.module.state_dict()[key])


def test_a_finished_run_is_not_trained_further(tmp_path):
    Lesson().train(tmp_path, steps=3)
    again = Lesson()
    again.train(tmp_path, steps=3)
    assert again.steps == 0


def test_minutes_count_over_all_resumes(tmp_path, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: clock.now))

    class Slow(Lesson):
        def __call__(self, index: int) -> dict[str, Tensor]:
            losses = super().__call__(index)
            clock.now += 6
            return losses

    first, second = Slow(stop_at=4), Slow()
    with pytest.raises(KeyboardInterrupt):
        first.train(tmp_path, steps=1000, minutes=1, save_every=-1)
    clock.now += 3600  # the hour between the two does not count
    second.train(tmp_path, steps=1000, minutes=1)
    assert (first.steps, second.steps) == (4, 6)


def test_the_log_has_step_seconds_rate_and_each_loss(tmp_path):
    Lesson().train(tmp_path, steps=100)
    rows = log(tmp_path)
    assert list(rows[0]) == ["step", "seconds", "lr", "loss", "half"]
    assert [row["step"] for row in rows] == ["1", "50", "100"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert float(rows[0]["half"]) == pytest.approx(float(rows[0]["loss"]) / 2)


def test_steps_lost_since_the_checkpoint_are_logged_once(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Lesson(stop_at=60).train(tmp_path, steps=100)  # no checkpoint yet: it starts again
    Lesson().train(tmp_path, steps=100)
    assert [row["step"] for row in log(tmp_path)] == ["1", "50", "100"]


def test_rows_before_the_checkpoint_stay_in_the_log(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Lesson(stop_at=60).train(tmp_path, steps=100, save_every=-1)
    before = log(tmp_path)
    Lesson().train(tmp_path, steps=100)
    assert log(tmp_path)[:2] == before


def test_the_export_is_the_moving_average_of_the_weights(tmp_path):
    lesson = Lesson()
    start = lesson.module.weight.detach().clone()
    averaged = lesson.train(tmp_path, steps=1, ema=0.999)["weight"]
    live = lesson.module.weight.detach()
    decay = 2 / 11  # early on the average follows quickly: (1 + 1) / (10 + 1)
    assert not torch.equal(live, start)
    torch.testing.assert_close(averaged, decay * start + (1 - decay) * live)


def test_the_average_never_decays_slower_than_asked(tmp_path):
    lesson = Lesson()
    averaged = lesson.train(tmp_path, steps=1, ema=0.0)["weight"]
    assert torch.equal(averaged, lesson.module.weight.detach())


def test_frozen_weights_stay(tmp_path):
    lesson = Lesson()
    lesson.module.bias.requires_grad_(False)
    start = lesson.module.bias.clone()
    averaged = lesson.train(tmp_path, steps=3)["bias"]
    assert torch.equal(averaged, start)


def test_a_checkpoint_is_safetensors_and_nothing_is_pickled(tmp_path):
    Lesson().train(tmp_path, steps=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.safetensors", "log.csv"]
    data = (tmp_path / "checkpoint.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert {"module.linear.weight", "module.ema-linear.weight", "optimizer.0.exp_avg"} <= set(header)
    with safe_open(tmp_path / "checkpoint.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["state"])["step"] == 2


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", b"\x80\x04K\x01."])
def test_a_damaged_checkpoint_is_a_run_error_that_names_the_file(tmp_path, damage):
    (tmp_path / "checkpoint.safetensors").write_bytes(damage)
    with pytest.raises(RunError) as caught:
        Lesson().train(tmp_path)
    assert caught.value.where == tmp_path / "checkpoint.safetensors"
    assert "Delete the file" in caught.value.mend


def test_a_checkpoint_of_another_architecture_is_a_run_error(tmp_path):
    Lesson().train(tmp_path)
    with pytest.raises(RunError, match="cannot be read"):
        Lesson(width=5).train(tmp_path)


def test_a_folder_without_a_checkpoint_holds_no_state(tmp_path):
    module = nn.Linear(1, 1)
    optimizer = torch.optim.AdamW(module.parameters())
    assert checkpoints.load(tmp_path, modules={"linear": module}, optimizer=optimizer) is None


def test_a_loss_that_is_not_finite_stops_with_a_mend(tmp_path):
    module = nn.Linear(1, 1)
    with pytest.raises(RunError, match="nan at step 1") as caught:
        loop.run(
            lambda index: {"loss": module.weight.sum() * float("nan")}, {"linear": module}, schedule(), out=tmp_path
        )
    assert "--lr" in caught.value.mend


def test_progress_is_told_the_fraction_done(tmp_path):
    told: list[tuple[float, int]] = []
    lesson = Lesson()
    loop.run(
        lesson,
        {"linear": lesson.module},
        schedule(100),
        out=tmp_path,
        progress=lambda fraction, step, losses: told.append((fraction, step)),
    )
    assert told == [(0.01, 1), (0.5, 50), (1.0, 100)]
