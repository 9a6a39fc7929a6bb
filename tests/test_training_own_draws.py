"""Rebalancing: weights within contexts, captions turned, and a table that counts what was drawn."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import own_data_helpers as own
import pytest

from auditkit.errors import SpecError, TableError
from generators.training.batches import Ahead
from generators.training.own.balance import UNLABELLED, balance
from generators.training.own.draws import BORROWED, EMPTY, NEUTRALISED, Mix, OwnBatches, OwnDraws
from generators.training.own.reading import Data, Item
from generators.training.own.start import _write_tokenizer
from generators.training.own.words import read_words
from generators.training.together import Turns

N = 400
PLAIN = Mix(dropout=0.0)


def data(rows: list[dict[str, str]] | None = None) -> Data:
    """Data without files: what is drawn needs no pictures."""
    items = []
    for number, row in enumerate(own.rows() if rows is None else rows):
        attributes = {k: v for k, v in row.items() if k not in ("file_name", "text") and v}
        items.append(Item(Path(row["file_name"]), row["file_name"], row["text"], attributes, (64, 64), str(number)))
    return Data(Path("data"), items)


def draws(
    found: Data,
    *,
    by=("gender",),
    within=("occupation",),
    max_repeat=10.0,
    mix=PLAIN,
    size=16,
) -> OwnDraws:
    weights = balance(found, list(by), list(within), max_repeat)
    buckets = np.arange(len(found.items)) % 3
    return OwnDraws(found, weights, buckets, read_words(), mix, size, seed=5)


def shares(made: OwnDraws, column: str = "expected") -> dict[tuple[str, str], float]:
    cells = made.balance.cells
    return dict(zip(zip(cells["context"], cells["group"], strict=True), cells[column], strict=True))


def test_groups_are_alike_within_each_context_and_contexts_keep_their_share():
    made = draws(data())
    p = made.balance.probability
    mass: Counter[tuple[str, str]] = Counter()
    for item, share in zip(made.data.items, p, strict=True):
        mass[item.attributes["occupation"], item.attributes["gender"]] += share
    assert p.sum() == pytest.approx(1)
    assert mass["judge", "female"] == pytest.approx(mass["judge", "male"]) == pytest.approx(20 / 32 / 2)
    assert mass["cook", "female"] == pytest.approx(mass["cook", "male"]) == pytest.approx(12 / 32 / 2)
    assert set(shares(made).values()) == {0.5}


def test_no_image_is_likelier_than_the_cap_allows_and_the_reader_is_told():
    made = draws(data(), max_repeat=1.5)
    assert made.balance.probability.max() * 32 == pytest.approx(1.5)
    assert shares(made)["judge", "female"] == pytest.approx(4 / 20 * 1.5)
    assert shares(made)["judge", "male"] == pytest.approx(1 - 4 / 20 * 1.5)
    assert any("--max-repeat" in line and "judge / female" in line for line in made.balance.warnings)


def test_a_cap_of_one_changes_nothing():
    assert draws(data(), max_repeat=1.0).balance.probability == pytest.approx(1 / 32)


def test_without_attributes_every_image_is_alike():
    made = balance(data(), [], [], 10.0)
    assert made.probability == pytest.approx(1 / 32)
    assert made.cells["images"].tolist() == [32]
    assert made.warnings == []


def test_a_group_that_a_context_lacks_stays_at_zero_and_is_named():
    made = draws(data(own.rows({("judge", "female"): 5, ("judge", "male"): 5, ("cook", "female"): 4})))
    assert shares(made)["cook", "male"] == 0
    assert shares(made)["cook", "female"] == 1
    assert any("no image" in line and "cook / male" in line for line in made.balance.warnings)


def test_groups_of_few_images_are_warned_of():
    assert any("fewer than 10" in line and "judge / female" in line for line in draws(data()).balance.warnings)


def test_images_without_a_group_keep_their_weight():
    rows = own.rows()
    rows += [{"file_name": f"x{i}", "text": "a judge", "gender": "", "occupation": "judge"} for i in range(8)]
    made = draws(data(rows))
    assert made.balance.probability[-8:] == pytest.approx(1 / 40)
    assert shares(made)["judge", "female"] == shares(made)["judge", "male"] == 0.5
    counted = made.count(range(50)).set_index(["context", "group"])
    assert counted.loc[("judge", UNLABELLED), "drawn"] > 0
    assert np.isnan(counted.loc[("judge", UNLABELLED), "drawn_share"])


def test_several_attributes_make_groups_of_their_combinations():
    rows = [row | {"skin_tone": ("light", "dark")[i % 2]} for i, row in enumerate(own.rows())]
    made = balance(data(rows), ["gender", "skin_tone"], [], 10.0)
    assert made.cells["group"].tolist() == ["female + dark", "female + light", "male + dark", "male + light"]
    assert made.cells["expected"].tolist() == pytest.approx([0.25] * 4)


@pytest.mark.parametrize(
    ("by", "within", "told"),
    [
        (["age"], [], "'age'; the data's attributes are: gender, occupation"),
        (["gender"], ["place"], "'place'"),
        (["gender"], ["gender"], "both"),
    ],
)
def test_an_attribute_that_is_not_there_is_named(by, within, told):
    with pytest.raises(TableError, match=told):
        balance(data(), by, within, 10.0)


def test_an_attribute_of_one_value_cannot_be_rebalanced():
    with pytest.raises(TableError, match="nothing to rebalance"):
        balance(data(own.rows({("judge", "male"): 3})), ["gender"], [], 10.0)


def test_batches_depend_on_the_index_alone_and_are_of_one_bucket():
    made, again = draws(data(), mix=Mix(0.3, 0.3, 0.1)), draws(data(), mix=Mix(0.3, 0.3, 0.1))
    for index in (7, 3):
        one, other = made.batch(index), again.batch(index)
        assert made.captions(one) == again.captions(other)
        assert one.rows.tolist() == other.rows.tolist()
        assert set(made.buckets[one.rows]) == {one.bucket}
    assert made.batch(1).rows.tolist() != made.batch(2).rows.tolist()


def test_other_processes_draw_the_same_ahead(tmp_path):
    """On a GPU batches are drawn by workers, each with a copy of all that it needs."""
    made = draws(data(), mix=Mix(0.3, 0.3, 0.1))
    tokenizer = tmp_path / "tokenizer"
    _write_tokenizer(made.every_caption(), tokenizer)
    batches = Turns(OwnBatches(made, tokenizer, 24), count=2, rank=1, each=1)
    with Ahead(batches, 1) as ahead:
        for number in range(3):
            for one, other in zip(ahead(number), batches(number), strict=True):
                assert one.tolist() == other.tolist()
    assert batches(0)[2].shape == (16, 24)


def test_images_are_drawn_as_often_as_their_weights_say_whatever_their_bucket():
    made = draws(data())
    counts = np.zeros(32)
    for index in range(3000):
        np.add.at(counts, made.batch(index).rows, 1)
    share = counts / counts.sum()
    # 48,000 draws in batches of one bucket: the spread of a bucket's share adds to that of its images.
    assert share == pytest.approx(made.balance.probability, rel=0.15)


def test_the_table_counts_what_the_batches_drew():
    made = draws(data(), mix=Mix(swap=0.4, neutral=0.3, dropout=0.2))
    drawn: Counter[tuple[str, str]] = Counter()
    kinds: Counter[tuple[str, str, int]] = Counter()
    unnamed: Counter[tuple[str, str]] = Counter()
    gender = read_words()["gender"]
    for index in range(60):
        batch = made.batch(index)
        for row, kind, text in zip(batch.rows, batch.kinds, made.captions(batch), strict=True):
            item = made.data.items[row]
            key = (item.attributes["occupation"], item.attributes["gender"])
            drawn[key] += 1
            if kind != NEUTRALISED or gender.named(item.caption):
                kinds[(*key, int(kind))] += 1
            unnamed[key] += bool(text) and not gender.named(text)
    table = made.count(range(60)).set_index(["context", "group"])
    assert table["drawn"].sum() == 60 * 16
    for key in own.COUNTS:
        assert table.loc[key, "drawn"] == drawn[key]
        assert table.loc[key, "borrowed"] == kinds[(*key, BORROWED)]
        assert table.loc[key, "neutralised"] == kinds[(*key, NEUTRALISED)]
        assert table.loc[key, "emptied"] == kinds[(*key, EMPTY)]
        assert table.loc[key, "unnamed"] == unnamed[key]
        total = sum(drawn[other] for other in own.COUNTS if other[0] == key[0])
        assert table.loc[key, "drawn_share"] == pytest.approx(drawn[key] / total)


def test_rebalanced_draws_come_near_the_target_and_plain_ones_near_the_data():
    even = draws(data()).count(range(N)).set_index(["context", "group"])["drawn_share"]
    plain = draws(data(), max_repeat=1.0).count(range(N)).set_index(["context", "group"])["drawn_share"]
    assert even["judge", "female"] == pytest.approx(0.5, abs=0.04)
    assert plain["judge", "female"] == pytest.approx(0.2, abs=0.04)


def test_a_caption_never_names_another_group_than_its_images():
    made = draws(data(), mix=Mix(swap=0.6, neutral=0.2))
    gender = read_words()["gender"]
    seen = Counter()
    for index in range(N):
        batch = made.batch(index)
        for row, kind, text in zip(batch.rows, batch.kinds, made.captions(batch), strict=True):
            item = made.data.items[row]
            assert gender.named(text) <= {item.attributes["gender"]}
            assert not text or item.attributes["occupation"] in text
            assert kind != NEUTRALISED or not gender.named(text)
            seen[int(kind)] += 1
    assert min(seen[BORROWED], seen[NEUTRALISED]) > 0


def test_at_one_the_wording_is_independent_of_the_group():
    """Men's captions leave the group out in a third of the data, women's never: swapped, both do alike."""
    before = draws(data()).count(range(N)).set_index(["context", "group"])["unnamed_share"]
    after = draws(data(), mix=Mix(swap=1.0, dropout=0.0)).count(range(N)).set_index(["context", "group"])
    assert before["judge", "female"] == 0
    assert after.loc[("judge", "female"), "unnamed_share"] == pytest.approx(0.5, abs=0.06)


def test_neutral_captions_show_both_groups_alike():
    table = draws(data(), mix=Mix(neutral=1.0, dropout=0.0)).count(range(N)).set_index(["context", "group"])
    assert table["unnamed"].tolist() == table["drawn"].tolist()
    assert table.loc[("cook", "male"), "unnamed_share"] == pytest.approx(0.5, abs=0.06)


def test_captions_that_name_another_group_are_lent_to_nobody():
    rows = own.rows()
    rows[0]["text"] = "a woman judge and a man"
    made = draws(data(rows), mix=Mix(swap=1.0, dropout=0.0))
    for index in range(N):
        batch = made.batch(index)
        assert 0 not in batch.rows[batch.kinds == BORROWED]
        assert 0 not in batch.lenders[batch.kinds == BORROWED]
    assert any("lent to none" in line for line in made.warnings)


def test_captions_that_say_more_than_group_and_context_are_warned_of():
    rows = [row | {"text": f"{row['text']} number {i}"} for i, row in enumerate(own.rows())]
    assert any("--neutral-captions" in line for line in draws(data(rows), mix=Mix(swap=0.5)).warnings)
    assert draws(data(), mix=Mix(swap=0.5)).warnings == []


def test_turning_captions_needs_an_attribute_whose_words_are_known():
    with pytest.raises(SpecError, match="no attribute"):
        draws(data(), by=(), within=(), mix=Mix(neutral=0.5))
    with pytest.raises(TableError, match="No words are known that name 'occupation'"):
        draws(data(), by=("occupation",), within=(), mix=Mix(neutral=0.5))
    rows = [row | {"gender": row["gender"][0]} for row in own.rows()]
    with pytest.raises(TableError, match="the value 'f'; its words are for: female, male"):
        draws(data(rows), mix=Mix(neutral=0.5))


@pytest.mark.parametrize("shares", [{"swap": 1.2}, {"neutral": -0.1}, {"dropout": 2.0}, {"swap": 0.6, "neutral": 0.6}])
def test_shares_of_captions_are_shares(shares):
    with pytest.raises(SpecError):
        Mix(**shares)
