"""One verdict for a file: every name in the list is reached by a real file, and no damage is ever called trusted."""

from __future__ import annotations

import shutil
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from provenance_helpers import (
    PLAIN,
    image_bytes,
    isolated,  # noqa: F401
    issued,
    pixels,
    signed,
    stamping,
    tsa,  # noqa: F401
    verdict_of,
)
from provenance_mutations import (
    NO_PUBLIC,
    PUBLIC,
    doubled,
    manifest_span,
    manifests,
    mutated,
    original,
    raw_signed,
    repainted,
    stranger,
    swapped,
    zeroed_half,
)

from auditkit.errors import AuditkitError
from auditkit.images import open_image
from auditkit.provenance.credentials import Credentials, load_credentials
from auditkit.provenance.inspection import Inspector, Settings
from auditkit.provenance.pki import make_pki
from auditkit.provenance.reading import Report
from auditkit.provenance.sentences import NAMES, sentence
from auditkit.provenance.store import open_store
from auditkit.provenance.verdict import VERDICTS, _classified, judge


def rogue(folder: Path) -> Credentials:
    """A signer under an authority that nobody trusts."""
    made = make_pki(folder / "rogue")
    return load_credentials(made.chain, made.key)


# --- each verdict -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", PLAIN)
def test_a_signed_file_under_a_trusted_root_is_trusted(fmt: str) -> None:
    found = verdict_of(original(fmt))
    assert (found.verdict, found.codes, found.container) == ("trusted", ("signingCredential.trusted",), "embedded")
    assert found.signer is not None
    assert found.signer.name in found.sentence


def test_a_rogue_authority_is_valid_and_untrusted(tmp_path: Path) -> None:
    found = verdict_of(signed("png", by=rogue(tmp_path)))
    assert (found.verdict, found.codes) == ("valid-untrusted", ("signingCredential.untrusted",))
    assert "which anybody could write" in found.sentence


def test_without_any_anchor_nobody_is_trusted() -> None:
    assert verdict_of(original("jpeg"), anchors="").verdict == "valid-untrusted"


@pytest.fixture(scope="module")
def run_out(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files by a certificate that has run out since: without a timestamp, and with one by the tests' authority."""
    folder = tmp_path_factory.mktemp("late")
    late = issued(folder, ends=timedelta(seconds=2)).load()
    made = {"plain": signed("png", by=late).data}
    if shutil.which("openssl") is not None:
        with stamping(folder / "tsa") as url:
            made["stamped"] = signed("png", by=late, timestamp=url).data
    time.sleep(max(0.0, late.expires.timestamp() + 1.1 - time.time()))
    return made


def test_a_certificate_that_has_run_out_is_expired(run_out: dict[str, bytes]) -> None:
    found = verdict_of(run_out["plain"])
    assert found.verdict == "expired"
    assert {"signingCredential.expired", "claimSignature.outsideValidity"} & set(found.codes)
    assert "not proven" in found.sentence


def test_a_trusted_timestamp_keeps_a_certificate_that_has_run_out_since(run_out: dict[str, bytes]) -> None:
    if "stamped" not in run_out:
        pytest.skip("the openssl command, which the tests' time-stamping authority calls, is missing")
    assert verdict_of(run_out["stamped"]).verdict == "trusted"


def test_a_timestamp_of_nobody_known_keeps_no_certificate(run_out: dict[str, bytes]) -> None:
    if "stamped" not in run_out:
        pytest.skip("the openssl command, which the tests' time-stamping authority calls, is missing")
    assert verdict_of(run_out["stamped"], anchors="").verdict == "expired"


@pytest.mark.parametrize("fmt", PLAIN)
def test_changed_pixels_are_tampered_content(fmt: str) -> None:
    found = verdict_of(repainted(original(fmt)))
    assert (found.verdict, found.codes) == ("tampered-content", ("assertion.dataHash.mismatch",))


@pytest.mark.parametrize("fmt", PLAIN)
def test_a_manifest_from_another_file_is_tampered_content(fmt: str) -> None:
    found = verdict_of(swapped(original(fmt), stranger(fmt)))
    assert (found.verdict, found.codes) == ("tampered-content", ("assertion.dataHash.mismatch",))
    assert "carried over from another file" in found.sentence


@pytest.mark.parametrize("fmt", PLAIN)
def test_a_changed_title_is_a_tampered_manifest(fmt: str) -> None:
    changed = original(fmt).replace(b"picture", b"pictvre")
    found = verdict_of(changed)
    assert (found.verdict, found.codes) == ("tampered-manifest", ("claimSignature.mismatch",))


def test_an_ancestor_that_was_changed_before_it_was_used_is_found_in_what_was_recorded_then() -> None:
    parent = repainted(signed("png").data)
    found = verdict_of(signed("jpeg", parent=("parent.png", parent)))
    assert (found.verdict, found.codes) == ("tampered-ancestor", ("assertion.dataHash.mismatch",))
    assert found.graph["edges"][0]["codes"] == ["assertion.dataHash.mismatch"]


def test_an_ancestor_that_was_changed_within_the_manifest_is_found_in_the_deltas() -> None:
    child = signed("jpeg", parent=("parent.png", signed("png", title="forebear").data)).data
    found = verdict_of(child.replace(b"forebear", b"forebeaR"))
    assert found.verdict == "tampered-ancestor"
    assert "ingredient.manifest.mismatch" in found.codes
    assert found.graph["edges"][0]["codes"] == []


def test_a_grandparent_that_was_changed_is_found() -> None:
    parent = signed("webp", parent=("a.png", repainted(signed("png").data)))
    assert verdict_of(signed("jpeg", parent=("b.webp", parent.data))).verdict == "tampered-ancestor"


@pytest.mark.parametrize("fmt", PLAIN)
def test_a_manifest_of_which_half_is_zero_is_malformed(fmt: str) -> None:
    found = verdict_of(zeroed_half(original(fmt)))
    assert (found.verdict, found.codes) == ("malformed", ("auditkit.manifest.unreadable",))
    assert "no proof of tampering" in found.sentence


def test_a_text_file_is_unsupported(tmp_path: Path) -> None:
    found = verdict_of(b"not an image at all\n")
    assert (found.verdict, found.codes, found.signer) == ("unsupported", (), None)


def test_a_manifest_without_its_image_is_unsupported_and_says_what_to_do() -> None:
    found = verdict_of(signed("png", embed=False).manifest)
    assert found.verdict == "unsupported"
    assert "inspect the image, with this file beside it" in found.sentence


def test_an_address_of_a_manifest_is_remote_only_and_the_address_is_told() -> None:
    found = verdict_of(raw_signed(image_bytes("png"), remote="http://127.0.0.1:9/m.c2pa", embed=False))
    assert (found.verdict, found.remote) == ("remote-only", "http://127.0.0.1:9/m.c2pa")
    assert "was not fetched" in found.sentence


def test_an_address_beside_a_manifest_changes_nothing() -> None:
    found = verdict_of(raw_signed(image_bytes("png"), remote="http://127.0.0.1:9/m.c2pa"))
    assert (found.verdict, found.remote) == ("trusted", "")


@pytest.mark.parametrize("fmt", PLAIN)
def test_an_image_that_was_never_signed_has_no_manifest(fmt: str) -> None:
    found = verdict_of(image_bytes(fmt))
    assert (found.verdict, found.codes, found.signer) == ("no-manifest", (), None)


def test_every_verdict_has_a_name_and_a_sentence() -> None:
    assert set(NAMES) == set(VERDICTS)
    for name in VERDICTS[:10]:
        assert sentence(name).endswith(".")


def test_a_sidecar_is_read_beside_its_image_and_nothing_else() -> None:
    made = signed("png", embed=False)
    assert verdict_of(made).verdict == "trusted"
    assert verdict_of(image_bytes("png", seed=3), sidecar=made.manifest).verdict == "tampered-content"


# --- what a moderator must not be told ----------------------------------------------------------------------------


def test_nothing_says_stripped_without_a_store() -> None:
    told = [sentence(name) for name in VERDICTS[:10]]
    told += [verdict_of(image_bytes(fmt)).sentence for fmt in PLAIN]
    told += [verdict_of(zeroed_half(original(fmt))).sentence for fmt in PLAIN]
    assert not any(word in each.lower() for each in told for word in ("stripped", "taken off", "removed"))


def test_a_store_that_does_not_know_the_image_does_not_make_it_stripped(tmp_path: Path) -> None:
    open_store(tmp_path / "store", create=True)
    part = Inspector(Settings(store=str(tmp_path / "store"), keys="", banks=())).inspect_bytes(image_bytes("png")).c2pa
    assert part["verdict"] == "no-manifest"
    assert "taken off" not in part["sentence"]


# --- damage -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", PLAIN)
def test_a_truncated_file_is_malformed_or_tampered_and_never_trusted(fmt: str) -> None:
    data = original(fmt)
    _, end = manifest_span(data)
    for length in [*range(20, len(data), 61), len(data) - 1]:
        found = verdict_of(data[:length])
        assert found.verdict in ("malformed", "tampered-content"), length
        if length < end - 1:  # but for the byte that pads a WebP chunk of odd length
            assert found.verdict == "malformed", length


@pytest.mark.parametrize("fmt", PLAIN)
def test_a_doubled_manifest_is_never_trusted(fmt: str) -> None:
    data = original(fmt)
    a, b = manifest_span(data)
    for forged in (doubled(data), data + data[a:b], swapped(doubled(data), stranger(fmt))):
        assert verdict_of(forged).verdict in ("malformed", "tampered-content", "tampered-manifest")


@pytest.mark.parametrize("fmt", PLAIN)
def test_bytes_behind_the_end_are_tampered_content(fmt: str) -> None:
    assert verdict_of(original(fmt) + b"more").verdict in ("tampered-content", "malformed")


@pytest.mark.parametrize("fmt", PLAIN)
@pytest.mark.parametrize("batch", range(4))
def test_no_mutation_raises_or_is_called_trusted_where_pixels_or_manifest_changed(fmt: str, batch: int) -> None:
    data = original(fmt)
    picture, said = pixels(data), manifests(data)
    for seed in range(50 * batch, 50 * batch + 50):
        how, changed = mutated(fmt, seed)
        found = verdict_of(changed)
        assert found.verdict in VERDICTS
        assert found.sentence
        if found.verdict == "trusted":
            assert np.array_equal(pixels(changed), picture), (how, seed)
            assert manifests(changed) == said, (how, seed)


@pytest.mark.parametrize("fmt", PLAIN)
def test_damage_that_leaves_an_image_unreadable_is_never_trusted(fmt: str) -> None:
    for seed in range(1000, 1100):
        how, changed = mutated(fmt, seed)
        try:
            open_image(changed)
        except AuditkitError:
            assert verdict_of(changed).verdict != "trusted", (how, seed)


# --- codes --------------------------------------------------------------------------------------------------------


def test_a_failure_that_is_not_known_here_counts_as_tampering() -> None:
    assert _classified(["something.new"], [], True, "Invalid") == ("tampered-manifest", ("something.new",))
    assert _classified([], ["something.new"], True, "Trusted")[0] == "tampered-ancestor"


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (["claim.missing", "assertion.dataHash.mismatch", "signingCredential.expired"], "malformed"),
        (["assertion.hashedURI.mismatch", "assertion.dataHash.mismatch"], "tampered-manifest"),
        (["assertion.dataHash.mismatch", "signingCredential.untrusted"], "tampered-content"),
        (["ingredient.manifest.missing", "signingCredential.untrusted"], "tampered-ancestor"),
        (["algorithm.unsupported", "signingCredential.untrusted"], "unsupported"),
        (["signingCredential.untrusted", "claimSignature.outsideValidity"], "expired"),
        (["signingCredential.untrusted"], "valid-untrusted"),
        (["signingCredential.revoked"], "valid-untrusted"),
    ],
)
def test_of_several_failures_the_gravest_gives_the_verdict(own: list[str], expected: str) -> None:
    name, codes = _classified(own, [], False, "Invalid")
    assert name == expected
    assert set(codes) == set(own)


def test_a_revoked_certificate_is_not_trusted_whatever_else_is_said() -> None:
    assert _classified(["signingCredential.ocsp.revoked"], [], True, "Trusted")[0] == "valid-untrusted"


def test_a_reader_that_says_no_without_a_reason_is_malformed() -> None:
    assert _classified([], [], False, "Invalid")[0] == "malformed"


def test_a_report_of_a_reader_that_raised_is_no_manifest_to_nobody() -> None:
    assert judge(Report("image/png", error="boom", container="embedded")).verdict == "malformed"


# --- signer, time, history ----------------------------------------------------------------------------------------


def test_a_timestamp_of_an_authority_that_is_trusted_is_the_time_of_signing(tsa: str) -> None:  # noqa: F811
    found = verdict_of(signed("png", timestamp=tsa))
    assert found.signer is not None
    assert found.signer.signed_at[:2] == "20"
    assert found.signer.signed_at[:10] in found.sentence


def test_a_timestamp_of_an_authority_of_ones_own_dates_nothing(tmp_path: Path, tsa: str) -> None:  # noqa: F811
    made = make_pki(tmp_path / "other")
    data = signed("png", by=load_credentials(made.chain, made.key), timestamp=tsa).data
    found = verdict_of(data, anchors=made.root.read_text())
    assert found.verdict == "trusted"
    assert found.signer is not None
    assert (found.signer.signed_at, found.signer.timestamp_authority) == ("", "")
    assert any("authority in none of your trust lists" in note for note in found.notes)
    later = Inspector(Settings(store="", keys="", banks=(), trust=(str(made.root),), as_of=_in_years(5)))
    assert later.inspect_bytes(data).c2pa["verdict"] == "expired"


def test_an_ingredient_of_an_unknown_signer_is_told_and_tampers_nothing(tmp_path: Path) -> None:
    found = verdict_of(signed("png", parent=("other.png", signed("png", by=rogue(tmp_path)).data)))
    assert found.verdict == "trusted"
    assert any(note.startswith("An ingredient was signed by somebody who is in no trust list") for note in found.notes)


def test_an_ingredient_of_a_known_signer_is_no_cause_for_a_note() -> None:
    found = verdict_of(signed("png", parent=("own.png", signed("png").data)))
    assert not any("ingredient" in note for note in found.notes)


def test_the_graph_has_a_node_for_each_manifest_and_an_edge_for_each_ingredient() -> None:
    parent = signed("png", title="first")
    found = verdict_of(signed("jpeg", parent=("a.png", parent.data), components=(("b.jpg", image_bytes("jpeg")),)))
    assert [node["active"] for node in found.graph["nodes"]].count(True) == 1
    assert {node["title"] for node in found.graph["nodes"]} == {"first", "picture"}
    edges = {edge["title"]: (edge["relationship"], edge["to"]) for edge in found.graph["edges"]}
    assert edges == {"a.png": ("parentOf", parent.label), "b.jpg": ("componentOf", None)}


def test_the_graph_has_the_same_order_each_time() -> None:
    made = signed("png", parent=("b.jpg", signed("jpeg", parent=("a.png", signed("png").data)).data))
    graphs = [verdict_of(made).graph for _ in range(10)]
    assert graphs[1:] == graphs[:-1]
    assert [node["active"] for node in graphs[0]["nodes"]] == [False, False, True]


@pytest.mark.parametrize(
    ("source_type", "generated"), [("trainedAlgorithmicMedia", True), ("digitalCapture", False)]
)  # fmt: skip
def test_a_stated_source_type_says_whether_a_model_made_it(source_type: str, generated: bool) -> None:
    assert verdict_of(signed("png", source_type=source_type)).generated is generated


def test_without_a_source_type_nothing_is_said_of_how_it_was_made() -> None:
    assert verdict_of(signed("png", source_type=None)).generated is None


@pytest.mark.parametrize(
    "assertion",
    [
        {"label": "cawg.training-mining", "data": {"entries": 5}},
        {"label": "cawg.training-mining", "data": {"entries": {"cawg.ai_training": {"use": ["x"]}}}},
        {"label": "cawg.training-mining", "data": [1, 2]},
        {"label": "auditkit.generation", "data": {"seed": [[[[1]]]]}},
        {"label": "stds.schema-org.CreativeWork", "data": {"author": 5}},
    ],
)
def test_assertions_of_an_odd_shape_make_nothing_raise(assertion: dict[str, Any]) -> None:
    found = Inspector(Settings(store="", keys="", banks=())).inspect_bytes(
        raw_signed(image_bytes("png"), assertions=(assertion,))
    )
    assert found.c2pa["verdict"] == "valid-untrusted"


# --- C2PA's public files ------------------------------------------------------------------------------------------

TABLE = {
    "adobe-20220124-A.jpg": "no-manifest",
    "adobe-20220124-I.jpg": "no-manifest",
    "adobe-20220124-C.jpg": "trusted",
    "adobe-20220124-CA.jpg": "trusted",
    "adobe-20220124-CACA.jpg": "trusted",
    "adobe-20220124-CAI.jpg": "trusted",
    "adobe-20220124-CIE-sig-CA.jpg": "tampered-ancestor",
    "adobe-20220124-E-clm-CAICAI.jpg": "tampered-manifest",
    "adobe-20220124-E-dat-CA.jpg": "tampered-content",
    "adobe-20220124-XCA.jpg": "tampered-content",
    "adobe-20220124-E-sig-CA.jpg": "tampered-manifest",
    "nikon-20221019-building.jpeg": "expired",
    "truepic-20230212-camera.jpg": "tampered-content",
    "adobe-20240110-single_manifest_store.pdf": "valid-untrusted",
}


@pytest.mark.parametrize(("name", "expected"), TABLE.items())
def test_a_public_file_gets_its_verdict(name: str, expected: str) -> None:
    if not (PUBLIC / name).is_file():
        pytest.skip(NO_PUBLIC)
    found = verdict_of((PUBLIC / name).read_bytes(), anchors=(PUBLIC / "test_roots.pem").read_text())
    assert found.verdict == expected
    assert found.sentence


def _in_years(n: int) -> date:
    return date.today().replace(day=1) + timedelta(days=366 * n)
