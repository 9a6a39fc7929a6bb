"""Present, absent, abstain: the right key and payload, corrections for what was tried, batches, foreign bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from watermark_toy import Toy, entry, key, photograph

from auditkit.errors import WatermarkError
from auditkit.watermark import null, verdict
from auditkit.watermark.base import GREY, Evidence, Reading, padded
from auditkit.watermark.embedding import embed
from auditkit.watermark.keys import KeyRing, Registered
from auditkit.watermark.payload import LONG_WORD, Payload, encode

PAYLOAD = Payload(1, 42)


@pytest.fixture(scope="module")
def marked() -> np.ndarray:
    return embed(photograph(), Toy(), key(), PAYLOAD, psnr=38)


class Fixed(Toy):
    """Reads soft values that were set beforehand."""

    name = "fixed"

    def __init__(self, soft: np.ndarray, looks: int = 1, unusable: str = ""):
        self.reading = Reading(soft, looks=looks, unusable=unusable)

    def read(self, image: np.ndarray, key: object, *, search: bool = True) -> Reading:
        return self.reading


def soft_with(matched: int) -> np.ndarray:
    """Soft values of one size, of which so many of about one size agree with the payload's padded word."""
    wire = padded(encode(PAYLOAD), "fixed", key())
    sizes = np.random.default_rng(0).uniform(0.8, 1.2, LONG_WORD)
    return (2.0 * wire - 1) * np.where(np.arange(LONG_WORD) < matched, sizes, -sizes)


def one(image: np.ndarray, scheme: object, **options: object) -> verdict.Detection:
    found = verdict.detect(image, **{"ring": [entry()], "schemes": [scheme], **options})  # type: ignore[arg-type]
    assert len(found) == 1
    return found[0]


def test_a_mark_is_present_and_its_payload_read_though_nobody_named_it(marked: np.ndarray) -> None:
    found = one(marked, Toy())
    assert found.verdict == "present"
    assert found.payload == PAYLOAD
    assert found.p_value < 1e-12
    assert (found.p_kind, found.payload_name) == ("bound", "")
    assert found.corrected == LONG_WORD - found.matched


def test_a_registered_payload_is_named_and_needs_less_evidence(marked: np.ndarray) -> None:
    named = one(marked, Toy(), ring=[entry(0, Registered(PAYLOAD, "Ada"))])
    assert (named.payload, named.payload_name, named.p_kind) == (PAYLOAD, "Ada", "exact")
    assert named.corrected is None
    assert named.p_value < one(marked, Toy()).p_value


def test_a_payload_given_with_the_question_is_looked_for(marked: np.ndarray) -> None:
    assert one(marked, Toy(), payloads=[PAYLOAD]).p_kind == "exact"


def test_another_keys_mark_is_absent(marked: np.ndarray) -> None:
    found = one(marked, Toy(), ring=[entry(1, Registered(PAYLOAD))])
    assert found.verdict == "absent"
    assert found.payload is None
    assert "does not show" in found.note


def test_a_registered_payload_that_is_not_the_marks_does_not_hide_it(marked: np.ndarray) -> None:
    found = one(marked, Toy(), ring=[entry(0, Registered(Payload(9, 9), "Bob"))])
    assert (found.verdict, found.payload, found.payload_name) == ("present", PAYLOAD, "")


def test_an_unmarked_photograph_is_absent() -> None:
    assert one(photograph(), Toy(), payloads=[PAYLOAD]).verdict == "absent"


@pytest.mark.parametrize(("matched", "said"), [(175, "present"), (155, "abstain"), (124, "absent")])
def test_the_verdict_follows_from_the_p_value(matched: int, said: str) -> None:
    found = one(photograph(), Fixed(soft_with(matched)), payloads=[PAYLOAD])
    assert found.verdict == said
    assert (found.p_value <= 1e-6) == (said == "present")
    assert (found.p_value > GREY) == (said == "absent")
    assert (found.payload is None) == (said != "present")


def test_what_cannot_be_read_is_abstained_on() -> None:
    found = one(photograph(), Fixed(np.zeros(LONG_WORD), unusable="flat"))
    assert (found.verdict, found.note, found.p_value) == ("abstain", "flat", 1)
    assert one(photograph(side=40), Toy()).verdict == "abstain"


def test_every_scheme_key_payload_and_reading_tried_is_paid_for() -> None:
    scheme = Fixed(soft_with(190))
    alone = one(photograph(), scheme, payloads=[PAYLOAD])
    two_keys = verdict.detect(photograph(), ring=[entry(0), entry(1)], schemes=[scheme], payloads=[PAYLOAD])[0]
    assert two_keys.p_value == pytest.approx(2 * alone.p_value)
    four = verdict.detect(photograph(), ring=[entry(0), entry(1)], schemes=[scheme, Toy()], payloads=[PAYLOAD])[0]
    assert four.p_value == pytest.approx(4 * alone.p_value)
    more = one(photograph(), scheme, payloads=[PAYLOAD, *(Payload(2, user) for user in range(9))])
    assert more.p_value == pytest.approx(10 * alone.p_value)
    assert more.looks == 10 * alone.looks
    looked = one(photograph(), Fixed(soft_with(190), looks=7), payloads=[PAYLOAD])
    assert looked.p_value == pytest.approx(7 * alone.p_value)


def test_retired_keys_are_looked_for_too(marked: np.ndarray, tmp_path: Path) -> None:
    from dataclasses import replace

    ring = KeyRing(tmp_path / "keys.json", (entry(1), replace(entry(0), active=False)))
    found = verdict.detect(marked, ring=ring, schemes=[Toy()])
    assert [each.verdict for each in found] == ["absent", "present"]


def test_marks_of_two_keys_in_one_image_are_suspect(marked: np.ndarray) -> None:
    twice = embed(marked, Toy(), key(1), PAYLOAD, psnr=38)
    found = verdict.detect(twice, ring=[entry(0), entry(1)], schemes=[Toy()])
    assert [(each.verdict, each.forgery) for each in found] == [("present", "suspect")] * 2
    assert "2 keys" in found[0].note


class Latent:
    """Says that a mark is there where the noise is positive."""

    name, version, title, family = "latent-toy", 1, "", "latent"

    def evidence(self, noise: np.ndarray, key: object, *, payloads: object = ()) -> Evidence:
        return Evidence(1e-9 if noise.mean() > 0 else 0.7, "bound")


def test_latent_schemes_ask_for_the_noise_once_and_abstain_without_it() -> None:
    asked = []

    def noise() -> np.ndarray:
        asked.append(1)
        return np.ones((4, 8, 8))

    options = {"ring": [entry(0), entry(1)], "schemes": [Latent(), Latent()]}
    found = verdict.detect(photograph(), noise=noise, **options)  # type: ignore[arg-type]
    assert len(asked) == 1
    assert [each.p_value for each in found] == pytest.approx([4e-9] * 4)
    without = verdict.detect(photograph(), **options)  # type: ignore[arg-type]
    assert {each.verdict for each in without} == {"abstain"}
    assert "inversion" in without[0].note


@pytest.mark.parametrize("fpr", [0, -1, 0.5, float("nan")])
def test_a_rate_that_is_none_is_refused(fpr: float) -> None:
    with pytest.raises(WatermarkError, match="false positive rate"):
        one(photograph(), Toy(), fpr=fpr)


def test_no_key_and_no_image_are_clear_errors() -> None:
    with pytest.raises(WatermarkError, match="no key"):
        one(photograph(), Toy(), ring=[])
    for wrong in (np.zeros((80, 80), np.uint8), np.zeros((80, 80, 3)), np.zeros((80, 80, 4), np.uint8)):
        with pytest.raises(WatermarkError, match="8-bit RGB"):
            one(wrong, Toy())


def test_a_folder_is_read_with_one_row_for_a_broken_file(marked: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    Image.fromarray(marked).save(tmp_path / "in" / "sub" / "marked.png")
    Image.fromarray(photograph()).save(tmp_path / "in" / "plain.png")
    (tmp_path / "in" / "broken.png").write_bytes((tmp_path / "in" / "plain.png").read_bytes()[:500])
    Image.fromarray(marked).save(tmp_path / "secret.png")
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "secret.png")
    seen: list[tuple[int, int]] = []
    table = verdict.detect_folder(
        tmp_path / "in", ring=[entry()], schemes=[Toy()], workers=2, progress=lambda done, of: seen.append((done, of))
    )
    rows = table.set_index("file")
    assert rows["verdict"].to_dict() == pytest.approx(
        {"broken.png": np.nan, "plain.png": "absent", "sub/marked.png": "present", "link.png": np.nan}, nan_ok=True
    )
    assert "truncated" in rows.loc["broken.png", "error"]
    assert "outside" in rows.loc["link.png", "error"]
    assert rows.loc["sub/marked.png", "payload"] == "1:42"
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_no_secret_is_in_a_detection(marked: np.ndarray) -> None:
    found = one(marked, Toy())
    assert key().secret.hex() not in repr(found)
    assert repr(key().secret) not in repr(found)


class Foreign:
    name, version, title, family, bits = "foreign-toy", 1, "", "foreign", 16

    def read_bits(self, image: np.ndarray) -> np.ndarray:
        return np.unpackbits(np.frombuffer(b"ok", np.uint8))


def test_foreign_bits_get_no_verdict_and_no_p_value() -> None:
    (found,) = verdict.read_foreign(photograph(), [Foreign()], expected=b"ok")
    assert (found.verdict, found.p_kind, found.matched, found.bits) == ("abstain", "none", 16, 16)
    assert np.isnan(found.p_value)
    assert "no key" in found.note
    assert b"ok".hex() in verdict.read_foreign(photograph(), [Foreign()])[0].note
    with pytest.raises(WatermarkError, match="other tools"):
        one(photograph(), Foreign())
    with pytest.raises(WatermarkError, match="8 bits"):
        verdict.read_foreign(photograph(), [Foreign()], expected=b"o")


def test_the_measured_null_is_shown_with_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    hits = {"1e-02": 3, "1e-03": 1, "1e-04": 0, "1e-06": 0}
    row = {"scheme": "toy", "version": 1, "pairs": 1000, "hits": hits}
    monkeypatch.setattr(null, "measured", lambda: (row, row))
    assert null.null_text("toy", 1, 1e-3) == (
        "at 1e-03: 2 false positives in 2,000 unmarked images and keys (at most 3.1e-03)"
    )
    assert null.null_text("toy", 1, 2e-5).startswith("at 1e-04: 0 false")
    assert null.null_text("toy", 2, 1e-3) == ""


def test_the_shipped_null_counts_no_more_than_nominal() -> None:
    from scipy.stats import binom

    for row in null.measured():
        for level in null.LEVELS:
            hits = row["hits"][null.level_name(level)]
            assert binom.sf(hits - 1, row["pairs"], level) > 1e-4, row
