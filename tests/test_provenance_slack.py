"""Bytes of a manifest that no signature covers: a changed bit there ends 'trusted' too."""

from __future__ import annotations

import struct

import pytest
from provenance_helpers import isolated, root_pem, signed, verdict_of  # noqa: F401

from auditkit.provenance import slack
from auditkit.provenance.containers import find
from auditkit.provenance.reading import read


@pytest.mark.parametrize("fmt", ["png", "jpeg", "webp"])
def test_no_flipped_bit_of_a_manifest_leaves_it_trusted(fmt):
    data = signed(fmt).data
    store = find(data).store
    start = data.index(store)
    for at in range(start, start + len(store), 5):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        assert verdict_of(bytes(changed)).verdict != "trusted", f"byte {at - start} of the store"


@pytest.mark.parametrize("fmt", ["png", "jpeg", "webp"])
def test_a_manifest_as_it_was_signed_has_no_fault(fmt):
    data = signed(fmt).data
    assert slack.faults(find(data).store) == []
    assert slack.carrier_faults(data) == []


def test_padding_that_is_not_empty_is_damage_and_not_called_tampering():
    data = signed("jpeg").data
    pad = data.index(bytes(64))
    verdict = verdict_of(data[:pad] + b"hidden text" + data[pad + 11 :])
    assert verdict.verdict == "malformed"
    assert verdict.codes[0] == "auditkit.manifest.slack"
    assert "In the manifest: padding is not empty." in verdict.notes
    assert "tamper" not in verdict.sentence


def test_the_reference_reader_alone_still_trusts_it():
    """The reason for the check; when the library learns it, ours may go."""
    data = signed("jpeg").data
    pad = data.index(bytes(64))
    assert read(data[:pad] + b"hidden text" + data[pad + 11 :], anchors=root_pem()).state == "Trusted"


def test_a_wrong_checksum_of_the_png_chunk_is_told():
    data = signed("png").data
    start = data.index(b"caBX") - 4
    (length,) = struct.unpack(">I", data[start : start + 4])
    end = start + 8 + length
    assert verdict_of(data[:end] + bytes(4) + data[end + 4 :]).verdict == "malformed"


@pytest.mark.parametrize("store", [b"", b"\0", b"junk" * 40, bytes(300), b"\xff" * 64])
def test_bytes_that_are_no_store_have_faults_and_raise_nothing(store):
    assert slack.faults(store)
