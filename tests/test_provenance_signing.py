"""Signing: what a manifest says, in three formats, in the file and beside it; and what is never written."""

from __future__ import annotations

import json
import re
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import provenance_helpers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from provenance_helpers import (
    FORMATS,
    PLAIN,
    SUFFIX,
    credentials,
    image_bytes,
    isolated,  # noqa: F401
    issued,
    mode,
    picture,
    pixels,
    pki,
    root_pem,
    signed,
    stamping,
    tsa,  # noqa: F401
    verdict_of,
    write_image,
)

import auditkit
from auditkit.errors import AuditkitError, ImageError, ProvenanceError
from auditkit.files import sha256_file
from auditkit.provenance import manifest, publishing, signing, vocabulary
from auditkit.provenance.containers import find, strip
from auditkit.provenance.log import Log
from auditkit.provenance.manifest import Claim, Generation, SoftBinding, prompt_hash, weights_hash
from auditkit.provenance.pki import make_pki
from auditkit.provenance.reading import read
from auditkit.provenance.store import FILE, open_store
from auditkit.provenance.verdict import assertions
from auditkit.watermark import keys

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


def publish(source, out, *, by=None, timestamp=None, store="", **options):
    """`auditkit sign` without the command line."""
    claim = Claim("", source_type=options.pop("source_type", "trainedAlgorithmicMedia"))
    opened = publishing.Publisher.open(by or credentials(), timestamp=timestamp, store=store, log="")
    with opened as publisher:
        return publisher.publish_file(Path(source), Path(out), claim, **options)


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


def test_a_watermark_is_put_on_with_a_payload_of_its_own_and_bound(tmp_path):
    keys.create(tmp_path / "keys.json")
    marker = publishing.Marker.load("spread")
    write_image(tmp_path / "a.png", size=(384, 384))
    one, two = (publish(tmp_path / "a.png", tmp_path / f"{n}.png", marker=marker) for n in (1, 2))
    assert one.payload != two.payload
    assert "auditkit.watermark.spread.1" in one.bindings
    found = auditkit.detect_watermark(tmp_path / "1.png", schemes=["spread"])
    assert found["payload"].tolist() == [one.payload]


# Timestamps


def test_a_timestamp_keeps_a_signature_trusted_after_the_certificate_expired(tmp_path, tsa):  # noqa: F811
    short = issued(tmp_path, ends=timedelta(seconds=3)).load()
    stamped, plain = signed("jpeg", by=short, timestamp=tsa), signed("jpeg", by=short)
    assert abs(datetime.fromisoformat(stamped.timestamp) - datetime.now(UTC)) < timedelta(seconds=60)
    assert plain.timestamp == ""
    assert verdict_of(plain).verdict == "trusted"
    time.sleep(max(0.0, (short.expires - datetime.now(UTC)).total_seconds() + 1.1))
    assert verdict_of(plain).verdict == "expired"
    found = verdict_of(stamped)
    assert (found.verdict, found.signer.signed_at) == ("trusted", stamped.timestamp)


def test_a_key_that_lives_elsewhere_can_be_timestamped_too(tsa):  # noqa: F811
    made = signed("png", by=replace(credentials(), private=None), timestamp=tsa)
    assert verdict_of(made).signer.timestamp_authority.startswith("time-stamping authority")


def test_the_authority_of_a_stranger_dates_nothing(tmp_path, monkeypatch):
    ours, stranger = root_pem(), make_pki(tmp_path / "stranger")
    credentials()
    monkeypatch.setattr(provenance_helpers, "pki", lambda: stranger)
    with stamping(tmp_path / "tsa") as url:
        made = signed("png", timestamp=url)
    found = verdict_of(made, anchors=ours)
    assert (found.verdict, found.signer.signed_at) == ("trusted", "")
    assert made.timestamp[:10] not in found.sentence


@pytest.mark.parametrize(
    "url", ["nonsense", "ftp://127.0.0.1/", "file:///etc/passwd", "http://", "http://[::1", "127.0.0.1:80"]
)
def test_what_is_no_address_of_an_authority_is_refused(url):
    with pytest.raises(ProvenanceError, match="no address") as caught:
        signed("png", timestamp=url)
    assert caught.value.where == url


def test_an_authority_that_does_not_answer_is_one_error_and_nothing_is_written(tmp_path):
    with socket.socket() as taken:  # bound, not listening: nobody else can answer here
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        write_image(tmp_path / "a.png")
        with pytest.raises(ProvenanceError, match="gave no timestamp") as caught:
            publish(tmp_path / "a.png", tmp_path / "b.png", timestamp=url, store=tmp_path / "store")
    assert caught.value.where == url
    assert not (tmp_path / "b.png").exists()
    with open_store(tmp_path / "store") as store:
        assert len(store) == 0


@pytest.mark.parametrize("answer", [b"", b"no timestamp", b"0\x03\x02\x01\x02"], ids=["nothing", "text", "refusal"])
def test_an_authority_that_answers_nonsense_is_one_error(tmp_path, answer):
    with stamping(tmp_path / "tsa", answer=answer) as url:
        with pytest.raises(ProvenanceError, match=r"(gave|carries) no timestamp") as caught:
            signed("png", timestamp=url)
        assert caught.value.where == url


# Files


@pytest.mark.parametrize("fmt", PLAIN)
def test_a_file_in_place_is_replaced_by_one_that_verifies(tmp_path, fmt):
    path = write_image(tmp_path / f"a{SUFFIX[fmt]}")
    publish(path, path, overwrite=True)
    assert verdict_of(path.read_bytes()).verdict == "trusted"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_file_in_place_stays_where_the_new_one_does_not_verify(tmp_path, monkeypatch):
    path = write_image(tmp_path / "a.png")
    before = path.read_bytes()
    monkeypatch.setattr(signing, "read", lambda data, **how: read(data[:-40] + b"!" + data[-39:], **how))
    with pytest.raises(ProvenanceError, match="does not verify"):
        publish(path, path, overwrite=True, store=tmp_path / "store")
    assert path.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.png", "store"]


def test_a_certificate_that_does_not_fit_its_key_leaves_the_file(tmp_path):
    path = write_image(tmp_path / "a.png")
    before = path.read_bytes()
    with pytest.raises(ProvenanceError):
        publish(path, path, overwrite=True, by=issued(tmp_path / "keys", other_key=True).unchecked)
    assert path.read_bytes() == before


@pytest.mark.parametrize("sidecar", [False, True])
def test_a_file_that_is_there_is_not_replaced_unasked(tmp_path, sidecar):
    write_image(tmp_path / "a.png")
    there = tmp_path / ("b.c2pa" if sidecar else "b.png")
    there.write_text("mine")
    with pytest.raises(ProvenanceError, match="there is a file already"):
        publish(tmp_path / "a.png", tmp_path / "b.png", sidecar=sidecar)
    assert there.read_text() == "mine"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.png", there.name]


def test_a_sidecar_lies_beside_the_image(tmp_path):
    write_image(tmp_path / "a.webp")
    made = publish(tmp_path / "a.webp", tmp_path / "b.webp", sidecar=True)
    assert made.sidecar == tmp_path / "b.c2pa"
    assert verdict_of(made.out.read_bytes(), sidecar=made.sidecar.read_bytes()).verdict == "trusted"


@pytest.mark.parametrize("source_type", [None, "digitalCapture"])
def test_a_sidecar_beside_a_manifest_in_the_file_is_refused(source_type):
    with pytest.raises(ProvenanceError, match="a sidecar would contradict it"):
        signed(signed("png").data, embed=False, source_type=source_type)


@pytest.mark.parametrize(("fmt", "name"), [("png", "b.jpg"), ("jpeg", "b.png"), ("webp", "b.webm"), ("png", "b")])
def test_a_name_with_another_formats_ending_is_refused(tmp_path, fmt, name):
    source = write_image(tmp_path / "a", fmt)
    with pytest.raises(ProvenanceError, match="signing does not convert"):
        publish(source, tmp_path / name)
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("name", ["a.JPG", "a.jpeg", "a.JpEg"])
def test_endings_are_those_of_people(tmp_path, name):
    write_image(tmp_path / name, "jpeg")
    assert publish(tmp_path / name, tmp_path / f"b-{name}").media_type == "image/jpeg"


def broken():
    for fmt in PLAIN:
        data = image_bytes(fmt)
        yield pytest.param(data[: len(data) // 2], fmt, id=f"half a {fmt}")
        yield pytest.param(data[:40], fmt, id=f"the head of a {fmt}")
    for name, data in (("nothing", b""), ("text", b"<html>"), ("zeros", bytes(5000))):
        yield pytest.param(data, "png", id=name)


@pytest.mark.parametrize(("data", "fmt"), list(broken()))
def test_what_is_not_a_whole_image_is_refused_and_nothing_is_written(tmp_path, data, fmt):
    source = tmp_path / f"a{SUFFIX[fmt]}"
    source.write_bytes(data)
    with pytest.raises((ProvenanceError, ImageError)):
        publish(source, tmp_path / f"b{SUFFIX[fmt]}")
    with pytest.raises((ProvenanceError, ImageError)):
        signed(data)
    assert [each.name for each in tmp_path.iterdir()] == [source.name]


@pytest.mark.parametrize("fmt", ["GIF", "BMP", "TIFF"])
def test_an_image_of_another_format_is_refused(tmp_path, fmt):
    path = tmp_path / f"a.{fmt.lower()}"
    picture().save(path, fmt)
    with pytest.raises(ProvenanceError, match="only PNG, JPEG and WebP"):
        publish(path, tmp_path / f"b.{fmt.lower()}")
    assert not (tmp_path / f"b.{fmt.lower()}").exists()


def test_a_bomb_is_refused_before_it_is_opened(tmp_path):
    Image.new("1", (9000, 9000)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="too many to open safely"):
        publish(tmp_path / "a.png", tmp_path / "b.png")


def test_a_missing_image_or_a_folder_is_named(tmp_path):
    with pytest.raises(ProvenanceError, match="does not exist"):
        publish(tmp_path / "none.png", tmp_path / "b.png")
    with pytest.raises(ProvenanceError, match="cannot be read"):
        publish(tmp_path, tmp_path / "b.png")


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    write_image(tmp_path / "a.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditkitError, match="cannot be written"):
        publish(tmp_path / "a.png", tmp_path / "file" / "b.png")


# Memory: the store and the log


def test_a_signed_image_is_known_to_the_store_and_in_the_log(tmp_path):
    write_image(tmp_path / "a.png")
    with publishing.Publisher.open(credentials(), store=tmp_path / "store", log=tmp_path / "log") as publisher:
        made = publisher.publish_file(tmp_path / "a.png", tmp_path / "b.png", Claim("", source_type="digitalCapture"))
    written = sha256_file(made.out)
    with open_store(tmp_path / "store") as store:
        assert store.get(made.label).asset_sha256 == written
    assert Log.open(tmp_path / "log").find(written) == [made.log_index]


def test_a_signed_file_appears_only_once_store_and_log_know_it(tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    write_image(tmp_path / "a.png")
    monkeypatch.setattr(signing, "write", killed)
    with (
        pytest.raises(KeyboardInterrupt),
        publishing.Publisher.open(credentials(), store=tmp_path / "store", log=tmp_path / "log") as publisher,
    ):
        publisher.publish_file(tmp_path / "a.png", tmp_path / "b.png", Claim("", source_type="digitalCapture"))
    assert not (tmp_path / "b.png").exists()
    assert len(Log.open(tmp_path / "log")) == 1
    with open_store(tmp_path / "store") as store:
        assert len(store) == 1


def test_the_salt_is_kept_in_a_store_that_its_owner_alone_can_read(tmp_path):
    write_image(tmp_path / "a.png")
    claim = Claim("", source_type="digitalCapture", generation=Generation(prompt="a judge"))
    with publishing.Publisher.open(credentials(), store=tmp_path / "store", log="") as publisher:
        made = publisher.publish_file(tmp_path / "a.png", tmp_path / "b.png", claim)
    with open_store(tmp_path / "store") as store:
        assert store.salt(made.label) == made.salt
    assert mode(tmp_path / "store" / FILE) == 0o600


def test_no_record_of_a_signed_image_holds_a_key(tmp_path):
    write_image(tmp_path / "a.png")
    made = publish(tmp_path / "a.png", tmp_path / "b.png")
    secret = pki().key.read_text().splitlines()[1]
    assert secret not in repr(made) + json.dumps(made.signer)
    assert secret.encode() not in made.out.read_bytes()


def test_a_claim_of_creation_does_not_drop_the_manifest_that_is_there():
    held = signed("png").data
    with pytest.raises(ProvenanceError, match="would drop its history"):
        signing.sign_bytes(held, Claim("a.png", source_type="trainedAlgorithmicMedia"), credentials())
