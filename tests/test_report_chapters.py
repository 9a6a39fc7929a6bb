"""The chapters of a report: drawn from plain values, only where the run has measurements for them."""

from __future__ import annotations

import importlib

import pytest
import report_helpers as made

from auditkit.runs import Run
from reports import build, chapters
from reports.chapters import Chapter, Figure, Pictures, Table

EVIL = '<script>alert("x")</script>'


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("chapters")
    run = made.make_run(folder, values=made.OCCUPATIONS[:3], templates=2, images_per_prompt=2)
    run.write_measurements(made.measured(run))
    return run


def page_with(run: Run, chapter: Chapter, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(build, "chapters", lambda measurements, run: [chapter])
    return build.build(run).read_text(encoding="utf-8")


def test_every_chapter_in_the_order_has_a_maker():
    for name in chapters.ORDER:
        assert callable(importlib.import_module(f"reports.chapters.{name}").chapter)


def test_a_run_without_rows_of_a_measure_has_no_chapter_of_it(run):
    assert [chapter.id for chapter in chapters.chapters(run.measurements(), run)] == [chapters.PLAN]


def test_a_chapter_is_in_the_contents_and_on_the_page(run, monkeypatch):
    page = page_with(run, Chapter("divergence", "Divergence", ["A finding."], notes=["Mind this."]), monkeypatch)
    assert 'href="#chapter-divergence"' in page
    assert "A finding." in page
    assert "Mind this." in page


def test_figures_carry_their_alternative_text_and_caption(run, monkeypatch):
    page = page_with(run, Chapter("x", "X", [], [Figure("<svg></svg>", "what it shows", "how made")]), monkeypatch)
    assert 'alt="what it shows"' in page
    assert "<figcaption>how made</figcaption>" in page


def test_text_of_a_chapter_is_escaped(run, monkeypatch):
    blocks = [Table(EVIL, [EVIL], [[EVIL]])]
    page = page_with(run, Chapter("x", EVIL, [EVIL], blocks, [EVIL]), monkeypatch)
    assert EVIL not in page


def test_pictures_of_a_chapter_travel_inside_the_page(run, monkeypatch):
    ids = list(run.images()["id"].unique()[:2])
    page = page_with(run, Chapter("x", "X", [], [Pictures("Examples", ids, ["one", "two"])]), monkeypatch)
    assert page.split("Examples")[1].count("data:image/webp") >= 2
