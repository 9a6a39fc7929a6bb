"""A contrastive adapter on image embeddings: classes are told apart alike in every spurious group."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_clip import MemoryRun, random_images, save_tiny

from auditkit.clip.adapter import Adapter, adapted, fit_adapter, load_adapter, worst_group
from auditkit.clip.calibration import fit_calibration, load_calibration
from auditkit.clip.encoders import Encoder, embed_run, load_encoder
from auditkit.clip.folder import weights_sha256
from auditkit.errors import CalibrationError, EncoderError

NAMES = ["female", "male"]
GROUPS = ["nurse", "pilot"]


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def planted(n: int, seed: int) -> tuple[np.ndarray, list[str], list[str], np.ndarray]:
    """Embeddings in which the occupation leaks into the sentences' own axis: pilots lie toward 'male'.

    The class can be told from axes 0 and 3 together, whatever the group; the sentences know axis 0 alone. Nine in ten
    female images are of nurses, and male ones of pilots.
    """
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    g = np.where(rng.random(n) < 0.9, y, 1 - y)
    sign_y, sign_g = 2.0 * y - 1, 2.0 * g - 1
    x = rng.normal(0, 0.25, (n, 16))
    x[:, 0] += 0.6 * sign_y + 1.0 * sign_g
    x[:, 3] += 1.0 * sign_g
    x[:, 5] += 2.0
    words = np.zeros((2, 16))
    words[:, 0], words[:, 5] = [-1, 1], 1
    return unit(x), [NAMES[i] for i in y], [GROUPS[i] for i in g], unit(words)


@pytest.fixture(scope="module")
def fitted() -> Adapter:
    embeddings, classes, groups, words = planted(1500, 0)
    return fit_adapter(
        embeddings, classes, groups, words, NAMES, logit_scale=30, hidden=32, steps=200, attribute="gender"
    )


def test_the_worst_group_gains_and_the_average_does_not_fall(fitted: Adapter) -> None:
    embeddings, classes, groups, words = planted(1500, 1)  # others than it was trained on
    before = worst_group(embeddings @ words.T, classes, groups, NAMES)
    after = worst_group(fitted.apply(embeddings) @ words.T, classes, groups, NAMES)
    assert before[1] < 0.3
    assert after[1] > 0.8
    assert after[0] > before[0] - 0.02


def test_the_groups_of_one_class_lie_nearer_together_than_before(fitted: Adapter) -> None:
    embeddings, classes, groups, _ = planted(1500, 1)
    one = (np.array(classes) == "female") & (np.array(groups) == "nurse")
    other = (np.array(classes) == "female") & (np.array(groups) == "pilot")
    moved = fitted.apply(embeddings)
    assert (moved[one] @ moved[other].T).mean() > (embeddings[one] @ embeddings[other].T).mean() + 0.1


def test_the_contrastive_loss_alone_parts_the_classes_without_the_sentences() -> None:
    embeddings, classes, groups, words = planted(1500, 0)
    moved = fit_adapter(embeddings, classes, groups, words, NAMES, contrast=1.0, hidden=32, steps=200).apply(embeddings)
    female = np.array(classes) == "female"
    inside, across = (moved[female] @ moved[female].T).mean(), (moved[female] @ moved[~female].T).mean()
    assert inside - across > 0.3


def test_moved_embeddings_are_unit_rows_of_the_same_width(fitted: Adapter) -> None:
    moved = fitted.apply(planted(20, 2)[0])
    assert moved.shape == (20, 16)
    assert moved.dtype == np.float32
    assert np.allclose(np.linalg.norm(moved, axis=1), 1, atol=1e-5)


def test_one_seed_gives_one_adapter() -> None:
    data = planted(200, 0)
    twice = [fit_adapter(*data, NAMES, hidden=8, steps=5, seed=3).sha256 for _ in range(2)]
    assert twice[0] == twice[1]
    assert fit_adapter(*data, NAMES, hidden=8, steps=5, seed=4).sha256 != twice[0]


def test_a_saved_adapter_loads_as_it_was(fitted: Adapter, tmp_path: Path) -> None:
    loaded = load_adapter(fitted.save(tmp_path / "a"))
    assert loaded.sha256 == fitted.sha256
    assert (loaded.attribute, loaded.classes, loaded.groups) == ("gender", tuple(NAMES), tuple(GROUPS))
    embeddings = planted(20, 2)[0]
    assert np.array_equal(loaded.apply(embeddings), fitted.apply(embeddings))
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["adapter.json", "adapter.safetensors"]


def test_embeddings_of_another_width_are_refused(fitted: Adapter) -> None:
    with pytest.raises(EncoderError, match="16 numbers"):
        fitted.apply(np.ones((3, 8), np.float32))


@pytest.mark.parametrize("damage", ["weights", "cut", "facts", "version", "missing", "shape"])
def test_a_damaged_adapter_is_one_clear_error(fitted: Adapter, tmp_path: Path, damage: str) -> None:
    folder = fitted.save(tmp_path)
    facts, tensors = folder / "adapter.json", folder / "adapter.safetensors"
    if damage == "weights":
        tensors.write_bytes(tensors.read_bytes()[:-1] + b"\x01")
    elif damage == "cut":
        tensors.write_bytes(tensors.read_bytes()[:10])
    elif damage == "facts":
        facts.write_text("{")
    elif damage == "version":
        facts.write_text(json.dumps({**json.loads(facts.read_text()), "version": 99}))
    elif damage == "missing":
        tensors.unlink()
    else:
        Adapter(np.ones((4, 16)), np.ones(5), np.ones((16, 4)), np.ones(16)).save(folder)
    with pytest.raises(EncoderError) as caught:
        load_adapter(folder)
    assert caught.value.where is not None
    assert caught.value.mend is not None


def test_a_class_that_is_seen_in_one_group_only_is_refused() -> None:
    embeddings, classes, _, words = planted(50, 0)
    groups = ["pilot" if each == "male" else "nurse" for each in classes]
    with pytest.raises(EncoderError, match="cannot be told apart"):
        fit_adapter(embeddings, classes, groups, words, NAMES)


def test_the_worst_group_of_nothing_is_no_number() -> None:
    average, worst, which = worst_group(np.zeros((0, 2)), [], [], NAMES)
    assert np.isnan(average)
    assert np.isnan(worst)
    assert which == ""


@pytest.fixture
def encoder(tmp_path: Path) -> Encoder:
    return load_encoder(str(save_tiny(tmp_path / "tiny")[0]), device="cpu")


def adapter_of(encoder: Encoder, seed: int = 0) -> Adapter:
    embeddings, classes, groups, words = planted(200, seed)
    return fit_adapter(
        embeddings, classes, groups, words, NAMES, hidden=8, steps=20, attribute="gender", encoder=encoder.source,
        encoder_sha256=encoder.sha256,
    )  # fmt: skip


def test_the_adapters_folder_loads_as_an_encoder_that_moves_images_and_leaves_texts(
    encoder: Encoder, tmp_path: Path
) -> None:
    adapter = adapter_of(encoder)
    both = load_encoder(str(adapter.save(tmp_path / "fair")), device="cpu")
    images = random_images(3)
    assert np.allclose(both.embed_images(images), adapter.apply(encoder.embed_images(images)), atol=1e-6)
    assert np.array_equal(both.embed_texts(["a man"]), encoder.embed_texts(["a man"]))
    assert both.name == "fair"
    assert both.sha256 == f"{encoder.sha256}+{adapter.sha256}" == weights_sha256(tmp_path / "fair")


def test_pixels_are_moved_as_images_are(encoder: Encoder, tmp_path: Path) -> None:
    import torch

    adapter = adapter_of(encoder)
    both = adapted(encoder, adapter, tmp_path / "fair")
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert np.allclose(
        both.embed_pixels(pixels).numpy(), adapter.apply(encoder.embed_pixels(pixels).numpy()), atol=1e-5
    )


def test_an_adapter_of_other_weights_is_refused(encoder: Encoder, tmp_path: Path) -> None:
    other = load_encoder(str(save_tiny(tmp_path / "other", seed=5)[0]), device="cpu")
    with pytest.raises(EncoderError, match="not for other"):
        adapted(other, adapter_of(encoder), tmp_path / "fair")


def test_what_needs_the_image_tower_refuses_an_encoder_with_an_adapter(encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="image tower"):
        _ = adapted(encoder, adapter_of(encoder), tmp_path / "fair").tower


def test_images_that_the_encoder_has_seen_are_not_read_again(encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    run = MemoryRun(tmp_path / "images", random_images(4))
    ids, plain = embed_run(run, encoder)
    shutil.rmtree(tmp_path / "images")
    both = adapted(encoder, adapter_of(encoder), tmp_path / "fair")
    moved = embed_run(run, both)[1]
    assert np.allclose(moved, both.move(plain))
    assert run.embeddings("fair", fingerprint=both.sha256) is not None
    assert ids == run.ids


def test_the_encoders_own_calibration_is_not_the_adapters(encoder: Encoder, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = [NAMES[i % 2] for i in range(80)]
    cosines = np.array([[0.5, -0.5] if each == "female" else [-0.5, 0.5] for each in truth]) + rng.normal(
        0, 0.1, (80, 2)
    )
    sources = [str(i) for i in range(80)]
    facts = {"attribute": "gender", "source": "a test"}
    fit_calibration(cosines, truth, sources, encoder=encoder, **facts).save(encoder.folder or tmp_path)
    folder = adapter_of(encoder).save(tmp_path / "fair")
    both = load_encoder(str(folder), device="cpu")
    assert load_calibration(encoder, "gender") is not None
    assert load_calibration(both, "gender") is None

    fit_calibration(cosines, truth, sources, encoder=both, **facts).save(folder)
    assert load_calibration(both, "gender") is not None
    assert load_calibration(str(folder), "gender") is not None  # without loading the encoder
    adapter_of(encoder, seed=1).save(folder)  # another adapter in its place
    with pytest.raises(CalibrationError, match="other weights"):
        load_calibration(str(folder), "gender")
