"""The gallery's search, map and near-duplicates, and an image's neighbours: on a run with known embeddings."""

from __future__ import annotations

import io

import numpy as np
import pytest
import synthetic_run
from PIL import Image
from test_dashboard_views import home, show, words  # noqa: F401  (fixtures)

from app.dashboard import embedding_map, spaces
from app.dashboard.embedder import Embedder
from auditkit.errors import EncoderError, ImageError
from auditkit.runs import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    made = synthetic_run.make_run(tmp_path_factory.mktemp("gallery"), images_per_prompt=12)
    synthetic_run.embed(made)
    return made


@pytest.fixture(scope="module")
def vectors(run) -> np.ndarray:
    ids = run.images()["id"]
    known, array = run.embeddings("personas-clip", fingerprint="0" * 64)
    return array[[known.index(id) for id in ids]]


def order(test) -> list[str]:
    return [
        link.proto.label.removeprefix("Details of ") for link in test.get("page_link") if "Details" in link.proto.label
    ]


def numbers(run: Run, positions) -> list[str]:
    images = run.images()
    return [f"{images['prompt_id'][each]}.{images['replicate'][each]}" for each in positions]


def test_words_sort_the_images_by_their_cosine(show, run, vectors, monkeypatch):  # noqa: F811
    asked = []

    class Known:
        def text(self, encoder, fingerprint, text):
            asked.append((encoder, fingerprint, text))
            return vectors[9]

    monkeypatch.setattr(spaces, "_embedder", Known)
    test = show("gallery", run.path.parent)
    test.text_input(key="words").set_value("a friendly judge").run()
    assert not test.exception
    assert asked == [("personas-clip", "0" * 64, "a friendly judge")]
    assert order(test) == numbers(run, np.argsort(-(vectors @ vectors[9]), kind="stable")[:40])
    assert "cosine 1.00" in words(test)


def test_images_like_one_of_the_run_come_first_within_the_filters(show, run, vectors):  # noqa: F811
    test = show("gallery", run.path.parent)
    test.multiselect(key="axis_occupation").set_value(["nurse"])
    test.text_input(key="like").set_value(run.images()["id"][0]).run()
    nurses = np.flatnonzero(run.images()["axis_occupation"] == "nurse")
    assert order(test) == numbers(run, nurses[np.argsort(-(vectors[nurses] @ vectors[0]), kind="stable")])


@pytest.mark.parametrize("id", ["../../../etc/passwd", "0" * 64])
def test_an_image_to_search_by_that_is_not_in_the_run_reaches_no_file(show, run, id):  # noqa: F811
    test = show("gallery", run.path.parent)
    test.text_input(key="like").set_value(id).run()
    assert not test.exception
    assert "no image of that id" in words(test)
    assert "60 images" in words(test)


def test_near_duplicates_stand_beside_each_other_with_their_group(show, run):  # noqa: F811
    test = show("gallery", run.path.parent)
    test.segmented_control(key="copies").set_value("near-duplicates").run()
    test.number_input(key="near").set_value(0.999).run()
    assert not test.exception
    assert order(test) == numbers(run, [0, 1])
    assert "1 group of near-duplicates" in words(test)
    assert "group 1 of 2 images" in words(test)


def test_a_run_without_repeated_bytes_has_no_copies(show, run):  # noqa: F811
    test = show("gallery", run.path.parent)
    test.segmented_control(key="copies").set_value("same bytes").run()
    assert "No image passes" in words(test)


def test_a_part_of_the_map_passes_the_images_in_it(show, run):  # noqa: F811
    from auditkit.clip.space import Space

    flat = Space.read(run, "personas-clip", run.images()["id"].tolist()).flat
    test = show("gallery", run.path.parent)
    test.segmented_control(key="show").set_value("map").run()
    assert len(test.get("plotly_chart")) == 1
    test.text_input(key="area").set_value("0,9,-9,9").run()
    assert not test.exception
    assert order(test) == numbers(run, np.flatnonzero(flat[:, 0] >= 0)[:40])


@pytest.mark.parametrize(
    "text", ["", "1,2", "a,b,c,d", "1,0,0,1", "nan,1,0,1", "0,inf,0,1", "../../etc", "0,0,1,0,1", ",".join(["0"] * 82)]
)
def test_what_is_no_part_of_a_map_is_none(text):
    assert embedding_map.read_area(text) is None


def test_a_lasso_takes_the_points_within_its_line_and_no_others():
    corners = embedding_map.read_area(embedding_map.write_area([0, 2, 0], [0, 0, 2]))
    points = np.array([(0.5, 0.5), (1.5, 1.5), (np.nan, np.nan)], dtype=np.float32)
    assert corners is not None
    assert embedding_map.inside(points, corners).tolist() == [True, False, False]


def test_a_long_line_is_kept_with_few_corners():
    turns = np.linspace(0, 2 * np.pi, 900)
    text = embedding_map.write_area(list(np.cos(turns)), list(np.sin(turns)))
    assert len(text) <= embedding_map.LONGEST
    corners = embedding_map.read_area(text)
    assert corners is not None
    assert embedding_map.inside(np.array([(0.97, 0.0), (0.75, 0.75)], dtype=np.float32), corners).tolist() == [
        True,
        False,
    ]


def test_a_line_that_encloses_nothing_is_no_part_of_the_map():
    assert embedding_map.write_area([0, 1], [0, 1]) == ""


def test_a_bad_part_of_the_map_is_said_and_left_out(show, run):  # noqa: F811
    test = show("gallery", run.path.parent)
    test.segmented_control(key="show").set_value("map").run()
    test.text_input(key="area").set_value("here").run()
    assert "four numbers" in words(test)
    assert "60 images" in words(test)


def test_a_seed_that_is_none_is_said_and_left_out(show, run):  # noqa: F811
    test = show("gallery", run.path.parent)
    test.text_input(key="seed").set_value(str(run.images()["seed"][3])).run()
    assert order(test) == numbers(run, [3])
    test.text_input(key="seed").set_value("-1 or 1").run()
    assert "A seed is a whole number" in words(test)
    assert "60 images" in words(test)


def test_a_run_without_embeddings_says_how_to_get_them_and_still_filters(show, tmp_path):  # noqa: F811
    made = synthetic_run.make_run(tmp_path, images_per_prompt=2)
    test = show("gallery", tmp_path)
    assert f"auditkit score {made.path}" in test.code[0].value
    test.multiselect(key="axis_occupation").set_value(["chef"]).run()
    assert "2 images" in words(test)


def test_damaged_embeddings_are_said_and_the_images_are_still_shown(show, tmp_path):  # noqa: F811
    made = synthetic_run.make_run(tmp_path, images_per_prompt=2)
    synthetic_run.embed(made)
    (made.path / "embeddings" / "personas-clip.parquet").write_bytes(b"PAR1")
    test = show("gallery", tmp_path)
    test.segmented_control(key="copies").set_value("near-duplicates").run()
    assert not test.exception
    assert "embeddings" in test.warning[0].value
    assert "10 images" in words(test)


def bomb() -> bytes:
    """A PNG of some kilobytes that unfolds to 100 million pixels."""
    out = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(out, format="PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "says"), [(b"no image", "not an image"), (bomb(), "too many to open safely")], ids=["none", "bomb"]
)
def test_an_upload_that_is_no_image_or_a_bomb_is_one_clear_message(show, run, data, says, monkeypatch):  # noqa: F811
    embedder = Embedder()
    monkeypatch.setattr(spaces, "_embedder", lambda: embedder)
    try:
        test = show("gallery", run.path.parent)
        test.file_uploader(key="upload").set_value(("a.png", data, "image/png")).run()
    finally:
        embedder.close()
    assert not test.exception
    assert says in test.warning[0].value
    assert "a.png" in test.warning[0].value
    assert "60 images" in words(test)


def test_the_process_that_ended_is_told_and_the_next_question_starts_another():
    embedder = Embedder()
    with pytest.raises(ImageError, match="not an image"):
        embedder.image("personas-clip", "", b"none")
    first = embedder._process
    embedder.close()
    assert first.poll() is not None
    with pytest.raises(ImageError):
        embedder.image("personas-clip", "", b"none")
    assert embedder._process is not first
    embedder.close()


def test_images_embedded_with_other_weights_are_not_searched(monkeypatch):
    embedder = Embedder()
    monkeypatch.setattr(embedder, "_answer", lambda line: {"vector": [1.0, 0.0], "sha256": "a" * 64})
    assert embedder.text("personas-clip", "a" * 64, "a judge").tolist() == [1.0, 0.0]
    with pytest.raises(EncoderError, match="other weights"):
        embedder.text("personas-clip", "b" * 64, "a judge")


def test_the_embedder_gives_the_encoders_own_vectors(run):
    import json

    from app.dashboard.embedder import serve
    from auditkit.clip.encoders import load_encoder

    answers = io.StringIO()
    serve(io.StringIO(json.dumps({"encoder": "personas-clip", "text": "a judge"}) + "\n"), answers)
    found = json.loads(answers.getvalue())
    encoder = load_encoder("personas-clip", device="cpu")
    assert found["sha256"] == encoder.sha256
    assert np.asarray(found["vector"]) == pytest.approx(encoder.embed_texts(["a judge"])[0], abs=1e-6)


def test_an_image_shows_its_nearest_neighbours(show, run, vectors):  # noqa: F811
    test = show("image", run.path.parent)
    test.text_input(key="id").set_value(run.images()["id"][4]).run()
    near = [each for each in np.argsort(-(vectors @ vectors[4]), kind="stable") if each != 4][:8]
    assert not test.exception
    cosines = [caption.value.rsplit(" ", 1)[1] for caption in test.caption if "cosine 0." in caption.value]
    assert cosines == [f"{vectors[each] @ vectors[4]:.3f}" for each in near]
