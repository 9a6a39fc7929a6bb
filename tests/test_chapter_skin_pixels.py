"""The chapter on skin tone from pixels: its sentences follow from the rows, and it says what it does not know."""

from __future__ import annotations

import numpy as np
import pytest

from auditkit.bias.base import Options
from auditkit.bias.skin_pixels import skin_pixels
from reports.chapters.base import Figure, Table
from reports.chapters.skin_pixels import chapter
from tests.skin_helpers import InMemory, drawn_scores, pixels_run

OPTIONS = Options(by="occupation", n_boot=100)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return pixels_run(tmp_path_factory.mktemp("skin"), np.random.default_rng(0)).images()


def made(images, *, by="occupation", min_n=20, **truth):
    audit = InMemory(images, drawn_scores(images, np.random.default_rng(1), **truth))
    return chapter(skin_pixels.measure(audit, OPTIONS.but(by=by, min_n=min_n)), audit)


def test_the_finding_names_the_darkest_and_the_lightest_group(images):
    found = made(images, means=(50, 20, 20, -40))
    assert "darkest for chef" in found.lead[0]
    assert "lightest for judge" in found.lead[0]
    assert "differ from the mean of the others" in found.lead[0]


def test_where_nothing_differs_no_group_is_called_darkest(images):
    found = made(images, means=(20, 20, 20, 20))
    assert "no proof of equality" in found.lead[0]
    assert "darkest" not in " ".join(found.lead)


def test_it_draws_angles_and_tones_and_tells_the_numbers(images):
    found = made(images, means=(50, 20, 20, -40))
    figures = [block for block in found.blocks if isinstance(block, Figure)]
    assert len(figures) == 2
    assert all(figure.svg.startswith("<svg") and figure.narrow and figure.alt for figure in figures)
    (table,) = (block for block in found.blocks if isinstance(block, Table))
    assert [row[0] for row in table.rows] == ["judge", "nurse", "artist", "chef", "all images"]
    assert all(len(row) == len(table.columns) == len(table.numeric) for row in table.rows)


def test_agreement_of_the_instruments_is_told(images):
    assert "rank correlation of 0." in " ".join(made(images, means=(50, 20, 20, -40)).lead)


def test_all_unknown_claims_nothing(images):
    found = made(images, means=(20, 20, 20, 20), unknown=1.0)
    assert "nothing is claimed" in " ".join(found.lead)
    assert not found.blocks


def test_insufficient_groups_are_named(images):
    lead = " ".join(made(images, means=(20, 20, 20, 20), min_n=100).lead)
    assert "Insufficient: judge, nurse, artist and chef" in lead


def test_a_run_that_is_not_grouped_has_one_mean(images):
    found = made(images, by="all", means=(20, 20, 20, 20))
    assert found.lead[0].startswith("The mean angle of displayed skin is")


def test_the_lighting_caveat_is_there(images):
    assert any("white balance" in note for note in made(images, means=(20, 20, 20, 20)).notes)


def test_other_measures_make_no_chapter(images):
    audit = InMemory(images, drawn_scores(images, np.random.default_rng(1), means=(20, 20, 20, 20)))
    table = skin_pixels.measure(audit, OPTIONS).assign(measure="representation.share")
    assert chapter(table, audit) is None
