"""Signing: what a manifest says, in three formats, in the file and beside it; and what is never written."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from provenance_helpers import (
    FORMATS,
    PLAIN,
    credentials,
    image_bytes,
    isolated,  # noqa: F401
    picture,
    pixels,
    signed,
    verdict_of,
)

from auditkit.errors import ProvenanceError
from auditkit.provenance import manifest, signing, vocabulary
from auditkit.provenance.containers import find, strip
from auditkit.provenance.manifest import Claim, Generation, SoftBinding, prompt_hash, weights_hash
from auditkit.provenance.reading import read
from auditkit.provenance.verdict import assertions

BINDINGS = (
    SoftBinding("auditkit.watermark.spread.1", b"k-1:0:7", "watermark"),
    SoftBinding(manifest.PDQ_ALGORITHM, bytes(range(32)), "fingerprint"),
)


def said(made, label):
    """Data of the assertions of the active manifest with that label, or numbered copies of it."""
    report = read(made.data, sidecar=None if made.embedded else made.manifest)
    return [each["data"] for each in assertions(report) if each["label"].split("__")[0] == label]


def actions(made):
    return said(made, "c2pa.actions.v2")[0]["actions"]


def generation(made):
    return said(made, manifest.GENERATION)[0]


# Formats


@pytest.mark.parametrize("fmt", FORMATS)
def test_an_embedded_manifest_verifies_and_the_pixels_are_the_sources(fmt):
    made = signed(fmt)
    assert verdict_of(made).verdict == "trusted"
    assert np.array_equal(pixels(made.data), pixels(image_bytes(fmt)))


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_sidecar_verifies_and_the_file_keeps_every_byte(fmt):
    made = signed(fmt, embed=False)
    assert made.data == image_bytes(fmt)
    assert verdict_of(made).verdict == "trusted"
    assert verdict_of(made.data).verdict == "no-manifest"


def test_what_is_kept_is_the_manifest_that_is_in_the_file():
    for fmt in PLAIN:
        made = signed(fmt)
        assert find(made.data).store == made.manifest


@pytest.mark.parametrize("fmt", PLAIN)
def test_without_thumbnails_a_manifest_is_small(fmt):
    made = signed(fmt, bindings=BINDINGS, training="notAllowed", generation=Generation("g", "1", "a" * 64, 1))
    assert len(made.manifest) < 8000
    assert b"thumbnail" not in made.manifest


@settings(max_examples=40)
@given(
    fmt=st.sampled_from(sorted(FORMATS)),
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    seed=st.integers(0, 2**32 - 1),
)
def test_for_any_size_the_pixels_of_a_signed_file_are_the_sources(fmt, width, height, seed):
    source = image_bytes(fmt, seed=seed, size=(width, height))
    made = signed(source)
    assert np.array_equal(pixels(made.data), pixels(source))
    assert verdict_of(made).verdict == "trusted"


def test_metadata_of_the_source_stay():
    exif = Image.Exif()
    exif[0x010E] = "a description"
    for fmt, name in (("PNG", "png"), ("JPEG", "jpeg"), ("WEBP", "webp")):
        path = Path(f"with-exif.{name}")
        picture().save(path, fmt, exif=exif, icc_profile=b"not looked into")
        made = signed(path.read_bytes())
        Path("out").write_bytes(made.data)
        with Image.open("out") as image:
            assert image.getexif()[0x010E] == "a description"
            assert image.info["icc_profile"] == b"not looked into"


# Actions and ingredients


def test_a_created_image_says_first_how_it_came_to_be():
    made = signed("png", actions=("cropped", "c2pa.resized", "org.example.framed"))
    assert [each["action"] for each in actions(made)] == [
        "c2pa.created", "c2pa.cropped", "c2pa.resized", "org.example.framed",
    ]  # fmt: skip
    assert actions(made)[0]["digitalSourceType"] == vocabulary.IPTC + "trainedAlgorithmicMedia"


def test_an_image_that_was_only_found_is_opened_and_claims_no_origin():
    made = signed("png", source_type=None)
    assert [each["action"] for each in actions(made)] == ["c2pa.opened"]
    assert verdict_of(made).generated is None
    (edge,) = verdict_of(made).graph["edges"]
    assert (edge["relationship"], edge["to"]) == ("parentOf", None)


def test_three_generations_are_one_chain_of_ingredients():
    first = signed("png", title="first")
    second = signed("jpeg", title="second", parent=("first", first.data), actions=("converted",))
    third = signed("webp", title="third", parent=("second", second.data), actions=("edited",))
    found = verdict_of(third)
    assert found.verdict == "trusted"
    assert len(found.graph["nodes"]) == 3
    assert {(e["from"], e["to"], e["relationship"]) for e in found.graph["edges"]} == {
        (third.label, second.label, "parentOf"), (second.label, first.label, "parentOf"),
    }  # fmt: skip


def test_a_signed_image_signed_again_keeps_its_manifest_as_its_history():
    first = signed("jpeg")
    again = signed(first.data, source_type=None)
    assert {node["label"] for node in verdict_of(again).graph["nodes"]} == {first.label, again.label}
    assert strip(again.data) == strip(first.data)


def test_what_was_placed_into_it_is_named():
    inner = signed("jpeg", title="inner")
    made = signed("png", components=(("inner", inner.data), ("plain", image_bytes("webp"))))
    assert [each["action"] for each in actions(made)] == ["c2pa.created", "c2pa.placed", "c2pa.placed"]
    found = {edge["title"]: edge for edge in verdict_of(made).graph["edges"]}
    assert {each["relationship"] for each in found.values()} == {"componentOf"}
    assert found["inner"]["to"] == inner.label


def test_an_image_is_created_or_has_a_parent_not_both():
    with pytest.raises(ProvenanceError, match="not both"):
        signing.sign_bytes(
            image_bytes(), Claim("x", source_type="digitalCapture"), credentials(), parent=("p", image_bytes())
        )


@pytest.mark.parametrize(("data", "why"), [(b"hello", "not a media file"), (image_bytes()[:200], "cannot be read")])
def test_a_parent_that_is_no_image_is_named(data, why):
    with pytest.raises(ProvenanceError, match=why) as caught:
        signed("png", parent=("parent.png", data))
    assert caught.value.where == "parent.png"


@pytest.mark.parametrize("name", ["created", "opened", "placed", "removed", "watermarked", "c2pa.watermarked.bound"])
def test_an_action_that_needs_more_than_its_name_says_what_to_do(name):
    with pytest.raises(ProvenanceError, match="needs more than its name") as caught:
        signed("png", actions=(name,))
    assert caught.value.mend


@pytest.mark.parametrize(("name", "near"), [("croped", "c2pa.cropped"), ("c2pa.editd", "c2pa.edited")])
def test_an_action_that_c2pa_does_not_have_is_refused_with_the_nearest(name, near):
    with pytest.raises(ProvenanceError, match=f"did you mean {re.escape(near)}"):
        signed("png", actions=(name,))


# Source types


@pytest.mark.parametrize("name", sorted(vocabulary.SOURCE_TYPES))
def test_every_source_type_of_the_vocabulary_signs_by_name_uri_and_https(name):
    uri = vocabulary.SOURCE_TYPES[name]
    assert vocabulary.source_type(uri.replace("http:", "https:")) == vocabulary.source_type(name) == uri
    assert actions(signed("jpeg", source_type=uri))[0]["digitalSourceType"] == uri


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("trainedAlgorithmicMedium", "did you mean trainedAlgorithmicMedia"),
        ("http://example.com/trainedAlgorithmicMedia", "not in the vocabulary"),
        (vocabulary.C2PA + "trainedAlgorithmicMedia", "did you mean trainedAlgorithmicMedia"),
        ("softwareImage", "retired.*did you mean digitalCreation"),
        (vocabulary.IPTC.replace("http:", "https:") + "minorHumanEdits", "retired.*did you mean humanEdits"),
        ("", "not in the vocabulary"),
        ("https://", "not in the vocabulary"),
    ],
)
def test_a_source_type_outside_the_vocabulary_is_refused(name, hint):
    with pytest.raises(ProvenanceError, match=hint):
        signed("png", source_type=name)


@pytest.mark.parametrize(
    ("name", "generated"),
    [("trainedAlgorithmicMedia", True), ("compositeWithTrainedAlgorithmicMedia", True), ("digitalCapture", False)],
)
def test_only_some_source_types_say_that_a_model_made_it(name, generated):
    assert verdict_of(signed("png", source_type=name)).generated is generated


# What is known of the generation


def test_generator_version_weights_and_seed_are_in_the_manifest():
    known = Generation("sd", "1.5", "a" * 64, 2**63, "ddim", 20, 7.5, run="r", image="b" * 64)
    made = signed("png", generation=known)
    assert actions(made)[0]["softwareAgent"] == {"name": "sd", "version": "1.5"}
    assert generation(made) == {
        "generator": "sd", "version": "1.5", "weights_sha256": "a" * 64, "seed": str(2**63), "sampler": "ddim",
        "steps": 20, "guidance": "7.5", "run": "r", "image": "b" * 64,
    }  # fmt: skip


def test_what_is_not_known_is_not_in_the_manifest():
    assert generation(signed("png", generation=Generation(seed=0))) == {"seed": "0"}
    assert said(signed("png"), manifest.GENERATION) == []


def test_the_salt_opens_the_hash_of_the_prompt():
    made = signed("png", generation=Generation(prompt="a judge, portrait"))
    held = generation(made)["prompt_hash"]
    assert held == {"alg": "sha256", "salted": True, "value": prompt_hash("a judge, portrait", made.salt)}
    assert prompt_hash("a judge, painting", made.salt) != held["value"]


@pytest.mark.parametrize("fmt", PLAIN)
def test_neither_the_prompt_nor_its_salt_is_anywhere_in_the_bytes(fmt):
    prompt = "a portrait of a zymurgist"
    made = signed(fmt, generation=Generation(prompt=prompt))
    for secret in (prompt.encode(), b"zymurgist", made.salt.encode(), bytes.fromhex(made.salt)):
        assert secret not in made.data + made.manifest
    assert prompt not in repr(Generation(prompt=prompt))


def test_the_same_prompt_gives_another_hash_each_time():
    known = Generation(prompt="a judge")
    assert generation(signed("png", generation=known)) != generation(signed("png", generation=known))


def test_an_empty_prompt_is_a_prompt():
    made = signed("png", generation=Generation(prompt=""))
    assert generation(made)["prompt_hash"]["value"] == prompt_hash("", made.salt)


@pytest.mark.parametrize("wrong", ["", "abc", "G" * 64, "A" * 64])
def test_a_hash_of_weights_that_is_none_is_refused(wrong):
    with pytest.raises(ProvenanceError, match="no sha256"):
        signed("png", generation=Generation(weights_sha256=wrong))


def test_a_checkpoint_of_several_files_has_one_hash_whatever_their_order():
    assert weights_hash({"a": "1", "b": "2"}) == weights_hash({"b": "2", "a": "1"})
    assert weights_hash({"a": "1", "b": "2"}) != weights_hash({"a": "2", "b": "1"})
    assert weights_hash({}) is None


# Training, soft bindings, watermarks


@pytest.mark.parametrize("permission", manifest.PERMISSIONS)
def test_permission_for_training_is_said_of_each_use(permission):
    terms = "https://example.org/terms" if permission == "constrained" else ""
    (found,) = said(signed("png", training=permission, training_terms=terms), "cawg.training-mining")
    assert {each["use"] for each in found["entries"].values()} == {permission}
    assert set(found["entries"]) == {f"cawg.{use}" for use in manifest.USES}
    assert all(each.get("constraint_info", "") == terms for each in found["entries"].values())


@pytest.mark.parametrize(("permission", "why"), [("maybe", "no permission"), ("constrained", "needs its terms")])
def test_a_permission_that_says_nothing_is_refused(permission, why):
    with pytest.raises(ProvenanceError, match=why):
        signed("png", training=permission)


def test_every_soft_binding_is_an_assertion_of_its_own():
    made = signed("jpeg", bindings=BINDINGS)
    assert {each["alg"] for each in said(made, "c2pa.soft-binding")} == {each.algorithm for each in BINDINGS}
    assert verdict_of(made).verdict == "trusted"


def test_an_image_with_a_watermark_says_so():
    made = signed("png", bindings=BINDINGS, watermarked=True)
    assert [each["action"] for each in actions(made)] == ["c2pa.created", "c2pa.watermarked.bound"]


def test_a_claim_of_creation_does_not_drop_the_manifest_that_is_there():
    held = signed("png").data
    with pytest.raises(ProvenanceError, match="would drop its history"):
        signing.sign_bytes(held, Claim("a.png", source_type="trainedAlgorithmicMedia"), credentials())
