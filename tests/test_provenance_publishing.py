"""Signing files: timestamps, what is replaced and what is refused, the mark, and the memory of store and log."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import provenance_helpers
import pytest
from PIL import Image
from provenance_helpers import (
    PLAIN,
    SUFFIX,
    credentials,
    image_bytes,
    isolated,  # noqa: F401
    issued,
    mode,
    picture,
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
from auditkit.provenance import publishing, signing
from auditkit.provenance.log import Log
from auditkit.provenance.manifest import Claim, Generation
from auditkit.provenance.pki import make_pki
from auditkit.provenance.reading import read
from auditkit.provenance.store import FILE, open_store
from auditkit.watermark import keys


def publish(source, out, *, by=None, timestamp=None, store="", **options):
    """`auditkit sign` without the command line."""
    claim = Claim("", source_type=options.pop("source_type", "trainedAlgorithmicMedia"))
    opened = publishing.Publisher.open(by or credentials(), timestamp=timestamp, store=store, log="")
    with opened as publisher:
        return publisher.publish_file(Path(source), Path(out), claim, **options)


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


def test_a_watermark_is_put_on_with_a_payload_of_its_own_and_bound(tmp_path):
    keys.create(tmp_path / "keys.json")
    marker = publishing.Marker.load("spread")
    write_image(tmp_path / "a.png", size=(384, 384))
    one, two = (publish(tmp_path / "a.png", tmp_path / f"{n}.png", marker=marker) for n in (1, 2))
    assert one.payload != two.payload
    assert "auditkit.watermark.spread.1" in one.bindings
    found = auditkit.detect_watermark(tmp_path / "1.png", schemes=["spread"])
    assert found["payload"].tolist() == [one.payload]
