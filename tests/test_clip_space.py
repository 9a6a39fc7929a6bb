"""A run's images as points of an encoder's space: search, neighbours, a map, near-duplicates."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic_run

from auditkit.clip.space import Space, encoders
from auditkit.errors import TableError
from auditkit.runs import Run


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Run, np.ndarray]:
    run = synthetic_run.make_run(tmp_path_factory.mktemp("space"), images_per_prompt=8, measured=False)
    return run, synthetic_run.embed(run)


@pytest.fixture(scope="module")
def space(made) -> Space:
    return Space.read(made[0], "personas-clip", made[0].images()["id"].tolist())


def test_the_encoders_of_a_run_are_those_that_embedded_its_images_and_not_its_sentences(made):
    run, _ = made
    texts = run.path / "embeddings" / "personas-clip.texts.parquet"
    texts.write_bytes((run.path / "embeddings" / "personas-clip.parquet").read_bytes())
    assert encoders(run) == ["personas-clip"]


def test_cosines_are_those_of_the_vectors_to_half_precision(made, space):
    vectors = made[1].astype(np.float32)
    assert space.cosines(vectors[3]) == pytest.approx(vectors @ vectors[3], abs=1e-3)


def test_the_nearest_are_told_in_order_and_without_the_image_itself(made, space):
    vectors = made[1]
    near = space.nearest(5, 6)
    expected = np.argsort(-(vectors @ vectors[5]))
    assert [position for position, _ in near] == [each for each in expected if each != 5][:6]
    cosines = [cosine for _, cosine in near]
    assert cosines == sorted(cosines, reverse=True)


def test_an_image_without_an_embedding_is_far_from_everything_and_on_no_map(made):
    ids = [*made[0].images()["id"], "f" * 64]
    space = Space.read(made[0], "personas-clip", ids)
    assert space.vector(len(ids) - 1) is None
    assert space.nearest(len(ids) - 1, 3) == []
    assert np.isnan(space.cosines(space.vector(0))[-1])
    assert np.isnan(space.flat[-1]).all()


def test_the_map_holds_the_first_two_principal_components(made, space):
    centred = made[1] - made[1].mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    for number in range(2):
        ours, theirs = space.flat[:, number], centred @ axes[number]
        assert abs(np.corrcoef(ours, theirs)[0, 1]) > 0.999
        assert np.var(ours) == pytest.approx(np.var(theirs), rel=0.01)


def test_the_map_is_the_same_however_often_it_is_made(made, space):
    again = Space.read(made[0], "personas-clip", made[0].images()["id"].tolist())
    assert np.array_equal(again.flat, space.flat)


def test_near_duplicates_are_joined_in_groups(made, space):
    groups = space.alike(np.arange(len(made[1])), 0.999)
    assert [group.tolist() for group in groups] == [[0, 1]]
    assert space.alike(np.arange(2, len(made[1])), 0.999) == []


def test_near_duplicates_can_be_looked_for_within_parts_only(made, space):
    parts = np.arange(len(made[1]))  # each image a part of its own
    assert space.alike(np.arange(len(made[1])), 0.999, parts=parts) == []


def test_damaged_embeddings_are_one_clear_error(tmp_path):
    run = synthetic_run.make_run(tmp_path, images_per_prompt=1, measured=False)
    with pytest.raises(TableError, match="no embeddings by personas-clip"):
        Space.read(run, "personas-clip", [])
    synthetic_run.embed(run)
    (run.path / "embeddings" / "personas-clip.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(TableError, match="damaged"):
        Space.read(run, "personas-clip", run.images()["id"].tolist())


def test_a_vector_of_another_space_is_refused(space):
    with pytest.raises(TableError, match="dimensions"):
        space.cosines(np.ones(3, np.float32))
