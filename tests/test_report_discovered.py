"""The chapters of clusters and discovery: sentences that follow from the numbers, and silences that are spoken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from embedded_helpers import Pictures, embedded_run, images_table

from auditkit.bias.base import Options
from auditkit.bias.clusters import clusters
from auditkit.bias.discovery import discovery
from auditkit.runs import Run
from reports.chapters import Figure, Table
from reports.chapters import Pictures as Images
from reports.chapters.clusters import chapter as clusters_chapter
from reports.chapters.discovery import chapter as discovery_chapter

JOBS = ["baker", "clerk", "diver", "guide"]
OPTIONS = Options(by="job", n_boot=200)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, pd.DataFrame]:
    """A run in which divers come with dogs, measured for clusters and discovery."""
    pictures = Pictures()
    images = images_table(JOBS, templates=12, replicates=6)
    x = pictures.embed(images, np.random.default_rng(0), shifts={("diver", "dog"): 3.0})
    texts = pictures.texts({prompt: [] for prompt in images["prompt"].unique()})
    run = embedded_run(tmp_path_factory.mktemp("found") / "run", images, x, texts)
    return run, pd.concat([clusters.measure(run, OPTIONS), discovery.measure(run, OPTIONS)], ignore_index=True)


@pytest.fixture
def without(found: tuple[Run, pd.DataFrame]) -> Callable[[str], pd.DataFrame]:
    """The measurements with every row of a statistic made insufficient."""

    def make(measure: str) -> pd.DataFrame:
        rows = found[1].copy()
        mine = rows["measure"] == measure
        rows.loc[mine, ["estimate", "ci_low", "ci_high", "p_value", "p_holm", "p_bh"]] = np.nan
        rows.loc[mine, ["status", "note"]] = ["insufficient", "3 images; 20 are needed"]
        return rows

    return make


def text(chapter) -> str:
    return " ".join([*chapter.lead, *chapter.notes])


def test_other_measures_make_no_chapter(found):
    run, rows = found
    none = rows.assign(measure="representation.share")
    assert clusters_chapter(none, run) is None
    assert discovery_chapter(none, run) is None


def test_clusters_are_told_with_dependence_distance_and_stability_and_without_names(found):
    run, rows = found
    chapter = clusters_chapter(rows, run)
    assert "ascribe no identity" in chapter.lead[0]
    assert "depends on the job" in chapter.lead[1]
    assert "Furthest is diver" in text(chapter)
    assert "adjusted Rand index" in text(chapter)


def test_clusters_are_drawn_tabled_and_shown(found):
    run, rows = found
    figure, table, pictures = clusters_chapter(rows, run).blocks
    assert isinstance(figure, Figure)
    assert ElementTree.fromstring(figure.svg).tag.endswith("svg")
    assert "4 jobs by 5 clusters" in figure.alt
    assert isinstance(table, Table)
    assert table.rows[0][0] == "diver"
    assert isinstance(pictures, Images)
    assert len(pictures.ids) == len(pictures.captions) == 3 * 5
    assert set(pictures.ids) <= set(run.images()["id"])
    assert pictures.captions[0].startswith("cluster 01 · picture")


def test_no_dependence_is_not_told_as_proof(found):
    run, rows = found
    rows = rows.copy()
    rows.loc[rows["measure"].isin(["clusters.dependence", "clusters.distance"]), ["p_value", "p_holm"]] = 0.5
    said = text(clusters_chapter(rows, run))
    assert "no proof that there is none" in said
    assert "None of 4 jobs" in said


def test_insufficient_clusters_are_said_aloud(without, found):
    said = text(clusters_chapter(without("clusters.dependence"), found[0]))
    assert "insufficient: 3 images; 20 are needed" in said
    chapter = clusters_chapter(without("clusters.distance"), found[0])
    assert "4 jobs are insufficient" in text(chapter)
    assert all(row[2] == "insufficient" for row in chapter.blocks[1].rows)


def test_unstable_clusters_are_said_aloud(found):
    run, rows = found
    rows = rows.copy()
    rows.loc[rows["measure"] == "clusters.stability", "note"] = "unstable: as it were"
    assert "Do not rely on a single cluster" in text(clusters_chapter(rows, run))


def test_clusters_of_the_whole_space_are_told_with_their_caution_first(found):
    run, rows = found
    rows = rows.assign(note=rows["note"].mask(rows["measure"] == "clusters.share", "prompts have too few images each"))
    chapter = clusters_chapter(rows, run)
    assert "no sign of bias" in chapter.lead[1]
    assert "what the prompt leaves open" not in text(chapter)


def test_a_discovery_is_told_with_what_was_looked_at(found):
    run, rows = found
    chapter = discovery_chapter(rows, run)
    assert "12 tests (3 concepts in each of 4 jobs)" in chapter.lead[0]
    assert "diver more like ‘dog’" in chapter.lead[1]
    assert "Of 266 concepts in the vocabulary 0 are not in this encoder’s language and 263 hardly vary" in text(chapter)


def test_discoveries_are_drawn_tabled_and_shown(found):
    run, rows = found
    blocks = discovery_chapter(rows, run).blocks
    assert isinstance(blocks[0], Figure)
    assert "diver more like ‘dog’" in blocks[0].alt
    assert isinstance(blocks[1], Table)
    assert blocks[1].rows[0][:3] == ["diver", "dog", "nature and weather"]
    ends = [block for block in blocks if isinstance(block, Images)]
    assert len(ends[0].ids) == 12
    prompts = [caption.partition(" · ")[2] for caption in ends[0].captions]
    assert sum("diver" in prompt for prompt in prompts) >= 5


def test_what_is_expected_from_the_prompt_stands_apart(found):
    run, rows = found
    rows = rows.copy()
    rows.loc[rows["measure"] == "discovery.concept", "note"] = "expected from the prompt"
    chapter = discovery_chapter(rows, run)
    assert chapter.lead[0].startswith("No difference that the prompts do not ask for")
    assert "can be expected from the prompts" in text(chapter)
    assert chapter.blocks[0].caption.startswith("Expected from the prompt")


def test_finding_nothing_is_not_told_as_proof(found):
    run, rows = found
    tested = rows[rows["measure"] == "discovery.tested"]
    chapter = discovery_chapter(tested, run)
    assert "no proof of equality" in chapter.lead[0]
    assert not chapter.blocks


def test_nothing_that_could_be_looked_for_is_said_aloud(found):
    run, rows = found
    row = rows[(rows["measure"] == "discovery.tested") & (rows["category"] == "differences found")].copy()
    row[["estimate", "status", "note"]] = [np.nan, "insufficient", "prompts have too few images each"]
    chapter = discovery_chapter(row, run)
    assert chapter.lead == ["Nothing could be looked for (insufficient): prompts have too few images each."]


def test_pictures_are_left_out_where_the_embeddings_are_gone(found, tmp_path: Path):
    _, rows = found
    other = embedded_run(tmp_path / "other", images_table(JOBS, templates=2, replicates=2), np.eye(16))
    (other.path / "embeddings" / "personas-clip.parquet").unlink()
    assert not any(isinstance(block, Images) for block in discovery_chapter(rows, other).blocks)
    assert not any(isinstance(block, Images) for block in clusters_chapter(rows, other).blocks)
