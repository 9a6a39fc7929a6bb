"""Verdicts as of a date: whether the certificate was valid, whom the lists of then trusted, what a timestamp keeps."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.hashes import SHA256
from provenance_helpers import (
    SERVER_AUTH,
    isolated,  # noqa: F401
    issued,
    new_key,
    pki,
    root_pem,
    signed,
    stamping,
    tsa,  # noqa: F401
    verdict_of,
    write_image,
)

import auditkit
from auditkit.provenance import trust
from auditkit.provenance.certificates import read_certificates
from auditkit.provenance.containers import strip
from auditkit.provenance.dating import as_of
from auditkit.provenance.jumbf import signing_chain
from auditkit.provenance.pki import make_pki
from auditkit.provenance.store import open_store

DAY = timedelta(days=1)


def now():
    return datetime.now(UTC)


@pytest.fixture
def month(tmp_path):
    """A signer whose certificate is valid from 20 days ago to 20 days ahead."""
    return issued(tmp_path, "month").load()


def judged(made, when, *, anchors=None, first=None):
    """The verdict as of a moment; `anchors` of then, `first` of the verdict that is dated."""
    verdict = verdict_of(made, anchors=first)
    return as_of(verdict, made.manifest, root_pem() if anchors is None else anchors, when)


@pytest.mark.parametrize(("days", "expected"), [(-21, "expired"), (-19, "trusted"), (0, "trusted"), (19, "trusted")])
def test_a_signature_without_a_timestamp_is_as_valid_as_its_certificate_was_on_the_day(month, days, expected):
    assert judged(signed("png", by=month), now() + days * DAY).verdict == expected


def test_after_the_certificate_ends_it_is_expired_and_says_when(month):
    found = judged(signed("png", by=month), now() + 21 * DAY)
    assert (found.verdict, found.codes) == ("expired", ("signingCredential.expired",))
    assert f"expired on {month.expires:%Y-%m-%d}" in found.sentence


def test_before_the_certificate_begins_it_is_not_called_expired_to_people(month):
    found = judged(signed("png", by=month), now() - 21 * DAY)
    assert found.verdict == "expired"
    assert "was not valid yet" in found.sentence
    assert "expired" not in found.sentence


def test_each_dated_verdict_says_the_day(month):
    for days in (-21, 0, 21):
        day = now() + days * DAY
        assert f"Judged as of {day:%Y-%m-%d}." in judged(signed("png", by=month), day).notes


def test_a_certificate_that_expired_since_was_valid_then(tmp_path):
    short = issued(tmp_path, "short", ends=timedelta(seconds=3)).load()
    made = signed("png", by=short)
    time.sleep(max(0.0, (short.expires - now()).total_seconds() + 1.1))
    assert verdict_of(made).verdict == "expired"
    assert judged(made, now() - DAY).verdict == "trusted"
    assert judged(made, now() - DAY, anchors="").verdict == "valid-untrusted"
    assert judged(made, now()).verdict == "expired"


def test_the_authority_must_have_been_valid_then_too(tmp_path):
    young = make_pki(tmp_path / "young")  # a minute old, as is its signer
    made = signed("png", by=issued(tmp_path, "month").load())
    assert judged(made, now(), anchors=young.root.read_text()).verdict == "valid-untrusted"
    # The session's authorities began 30 days ago, this certificate before them.
    old = signed("png", by=issued(tmp_path, "old", starts=-40 * DAY).load())
    assert judged(old, now() - 29 * DAY).verdict == "trusted"
    assert judged(old, now() - 35 * DAY).verdict == "valid-untrusted"


def test_an_anchor_that_was_added_later_was_not_trusted_before(month):
    today = now().date()
    trust.import_list("mine", pki().root, in_force=today - 5 * DAY)
    made = signed("png", by=month)
    for days, expected in ((-6, "valid-untrusted"), (-5, "trusted"), (0, "trusted")):
        day = today + days * DAY
        anchors = trust.anchors(as_of=day)
        assert judged(made, trust.end_of(day), anchors=anchors, first=anchors).verdict == expected


def test_an_anchor_that_was_taken_away_was_trusted_before(tmp_path, month):
    today = now().date()
    trust.import_list("mine", pki().root, in_force=today - 10 * DAY)
    trust.import_list("mine", make_pki(tmp_path / "other").root, in_force=today - 5 * DAY)
    made = signed("png", by=month)
    for days, expected in ((-6, "trusted"), (-5, "valid-untrusted")):
        day = today + days * DAY
        anchors = trust.anchors(as_of=day)
        assert judged(made, trust.end_of(day), anchors=anchors, first=anchors).verdict == expected


def test_a_day_counts_to_its_end():
    assert trust.end_of(datetime(2026, 5, 1).date()).isoformat() == "2026-05-01T23:59:59.999999+00:00"


def test_a_timestamp_keeps_the_validity_of_the_day_of_signing(month, tsa):  # noqa: F811
    made = signed("png", by=month, timestamp=tsa)
    assert judged(made, now() + 400 * DAY).verdict == "trusted"


def test_a_timestamp_behind_the_date_is_told(month, tsa):  # noqa: F811
    made = signed("png", by=month, timestamp=tsa)
    assert "Its timestamp says that it was signed after that date." in judged(made, now() - 2 * DAY).notes


def test_a_timestamp_of_a_stranger_keeps_nothing(tmp_path, month, monkeypatch):
    import provenance_helpers

    ours, stranger = root_pem(), make_pki(tmp_path / "stranger")
    monkeypatch.setattr(provenance_helpers, "pki", lambda: stranger)
    with stamping(tmp_path / "tsa") as url:
        made = signed("png", by=month, timestamp=url)
    assert judged(made, now() + 21 * DAY, anchors=ours, first=ours).verdict == "expired"


@pytest.mark.parametrize("change", ["content", "manifest"])
def test_no_date_mends_what_was_tampered_with(month, change):
    made = signed("png", by=month)
    data = bytearray(made.data)
    data[data.rindex(b"IDAT") + 20 if change == "content" else data.index(b"c2pa.created") + 6] ^= 1
    before = verdict_of(bytes(data))
    assert before.verdict in ("tampered-content", "tampered-manifest")
    assert as_of(before, made.manifest, root_pem(), now()) == before


def test_a_revoked_certificate_stays_revoked_on_any_date(month):
    made = signed("png", by=month)
    revoked = replace(verdict_of(made), verdict="valid-untrusted", codes=("signingCredential.ocsp.revoked",))
    assert as_of(revoked, made.manifest, root_pem(), now()).verdict == "valid-untrusted"


def test_a_store_that_cannot_be_read_leads_to_no_anchor(month):
    made = signed("png", by=month)
    for store in (b"", b"garbage", made.manifest[:500]):
        assert as_of(verdict_of(made), store, root_pem(), now()).verdict == "valid-untrusted"


@pytest.mark.parametrize("algorithm", ["es256", "es384", "ps256", "ed25519"])
@pytest.mark.parametrize("fmt", ["png", "jpeg", "webp"])
def test_the_signers_chain_is_found_in_the_manifest(tmp_path, fmt, algorithm):
    files = issued(tmp_path, algorithm=algorithm)
    made = signed(fmt, by=files.load())
    assert signing_chain(made.manifest, made.label) == read_certificates(files.chain)


def test_of_several_manifests_each_has_its_own_chain(month):
    first = signed("png")
    second = signed("png", by=month, parent=("first", first.data))
    one, two = (signing_chain(second.manifest, label) for label in (first.label, second.label))
    assert one == read_certificates(pki().chain)
    assert two == read_certificates(month.chain.encode())


# Chains


def test_a_chain_leads_to_its_root_and_to_no_other(tmp_path):
    chain = read_certificates(pki().chain)
    assert trust.chains_to(chain, root_pem(), now())
    assert not trust.chains_to(chain, make_pki(tmp_path / "namesake").root.read_text(), now())
    assert not trust.chains_to(chain, "", now())
    assert not trust.chains_to([], root_pem(), now())


def test_an_intermediate_may_be_the_anchor():
    own, between = read_certificates(pki().chain)
    assert trust.chains_to([own], between.public_bytes(form.Encoding.PEM).decode(), now())


def test_a_chain_without_its_intermediate_leads_nowhere():
    assert not trust.chains_to(read_certificates(pki().chain)[:1], root_pem(), now())


def test_a_certificate_for_another_purpose_leads_nowhere(tmp_path):
    files = issued(tmp_path, purposes=(SERVER_AUTH,))
    assert not trust.chains_to(read_certificates(files.chain), root_pem(), now())


def test_an_end_entity_issues_nothing(tmp_path):
    """Whoever holds a signing key must not be able to make signers of others."""
    chain = read_certificates(pki().chain)
    above = form.load_pem_private_key(pki().key.read_bytes(), None)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "minted")]))
        .issuer_name(chain[0].subject)
        .public_key(new_key().public_key())
        .serial_number(1)
        .not_valid_before(now() - DAY)
        .not_valid_after(now() + DAY)
    )
    for each in chain[0].extensions:
        if not isinstance(each.value, (x509.AuthorityKeyIdentifier, x509.SubjectKeyIdentifier)):
            builder = builder.add_extension(each.value, critical=each.critical)
    assert not trust.chains_to([builder.sign(above, SHA256()), *chain], root_pem(), now())


# Through the verb


def test_inspect_judges_as_of_a_day(tmp_path, month):
    data = signed("png", by=month).data
    path = write_image(tmp_path / "a.png")
    path.write_bytes(data)
    for days, expected in ((-25, "expired"), (-1, "trusted"), (25, "expired")):
        found = auditkit.inspect(path, trust=[pki().root], as_of=now().date() + days * DAY)
        assert found.c2pa["verdict"] == expected


def test_a_manifest_that_was_recovered_is_judged_as_of_the_day_too(tmp_path, month):
    made = signed("png", by=month)
    with open_store(tmp_path / "store", create=True) as store:
        store.add(made, title="a", signer="month")
    (tmp_path / "a.png").write_bytes(strip(made.data))
    for days, expected, code in ((-25, "expired", "auditkit.credential.early"), (-1, "trusted", "trusted"),
                                 (25, "expired", "expired")):  # fmt: skip
        day = now().date() + days * DAY
        found = auditkit.inspect("a.png", trust=[pki().root], as_of=day, store=tmp_path / "store").c2pa
        assert (found["verdict"], found["recovery"]["manifest_verdict"]) == ("recovered-exact", expected)
        assert found["codes"] in ([code], [f"signingCredential.{code}"])
        assert f"Judged as of {day:%Y-%m-%d}." in found["notes"]
