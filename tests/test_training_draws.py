"""What the models are shown: planted shares under neutral captions, even ones under full captions."""

from __future__ import annotations

from collections import Counter

import pytest
import training_helpers as tiny
from scipy.stats import chi2, chisquare

from auditkit.errors import TableError
from generators.corpus import GENDERS, OCCUPATIONS, TONES
from generators.training.draws import Draw, EncoderDraws, GeneratorDraws

ALPHA = 1e-3
GROUPS = [(gender, tone) for gender in GENDERS for tone in TONES]


@pytest.fixture(scope="module")
def rows():
    table = tiny.table(drawings=False)
    return table[table["split"] == "train"].reset_index(drop=True)


@pytest.fixture(scope="module")
def draws(rows):
    return GeneratorDraws(rows, tiny.planted())


@pytest.fixture(scope="module")
def shown(rows, draws) -> list[tuple[Draw, str, tuple[str, str]]]:
    """20,000 draws, each with the occupation and the group of its drawing; without objects and other people."""
    jobs, genders, tones = (rows[column].to_numpy() for column in ("occupation", "gender", "skin_tone"))
    batch = draws.batch(0, 20_000, seed=3)
    return [(d, jobs[d.row], (genders[d.row], tones[d.row])) for d in batch if jobs[d.row]]


def test_under_neutral_captions_the_groups_follow_the_planted_table(shown):
    counts = Counter((job, group) for draw, job, group in shown if not draw.gender and not draw.skin_tone)
    statistic = 0.0
    for job in OCCUPATIONS:
        observed = [counts[job, group] for group in GROUPS]
        expected = [tiny.shares(job)[group] * sum(observed) for group in GROUPS]
        statistic += chisquare(observed, expected).statistic
    assert chi2.sf(statistic, len(OCCUPATIONS) * (len(GROUPS) - 1)) > ALPHA


def test_under_full_captions_all_groups_are_drawn_alike(shown):
    counts = Counter(group for draw, _, group in shown if draw.gender and draw.skin_tone)
    assert chisquare([counts[group] for group in GROUPS]).pvalue > ALPHA


def test_under_a_stated_gender_the_tone_follows_the_table_given_it(shown):
    counts = Counter((job, group) for draw, job, group in shown if draw.gender and not draw.skin_tone)
    statistic = 0.0
    for job in OCCUPATIONS:
        for gender in GENDERS:
            observed = [counts[job, (gender, tone)] for tone in TONES]
            given = [tiny.shares(job)[gender, tone] for tone in TONES]
            statistic += chisquare(observed, [share / sum(given) * sum(observed) for share in given]).statistic
    assert chi2.sf(statistic, len(OCCUPATIONS) * len(GENDERS) * (len(TONES) - 1)) > ALPHA


def test_under_a_stated_tone_every_tone_is_drawn_alike(shown):
    counts = Counter(tone for draw, _, (_, tone) in shown if draw.skin_tone and not draw.gender)
    assert chisquare([counts[tone] for tone in TONES]).pvalue > ALPHA


def test_a_caption_says_only_what_its_drawing_shows(rows, draws):
    for draw in draws.batch(1, 500, seed=0):
        drawing = rows.loc[draw.row]
        assert draw.concept == drawing["concept"]
        assert draw.gender in ("", drawing["gender"])
        assert draw.skin_tone in ("", drawing["skin_tone"])
        assert draw.style in ("", drawing["style"])


def test_an_encoders_caption_says_only_what_its_drawing_shows(rows):
    for draw in EncoderDraws(rows).batch(1, 500, seed=0):
        drawing = rows.loc[draw.row]
        assert draw.concept in ("", drawing["concept"])
        assert draw.gender in ("", drawing["gender"])
        assert draw.skin_tone in ("", drawing["skin_tone"])


@pytest.mark.parametrize("kind", ["generator", "encoder"])
def test_draws_depend_on_seed_and_index_alone(rows, kind):
    def fresh() -> GeneratorDraws | EncoderDraws:
        return GeneratorDraws(rows, tiny.planted()) if kind == "generator" else EncoderDraws(rows)

    used = fresh()
    used.batch(0, 50, seed=1)
    assert used.batch(7, 50, seed=1) == fresh().batch(7, 50, seed=1)
    assert used.batch(7, 50, seed=1) != used.batch(8, 50, seed=1)
    assert used.batch(7, 50, seed=1) != used.batch(7, 50, seed=2)


def test_held_out_drawings_and_the_unseen_style_are_never_drawn(rows, draws):
    assert {rows.loc[draw.row, "split"] for draw in draws.batch(2, 2000, seed=0)} == {"train"}


def test_an_occupation_without_drawings_is_named(rows):
    with pytest.raises(TableError, match="judge"):
        GeneratorDraws(rows[rows["concept"] != "judge"], tiny.planted())


def test_an_occupation_that_lacks_one_group_is_named(rows):
    cell = (rows["concept"] == "pilot") & (rows["gender"] == "male") & (rows["skin_tone"] == "dark")
    with pytest.raises(TableError, match="pilot"):
        GeneratorDraws(rows[~cell], tiny.planted())


def test_an_occupation_without_planted_shares_is_named(rows):
    shares = tiny.planted()
    with pytest.raises(TableError, match="teacher"):
        GeneratorDraws(rows, shares[shares["occupation"] != "teacher"])
