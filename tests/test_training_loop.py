"""The training loop: resuming, the log, the average that is exported, checkpoints without pickle."""

from __future__ import annotations

import csv
import json
import math
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
from generators.training.together import Turns


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


def test_alone_the_loop_is_plain_adamw_with_clipping_and_an_average(tmp_path):
    """Bit for bit what a loop written out by hand comes to: nothing is added for the sake of several processes."""
    lesson, by_hand = Lesson(), Lesson()
    averaged = lesson.train(tmp_path, steps=6)
    settings, module = schedule(6), by_hand.module
    optimizer = torch.optim.AdamW(module.parameters(), lr=settings.lr, betas=(0.9, 0.98), weight_decay=0.01)
    mean = {key: value.clone() for key, value in module.state_dict().items()}
    for index in range(6):
        optimizer.param_groups[0]["lr"] = settings.lr * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * index / 6)))
        loss = by_hand(index)["loss"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), settings.clip)
        optimizer.step()
        decay = min(settings.ema, (2 + index) / (11 + index))
        for key, value in module.state_dict().items():
            mean[key] = torch.lerp(mean[key], value, 1 - decay)
    for key, value in mean.items():
        assert torch.equal(lesson.module.state_dict()[key], module.state_dict()[key])
        torch.testing.assert_close(averaged[key], value)


def test_a_step_of_two_batches_takes_the_mean_of_their_gradients(tmp_path):
    twice, seen = Lesson(), []

    def both(index: int) -> dict[str, Tensor]:
        first, second = twice(2 * index), twice(2 * index + 1)
        return {name: (first[name] + second[name]) / 2 for name in first}

    class Watched(Lesson):
        def __call__(self, index: int) -> dict[str, Tensor]:
            seen.append(index)
            return super().__call__(index)

    accumulated = Watched().train(tmp_path / "two", steps=3, accumulate=2)
    whole = loop.run(both, {"linear": twice.module}, schedule(3), out=tmp_path / "whole")["linear"].state_dict()
    assert seen == [0, 1, 2, 3, 4, 5]
    for key, value in whole.items():
        torch.testing.assert_close(accumulated[key], value)
    for one, other in zip(log(tmp_path / "two"), log(tmp_path / "whole"), strict=True):
        assert float(one["loss"]) == pytest.approx(float(other["loss"]), rel=1e-5)


@pytest.mark.parametrize(("count", "each"), [(1, 1), (1, 3), (2, 1), (3, 2)])
def test_processes_share_out_the_batches_of_each_step(count, each):
    """Each takes its own in the order of its numbers, and all together take every one once."""
    turns = [Turns(lambda index: index, count, rank, each) for rank in range(count)]
    taken = [[turn(number) for number in range(4 * each)] for turn in turns]
    assert sorted(index for own in taken for index in own) == list(range(4 * each * count))
    assert {index // (count * each) for own in taken for index in own[:each]} == {0}
    assert [[turn.number(index) for index in own] for turn, own in zip(turns, taken, strict=True)] == [
        list(range(4 * each))
    ] * count


def test_a_model_card_is_told_every_step(tmp_path):
    Lesson().train(tmp_path, steps=7)
    assert loop.told(schedule(7), tmp_path)["steps"] == 7
