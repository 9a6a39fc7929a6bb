"""The chapter on quality: its sentences follow from the rows, and it says what it does not know."""

from __future__ import annotations

import numpy as np
import pytest

from auditkit.bias.base import Options
from auditkit.bias.quality import quality
from reports.chapters.base import Figure, Table
from reports.chapters.quality import chapter
from tests.features_helpers import FeatureRun, see
from tests.test_bias_quality import reference_of, training_of


@pytest.fixture
def made(monkeypatch):
    def of(run: FeatureRun, *, by: str = "occupation", **beside: object):
        see(monkeypatch, **beside)
        return chapter(quality.measure(run, Options(by=by)), run)

    return of


def test_every_statistic_is_told(made):
    run = FeatureRun(np.random.default_rng(0))
    found = made(run, domain=reference_of(run), training=training_of(run.embeddings[:20]))
    lead = " ".join(found.lead)
    for words in ("by chance it would be 33%", "training picture come again", "near-duplicate", "effective number"):
        assert words in lead
    overall, by_group = (block for block in found.blocks if isinstance(block, Table))
    assert len(overall.rows) == 8
    assert [row[0] for row in by_group.rows] == ["job 0", "job 1", "job 2", "all images"]
    for table in (overall, by_group):
        assert all(len(row) == len(table.columns) == len(table.numeric) for row in table.rows)
    assert any(isinstance(block, Figure) and block.svg.startswith("<svg") for block in found.blocks)


def test_what_is_uncalibrated_is_said_with_its_reason(made):
    lead = " ".join(made(FeatureRun(np.random.default_rng(1))).lead)
    assert "Whether pictures are memorised is uncalibrated" in lead
    assert "distance to reference pictures is uncalibrated" in lead


def test_too_few_images_claim_nothing(made):
    run = FeatureRun(np.random.default_rng(2), groups=2, templates=2, images=2)
    found = made(run)
    assert "Nothing is claimed" in " ".join(found.lead)
    assert not any(isinstance(block, Figure) for block in found.blocks)


def test_a_run_that_is_not_grouped_has_no_table_by_group(made):
    found = made(FeatureRun(np.random.default_rng(3)), by="all")
    assert len([block for block in found.blocks if isinstance(block, Table)]) == 1
    assert "Mean fidelity" in found.lead[0]


def test_other_measures_make_no_chapter(monkeypatch):
    run = FeatureRun(np.random.default_rng(4))
    see(monkeypatch)
    table = quality.measure(run, Options(by="occupation")).assign(measure="representation.share")
    assert chapter(table, run) is None
