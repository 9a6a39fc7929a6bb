from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from auditkit.errors import DetectorError
from detectors.examples import Examples
from detectors.reading import read_examples
from detectors.splits import (
    check_split,
    find_duplicates,
    folds,
    join_duplicates,
    leave_one_generator_out,
    leave_one_origin_out,
    split,
)
from tests.detector_data_helpers import examples, layout, noise, write


def paired(sources: int, generators: tuple[str, ...] = ("a", "b"), origins: tuple[str, ...] = ("x", "y")) -> Examples:
    """Each source a real image and one of each generator, made of it; no files behind them."""
    rows = []
    for number in range(sources):
        common = {"source": str(number), "origin": origins[number % len(origins)]}
        rows.append({"file": f"{number}-real", "label": "real", **common})
        rows += [{"file": f"{number}-{g}", "label": "generated", "generator": g, **common} for g in generators]
    return examples(*rows)


def unpaired(each: int, generators: tuple[str, ...] = ("a", "b"), origins: tuple[str, ...] = ("x", "y")) -> Examples:
    rows = [{"file": f"{g}{n}", "label": "generated", "generator": g} for g in generators for n in range(each)]
    rows += [{"file": f"{o}{n}", "label": "real", "origin": o} for o in origins for n in range(each)]
    return examples(*rows)


def sources_of(data: Examples, mask: np.ndarray) -> set[object]:
    return set(data.sources[mask])


def test_a_split_keeps_every_source_whole_and_uses_every_row() -> None:
    data = paired(40)
    parts = split(data, seed=1, duplicates="ignore")
    assert list(parts) == ["train", "development", "test"]
    assert (sum(mask.astype(int) for mask in parts.values()) == 1).all()
    for one, other in combinations(parts.values(), 2):
        assert not sources_of(data, one) & sources_of(data, other)


def test_a_split_divides_classes_generators_and_origins_by_the_shares() -> None:
    data = unpaired(50)
    for mask, share in zip(split(data, seed=0, duplicates="ignore").values(), (0.6, 0.2, 0.2), strict=True):
        counts = data.where(mask).table.groupby(["generator", "origin"]).size()
        assert len(counts) == 4
        assert (abs(counts - 50 * share) <= 1).all()


def test_the_seed_decides_the_split() -> None:
    data = unpaired(30)
    one, again, other = (split(data, seed=seed, duplicates="ignore")["test"] for seed in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()


def test_too_few_sources_of_a_class_cannot_be_split() -> None:
    data = examples(
        *({"file": f"r{n}", "label": "real", "source": "one"} for n in range(20)),
        *({"file": f"g{n}", "label": "generated"} for n in range(20)),
    )
    with pytest.raises(DetectorError, match="the real images have 1 sources, too few for 3 parts"):
        split(data, seed=0, duplicates="ignore")


def test_folds_keep_sources_whole_and_are_even() -> None:
    data = paired(30)
    fold = folds(data, 5, seed=0)
    assert all(len(set(fold[data.sources == source])) == 1 for source in set(data.sources))
    assert np.bincount(fold[data.labels == 0]).tolist() == [6] * 5


def test_leaving_a_generator_out_holds_its_images_and_the_tested_sources_out() -> None:
    data = paired(40)
    for left, train, test in leave_one_generator_out(data, duplicates="ignore"):
        assert left not in set(data.table["generator"][train])
        assert set(data.table["generator"][test]) == {"", left}
        assert not sources_of(data, train) & sources_of(data, test)
        assert {0, 1} == set(data.labels[train]) == set(data.labels[test])


def test_a_generator_that_shares_no_source_is_tested_whole() -> None:
    data = unpaired(20)
    for left, _, test in leave_one_generator_out(data, duplicates="ignore"):
        assert (data.table["generator"][test] == left).sum() == 20


def test_every_generator_is_tested_against_the_same_reals() -> None:
    data = unpaired(20, ("a", "b", "c"))
    reals = [
        frozenset(sources_of(data, test & (data.labels == 0)))
        for _, _, test in leave_one_generator_out(data, duplicates="ignore")
    ]
    assert len(set(reals)) == 1
    assert len(reals[0]) == 12


def test_one_generator_cannot_be_left_out() -> None:
    with pytest.raises(DetectorError, match="needs two, and there are 1"):
        next(leave_one_generator_out(unpaired(20, ("a",)), duplicates="ignore"))


@pytest.mark.parametrize("data", [paired(40), unpaired(20)], ids=["paired", "unpaired"])
def test_leaving_an_origin_out_trains_on_none_of_its_reals_nor_on_what_was_made_of_them(data: Examples) -> None:
    for left, train, test in leave_one_origin_out(data, duplicates="ignore"):
        assert left not in set(data.table["origin"][train])
        assert set(data.table["origin"][test & (data.labels == 0)]) == {left}
        assert {0, 1} == set(data.labels[train]) == set(data.labels[test])
        assert not sources_of(data, train) & sources_of(data, test)


def copies(folder: Path) -> Examples:
    """Ten reals and ten generated images; generated 0 is real 0 as JPEG, generated 1 the same pixels as generated 2."""
    for number in range(10):
        write(folder / f"real/x/{number}.png", noise(number, 96, blocks=8))
        write(folder / f"generated/g/{number}.png", noise(100 + number, 96, blocks=8))
    write(folder / "generated/g/0.png", noise(50, 96, blocks=8))
    (folder / "generated/g/0.png").unlink()
    write(folder / "generated/g/0.jpg", noise(0, 96, blocks=8), quality=70)
    write(folder / "generated/g/1.png", noise(102, 96, blocks=8))
    return read_examples(folder)


def test_the_same_pixels_and_near_copies_are_found(tmp_path: Path) -> None:
    data = copies(tmp_path)
    names = {frozenset(data.table["source"][[x.first, x.second]]): x.bits for x in find_duplicates(data)}
    assert set(names) == {
        frozenset({"real/x/0.png", "generated/g/0.jpg"}),
        frozenset({"generated/g/1.png", "generated/g/2.png"}),
    }
    assert names[frozenset({"generated/g/1.png", "generated/g/2.png"})] == 0


def test_duplicates_share_a_source_once_joined(tmp_path: Path) -> None:
    data = copies(tmp_path)
    joined = join_duplicates(data)
    assert joined.table["source"].nunique() == data.table["source"].nunique() - 2
    assert not find_duplicates(joined)


def test_a_split_never_divides_duplicates(tmp_path: Path) -> None:
    data = copies(tmp_path)
    for seed in range(5):
        check_split(data, split(data, seed=seed))


def test_duplicates_across_a_split_are_an_error_that_names_them(tmp_path: Path) -> None:
    data = copies(tmp_path)
    parts = {"train": data.labels == 0, "test": data.labels == 1}
    with pytest.raises(DetectorError, match="1 duplicates stand across the split") as caught:
        check_split(data, parts)
    assert "0.png (train) and" in str(caught.value.where)


def test_a_source_across_a_split_is_an_error() -> None:
    data = paired(4)
    with pytest.raises(DetectorError, match="4 sources stand in several parts"):
        check_split(data, {"train": data.labels == 0, "test": data.labels == 1})


def test_duplicates_can_be_refused(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match="2 pairs of images of different sources are duplicates"):
        split(copies(tmp_path), seed=0, duplicates="error")


def test_small_images_are_compared_by_their_pixels_alone(tmp_path: Path) -> None:
    data = read_examples(layout(tmp_path))
    assert not find_duplicates(data)
