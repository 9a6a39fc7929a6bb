"""Encoders load from folders, files and names, and embed the same whatever the batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_clip import MemoryRun, model_cfg, random_images, save_tiny

from auditkit.clip.encoders import Encoder, embed_run, load_encoder, pick_device
from auditkit.clip.folder import save_encoder
from auditkit.errors import EncoderError, ImageError

TEXTS = ["a woman", "a portrait of a man with dark skin", "zyzzyva"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("encoders") / "tiny")[0]


@pytest.fixture(scope="module")
def encoder(tiny: Path) -> Encoder:
    return load_encoder(str(tiny), device="cpu")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "tiny")[0]


def test_a_saved_encoder_embeds_as_the_model_that_was_saved(tmp_path: Path) -> None:
    import open_clip
    import torch

    folder, state = save_tiny(tmp_path / "tiny")
    encoder = load_encoder(str(folder), device="cpu")
    size = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]["vocab_size"]
    model = open_clip.CLIP(**model_cfg(size)).eval()
    model.load_state_dict(state)
    tokens = open_clip.SimpleTokenizer(str(folder / "bpe.txt.gz"), context_length=24)(TEXTS)
    with torch.no_grad():
        expected = model.encode_text(tokens, normalize=True).numpy()
    assert np.allclose(encoder.embed_texts(TEXTS), expected, atol=2e-3)  # fp16 on disk
    assert encoder.logit_scale == pytest.approx(float(state["logit_scale"].exp()), rel=1e-6)


def test_info_says_what_was_loaded(encoder: Encoder, tiny: Path) -> None:
    info = encoder.info()
    assert (info["name"], info["dim"], info["image_size"]) == ("tiny", 16, 32)
    assert info["sha256"] == json.loads((tiny / "weights.json").read_text())["open_clip_model.safetensors"]


def test_embeddings_are_float32_rows_of_unit_length(encoder: Encoder) -> None:
    for array in (encoder.embed_images(random_images(5)), encoder.embed_texts(TEXTS)):
        assert array.dtype == np.float32
        assert array.shape[1] == encoder.dim
        assert np.allclose(np.linalg.norm(array, axis=1), 1, atol=1e-6)


def test_the_batch_size_does_not_change_embeddings(encoder: Encoder) -> None:
    images = random_images(7)
    whole = encoder.embed_images(images, batch_size=64)
    for size in (1, 3):
        assert np.allclose(encoder.embed_images(images, batch_size=size), whole, atol=1e-5)


def test_no_images_give_an_empty_array(encoder: Encoder) -> None:
    assert encoder.embed_images([]).shape == (0, 16)
    assert encoder.embed_texts([]).shape == (0, 16)


def test_files_embed_as_the_images_in_them(encoder: Encoder, tmp_path: Path) -> None:
    image = random_images(1)[0]
    image.save(tmp_path / "a.png")
    assert np.array_equal(encoder.embed_images([tmp_path / "a.png"]), encoder.embed_images([image]))


def test_a_file_that_is_no_image_is_a_clear_error(encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(ImageError):
        encoder.embed_images([tmp_path / "a.png"])


def test_progress_counts_images(encoder: Encoder) -> None:
    seen: list[tuple[int, int]] = []
    encoder.embed_images(random_images(5), batch_size=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_a_changed_byte_in_the_weights_is_refused(copy: Path) -> None:
    path = copy / "open_clip_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(EncoderError, match="differs") as caught:
        load_encoder(str(copy))
    assert caught.value.where == path


@pytest.mark.parametrize("name", ["bpe.txt.gz", "open_clip_config.json", "open_clip_model.safetensors"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(EncoderError) as caught:
        load_encoder(str(copy))
    assert caught.value.where == copy / name


def test_a_folder_with_pickled_weights_only_is_refused(copy: Path) -> None:
    (copy / "open_clip_model.safetensors").rename(copy / "open_clip_pytorch_model.bin")
    with pytest.raises(EncoderError, match="pickle") as caught:
        load_encoder(str(copy))
    assert "safetensors.torch.save_file" in str(caught.value)


@pytest.mark.parametrize("name", ["ViT-B-32:weights.pt", "model.bin", "ViT-B-32:epoch_9.pth"])
def test_a_pickle_by_name_is_refused(name: str) -> None:
    with pytest.raises(EncoderError, match="pickle"):
        load_encoder(name)


def test_a_vocabulary_of_another_model_is_refused(copy: Path) -> None:
    (copy / "weights.json").unlink()  # a folder from elsewhere, with nothing to check against
    (copy / "bpe.txt.gz").unlink()
    config = json.loads((copy / "open_clip_config.json").read_text())
    del config["model_cfg"]["text_cfg"]["tokenizer_kwargs"]  # open_clip falls back on CLIP's own vocabulary
    (copy / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(EncoderError, match="vocabulary"):
        load_encoder(str(copy))


def test_weights_of_another_shape_are_refused(copy: Path) -> None:
    (copy / "weights.json").unlink()
    config = json.loads((copy / "open_clip_config.json").read_text())
    config["model_cfg"]["embed_dim"] = 8
    (copy / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(EncoderError, match="cannot build"):
        load_encoder(str(copy))


def test_saving_checks_the_size_of_the_vocabulary(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="vocabulary has"):
        save_encoder(tmp_path / "other", model_cfg(9), {}, {}, tiny / "bpe.txt.gz")


def test_an_unknown_name_shows_near_ones() -> None:
    with pytest.raises(EncoderError) as caught:
        load_encoder("ViT-B-23:openai")
    assert "ViT-B-32" in str(caught.value.mend)


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B-32:nosuchtag", "ViT-B-32:nosuch.safetensors"])
def test_a_model_without_weights_that_exist_shows_its_tags(name: str) -> None:
    with pytest.raises(EncoderError) as caught:
        load_encoder(name)
    assert "openai" in str(caught.value.mend)


def test_weights_that_only_the_network_has_are_refused_unless_allowed(tmp_path: Path) -> None:
    code = (
        "from auditkit.clip.encoders import load_encoder\n"
        "from auditkit.errors import EncoderError\n"
        "import socket; socket.socket.connect = lambda *a: (_ for _ in ()).throw(SystemExit('network'))\n"
        "try: load_encoder('ViT-B-32:laion2b_s34b_b79k', device='cpu')\n"
        "except EncoderError as error: print(error.what)"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert "network was not allowed" in done.stdout, done.stderr


def test_a_local_file_loads_into_an_open_clip_model_by_name(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import open_clip
    import torch
    from open_clip import factory
    from safetensors.torch import save_file

    # CLIP's own vocabulary, which models by name have; the name is registered as open_clip registers its own.
    monkeypatch.setitem(factory._MODEL_CONFIGS, "ViT-tiny-test", model_cfg(49408))
    torch.manual_seed(1)
    save_file(open_clip.CLIP(**model_cfg(49408)).state_dict(), tmp_path / "weights.safetensors")
    encoder = load_encoder(f"ViT-tiny-test:{tmp_path / 'weights.safetensors'}", device="cpu")
    assert encoder.name == "ViT-tiny-test-weights"
    assert encoder.embed_texts(TEXTS).shape == (3, 16)
    assert encoder.folder is None


def test_a_device_that_is_none_is_a_clear_error() -> None:
    assert pick_device("cpu") == "cpu"
    with pytest.raises(EncoderError):
        pick_device("toaster")


class Counting:
    """Counts the images that reach the encoder."""

    def __init__(self, encoder: Encoder):
        self._encoder = encoder
        self.seen = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._encoder, name)

    def embed_images(self, images, **options):
        self.seen += len(images)
        return self._encoder.embed_images(images, **options)


def test_a_run_is_embedded_once_and_only_new_images_after_that(encoder: Encoder, tmp_path: Path) -> None:
    run, counting = MemoryRun(tmp_path, random_images(4)), Counting(encoder)
    ids, first = embed_run(run, counting)
    assert counting.seen == 4  # five rows, of which two share an image
    again_ids, again = embed_run(run, counting)
    assert counting.seen == 4
    assert ids == again_ids == run.ids
    assert np.array_equal(first, again)
    run.add(random_images(2, seed=9))
    ids, more = embed_run(run, counting)
    assert counting.seen == 6
    assert ids == run.ids
    assert np.array_equal(more[:4], first)


def test_other_weights_of_the_same_name_do_not_share_embeddings(encoder: Encoder, tmp_path: Path) -> None:
    other = load_encoder(str(save_tiny(tmp_path / "tiny", seed=5)[0]), device="cpu")
    run = MemoryRun(tmp_path, random_images(2))
    _, first = embed_run(run, encoder)
    _, second = embed_run(run, other)
    assert other.name == encoder.name
    assert not np.allclose(first, second, atol=1e-3)


def test_importing_the_clip_package_and_scorers_imports_no_torch() -> None:
    code = "import sys, auditkit.clip.zero_shot, auditkit.clip.folder; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_images_prepared_by_threads_come_in_order_and_not_all_at_once() -> None:
    import threading

    from auditkit.clip.encoders import _ahead

    begun = list[int]()
    lock = threading.Lock()

    def work(item: int) -> int:
        with lock:
            begun.append(item)
        return 2 * item

    prepared = _ahead(work, range(100), 4)
    assert next(prepared) == 0
    assert len(begun) <= 6
    assert list(prepared) == [2 * item for item in range(1, 100)]
