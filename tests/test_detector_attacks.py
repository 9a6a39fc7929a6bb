"""Attacks on a detector's pixels: within the budget, in both directions, repeatable, and strong enough."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from attack_helpers import data, network, problem, scores

from auditkit.errors import DetectorError
from detectors.attacks.apgd import apgd, autoattack, checkpoints
from detectors.attacks.base import column, length, saved, tensor, uint8
from detectors.attacks.hardening import Adversary
from detectors.attacks.pgd import pgd
from detectors.attacks.square import square
from detectors.attacks.suite import METHODS, Digital, through_files

BUDGETS = [("linf", 4 / 255), ("l2", 0.5)]
DIRECTIONS = ["evasion", "framing"]


def digital(method: str, norm: str = "linf", eps: float = 4 / 255) -> Digital:
    return Digital(method, eps=eps, norm=norm, steps=10, queries=40)  # type: ignore[arg-type]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("norm", "eps"), BUDGETS)
@pytest.mark.parametrize("method", METHODS)
def test_an_attacked_image_stays_in_range_and_within_its_budget(method, norm, eps, direction):
    given = problem(direction=direction, norm=norm, eps=eps)
    found = digital(method, norm, eps)(given)
    change = found - given.clean
    size = change.abs().flatten(1).amax(1) if norm == "linf" else length(change).flatten()
    assert found.shape == given.clean.shape
    assert found.dtype == torch.float32
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert float(size.max()) <= eps * (1 + 1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_saving_with_eight_bits_keeps_a_whole_number_of_grey_levels(method, direction):
    given = problem(direction=direction)
    levels = uint8(digital(method)(given)).astype(int) - uint8(given.clean)
    assert np.abs(levels).max() <= 4


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("norm", "eps"), BUDGETS)
@pytest.mark.parametrize("method", METHODS)
def test_an_attack_moves_the_score_towards_the_wrong_side(method, norm, eps, direction):
    given = problem(direction=direction, norm=norm, eps=eps)
    before, after = given.gain(given.clean), given.gain(digital(method, norm, eps)(given))
    assert bool((after >= before).all())
    assert float((after - before).mean()) > 0.5


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_makes_the_same_images(method):
    first, second = (digital(method)(problem(seed=3, eps=2 / 255)) for _ in range(2))
    assert torch.equal(first, second)


def test_another_seed_starts_elsewhere():
    # Gradients may lead from any start into one corner, so that the starts are looked at.
    one, other = (problem(seed=seed).random_start(0) for seed in (3, 4))
    assert not torch.equal(one, other)
    queries = [square(problem(seed=seed, eps=2 / 255), queries=10) for seed in (3, 4)]
    assert not torch.equal(*queries)


@pytest.mark.parametrize("method", METHODS)
def test_an_image_is_attacked_the_same_whatever_lies_beside_it(method):
    given = problem(eps=3 / 255)
    together = digital(method)(given)
    alone = digital(method)(given.where(torch.arange(8) == 5))
    # Sums of float32 in another order may turn the sign of a gradient that is all but zero.
    assert float((together[5:6] - alone).abs().gt(1e-6).float().mean()) < 0.01


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_of_a_linear_score_the_whole_budget_goes_along_the_weights(norm):
    torch.manual_seed(0)
    weights = torch.randn(3 * 8 * 8)
    given = problem(norm=norm, eps=0.01)
    middle = torch.full((2, 3, 8, 8), 0.5)
    given = replace(
        given, score=lambda x: x.flatten(1) @ weights, clean=middle, sign=torch.tensor([1.0, -1.0]),
        eps=given.eps[:2],
    )  # fmt: skip
    most = 0.01 * float(weights.abs().sum() if norm == "linf" else weights.norm())
    for found in (pgd(given, steps=20), apgd(given, steps=30)):
        gained = given.gain(found) - given.gain(middle)
        assert gained.tolist() == pytest.approx([most, most], rel=2e-2)


def test_a_constant_detector_is_not_fooled_and_nothing_breaks():
    given = replace(problem(), score=lambda x: 3 + 0 * x.flatten(1).sum(1))
    for found in (pgd(given, steps=3), apgd(given, steps=5), square(given, queries=5)):
        assert not given.fooled(given.gain(found)).any()
        assert bool(found.isfinite().all())


def test_restarts_never_lose():
    one, many = (problem(eps=2 / 255) for _ in range(2))
    assert bool((many.gain(pgd(many, steps=3, restarts=4)) >= one.gain(pgd(one, steps=3, restarts=1)) - 1e-6).all())


def test_the_cross_entropy_is_flat_where_a_detector_is_sure_and_the_margin_is_not():
    sure = problem(norm="l2", eps=0.4)
    sure = replace(sure, score=lambda x: 1000 + 40 * network()(x))
    assert not torch.equal(apgd(sure, steps=10, loss="margin"), sure.clean)
    assert float((sure.gain(apgd(sure, steps=10, loss="ce")) - sure.gain(sure.clean)).abs().max()) < float(
        (sure.gain(apgd(sure, steps=10, loss="margin")) - sure.gain(sure.clean)).abs().min()
    )


def test_the_ensemble_fools_whatever_one_of_its_attacks_fools():
    given = problem(n=16, eps=2 / 255)
    both = given.fooled(given.gain(autoattack(given, steps=10, queries=20)))
    alone = given.fooled(given.gain(apgd(given, steps=10, loss="ce")))
    assert bool((both | ~alone).all())


def test_steps_are_halved_at_the_checkpoints_of_the_paper():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]


def test_square_asks_no_more_than_its_queries():
    asked: list[int] = []

    def counting(x: torch.Tensor) -> torch.Tensor:
        asked.append(len(x))
        return network()(x)

    square(replace(problem(n=4, eps=1 / 255), score=counting), queries=17)
    assert len(asked) == 17
    assert max(asked) == 4


def test_square_leaves_an_image_alone_once_it_is_fooled():
    given = problem(eps=0.3)
    asked: list[int] = []

    def counting(x: torch.Tensor) -> torch.Tensor:
        asked.append(len(x))
        return network()(x)

    square(replace(given, score=counting), queries=200)
    assert asked[-1] < asked[0]


def test_square_needs_no_gradient_and_the_others_say_so():
    black = replace(problem(), score=through_files(scores))
    assert square(black, queries=5).shape == black.clean.shape
    with pytest.raises(DetectorError, match="gradients do not go through"):
        pgd(black, steps=2)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"eps": 0.0}, "above 0"),
        ({"eps": math.nan}, "above 0"),
        ({"norm": "l1"}, "linf or l2"),
        ({"direction": "both"}, "evasion or a framing"),
    ],
)
def test_a_problem_that_makes_no_sense_is_refused(wrong: dict[str, Any], said):
    with pytest.raises(DetectorError, match=said):
        problem(**wrong)


def test_a_detector_that_gives_other_than_a_score_an_image_is_refused():
    with pytest.raises(DetectorError, match="scores of shape"):
        pgd(replace(problem(), score=lambda x: x), steps=1)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_adversarial_training_pushes_each_image_towards_the_other_class(norm, steps):
    some, labels, _ = data(8)
    x, y = tensor(np.stack(some)), torch.from_numpy(labels)
    eps = 3 / 255 if norm == "linf" else 0.3
    made = Adversary(eps=eps, steps=steps, norm=norm)(network(), x, y)
    change = (network()(made) - network()(x)) * (1 - 2 * y)
    size = (made - x).abs().amax() if norm == "linf" else length(made - x).amax()
    assert not made.requires_grad
    assert float(size) <= eps * (1 + 1e-5)
    assert float(change.mean()) > 0.5


def test_adversarial_training_leaves_a_share_of_each_batch_clean():
    some, labels, _ = data(32)
    x, y = tensor(np.stack(some)), torch.from_numpy(labels)
    made = Adversary(share=0.5)(network(), x, y)
    changed = float((made != x).flatten(1).any(1).float().mean())
    assert 0.3 < changed < 0.7


def test_adversarial_training_adds_nothing_to_the_gradients_of_the_weights():
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 1))
    some, labels, _ = data(4)
    Adversary()(net, tensor(np.stack(some)), torch.from_numpy(labels))
    assert all(weight.grad is None for weight in net.parameters())


@pytest.mark.parametrize("steps", [1, 3])
def test_what_learns_under_attack_leans_on_what_survives_it(steps):
    # Brightness tells the classes apart nine times in ten; a checkerboard fainter than the budget always does (after
    # Tsipras et al. 2019, arXiv 1805.12152).
    drawn = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 2
    side, agrees = 2.0 * y - 1, 1 - 2 * (torch.rand(400, generator=drawn) > 0.9).float()
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1
    x = 0.5 + column(0.04 * side * agrees) + column(1.5 / 255 * side) * board
    x = (x + 0.01 * torch.randn(400, 3, 8, 8, generator=drawn)).clamp(0, 1)
    right = []
    for perturb in (None, Adversary(eps=3 / 255, steps=steps)):
        linear = torch.nn.Linear(192, 1)
        torch.nn.init.zeros_(linear.weight), torch.nn.init.zeros_(linear.bias)

        def logits(v: torch.Tensor, linear: torch.nn.Linear = linear) -> torch.Tensor:
            return linear((v - 0.5).flatten(1) * 10).flatten()

        optimiser = torch.optim.Adam(linear.parameters(), 1e-2)
        for _ in range(150):
            seen = x if perturb is None else perturb(logits, x, y)
            optimiser.zero_grad()
            torch.nn.functional.binary_cross_entropy_with_logits(logits(seen), y.float()).backward()
            optimiser.step()
        attacked = Adversary(eps=3 / 255, steps=10, seed=9)(logits, x, y)
        right.append([float(((logits(v) >= 0) == y).float().mean()) for v in (x, attacked)])
    (plain, plain_attacked), (hardened, hardened_attacked) = right
    assert plain > hardened
    assert hardened_attacked > 0.85
    assert plain_attacked < 0.1


@pytest.mark.parametrize("wrong", [{"eps": 0.0}, {"steps": 0}, {"share": 0.0}, {"norm": "l1"}])
def test_an_adversary_that_makes_no_sense_is_refused(wrong: dict[str, Any]):
    with pytest.raises(DetectorError, match="adversarial training needs"):
        Adversary(**wrong)


def test_what_is_saved_is_what_is_read_again():
    x = torch.rand(2, 3, 5, 5)
    assert torch.equal(tensor(uint8(x)), saved(x).clamp(0, 1))


@pytest.mark.parametrize(
    ("method", "norm", "eps"),
    [
        ("pgd", "linf", 3 / 255),
        ("pgd", "l2", 0.3),
        ("apgd", "linf", 3 / 255),
        ("apgd", "l2", 0.3),
        ("square", "linf", 8 / 255),
    ],
)
def test_the_robust_accuracy_is_that_of_the_adversarial_robustness_toolbox(method, norm, eps):
    pytest.importorskip("art", reason="the Adversarial Robustness Toolbox is not installed")
    from benchmarks.detector_attacks import compare

    n = 50  # of each class, where one image is a point
    row = compare(method, norm, eps, n=n, seed=0, queries=60)
    assert abs(row.ours - row.theirs) <= 0.02 + 1e-9
