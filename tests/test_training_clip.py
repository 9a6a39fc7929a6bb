"""The encoder's training: the loss with many positives, who describes whom, and an export that loads."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
import training_helpers as tiny
from PIL import Image

from auditkit.clip.encoders import load_encoder
from generators.training import clip
from generators.training.clip import Codes, unicl
from generators.training.draws import Draw

ROWS = pd.DataFrame(
    [
        ("judge", "female", "dark", "noto", "person"),
        ("judge", "male", "light", "flat", "person"),
        ("pilot", "female", "light", "noto", "person"),
        ("red apple", "", "", "noto", "object"),
    ],
    columns=["concept", "gender", "skin_tone", "style", "kind"],
)
EVERY = torch.arange(4)
KEPT = torch.ones(4, dtype=torch.bool)


def logits(texts: int, images: int) -> torch.Tensor:
    return torch.randn(texts, images, generator=torch.Generator().manual_seed(0))


def described(*, kept: torch.Tensor = KEPT, concept: str = "", gender: str = "", tone: str = "", style: str = ""):
    """Which of the four rows the caption describes."""
    draw = Draw(0, "", concept, gender, tone, style)
    return Codes(ROWS, "cpu").describes([draw], EVERY, kept)[0].tolist()


def test_with_one_text_an_image_the_loss_is_clips_own():
    scores = logits(5, 5)
    truth = torch.eye(5, dtype=torch.bool)
    plain = (F.cross_entropy(scores, torch.arange(5)) + F.cross_entropy(scores.T, torch.arange(5))) / 2
    torch.testing.assert_close(unicl(scores, truth), plain)


def test_a_text_without_a_positive_is_ignored():
    scores, truth = logits(4, 4), torch.eye(4, dtype=torch.bool)
    lonely = torch.cat([scores, torch.full((1, 4), -1e4)])  # no image is drawn to it
    with_it = unicl(lonely, torch.cat([truth, torch.zeros(1, 4, dtype=torch.bool)]))
    torch.testing.assert_close(with_it, unicl(scores, truth))


def test_several_positives_share_the_weight_evenly():
    scores = torch.zeros(1, 3)
    assert unicl(scores, torch.tensor([[True, True, False]])) == pytest.approx((np.log(3) + 0) / 2)


def test_a_judge_describes_every_judge():
    assert described(concept="judge") == [True, True, False, False]


def test_a_caption_describes_only_what_agrees_with_all_it_says():
    assert described(concept="judge", gender="female") == [True, False, False, False]
    assert described(concept="judge", style="flat") == [False, True, False, False]
    assert described(concept="pilot", tone="dark") == [False, False, False, False]


def test_a_caption_of_a_person_describes_people_and_no_objects():
    assert described(gender="female") == [True, False, True, False]
    assert described(tone="light") == [False, True, True, False]
    assert described(concept="red apple") == [False, False, False, True]


def test_a_tone_caption_does_not_describe_a_recoloured_image():
    kept = torch.tensor([True, False, True, True])
    assert described(kept=kept, tone="light") == [False, False, True, False]
    assert described(kept=kept, concept="judge") == [True, True, False, False]


def test_two_steps_write_an_encoder_that_loads_and_embeds(tmp_path, monkeypatch):
    tiny.shrink(monkeypatch)
    table = tiny.table(occupations=("judge", "pilot"))
    folder = clip.train(table, tmp_path, tiny.schedule(batch=8), device="cpu")
    encoder = load_encoder(str(folder), device="cpu")
    images = encoder.embed_images([Image.new("RGB", (32, 32), "red")])
    texts = encoder.embed_texts(["a judge"])
    assert images.shape == texts.shape == (1, 16)
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-3)
    assert encoder.logit_scale <= clip.MAX_LOGIT_SCALE * 1.001
