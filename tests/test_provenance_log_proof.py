"""Checkpoints of the log and their signatures, and proofs that are checked without the log."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import log_helpers
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from log_helpers import entry, filled

from auditkit.errors import ProvenanceError, TrustError
from auditkit.provenance import notes
from auditkit.provenance.log import Log
from auditkit.provenance.log_proof import InclusionProof, read_proof
from auditkit.provenance.notes import PublicKey, Signer, load_signer, new_key, read_checkpoint, verify_note

home = log_helpers.home  # a fixture

# --- checkpoints and signatures -----------------------------------------------------------------------------------

GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_SIGNATURE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
GO_NOTE = f"{GO_TEXT}\n— PeterNeumann {GO_SIGNATURE}\n"
C2SP_CHECKPOINT = """\
example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
"""  # noqa: E501


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    new_key(tmp_path / "log.key", "example.com/log")
    return load_signer(tmp_path / "log.key", "example.com/log")


def test_a_note_signed_by_another_implementation_verifies() -> None:
    verify_note(GO_NOTE, PublicKey.parse(GO_KEY))
    assert str(PublicKey.parse(GO_KEY)) == GO_KEY


def test_our_signature_of_a_note_is_the_one_another_implementation_makes() -> None:
    private = Ed25519PrivateKey.from_private_bytes(GO_SEED)
    key = PublicKey("PeterNeumann", private.public_key().public_bytes_raw())
    assert str(key) == GO_KEY
    assert base64.b64encode(key.id + private.sign(GO_TEXT.encode())).decode() == GO_SIGNATURE


def test_the_checkpoint_of_the_specification_is_read() -> None:
    found = read_checkpoint(C2SP_CHECKPOINT)
    assert (found.origin, found.size, found.signed) == ("example.com/behind-the-sofa", 20852163, True)
    assert found.root.hex().startswith("0ac5186a91863e8e")


@pytest.mark.parametrize("at", range(0, len(GO_NOTE), 7))
def test_a_note_changed_anywhere_does_not_verify(at: int) -> None:
    changed = GO_NOTE[:at] + ("x" if GO_NOTE[at] != "x" else "y") + GO_NOTE[at + 1 :]
    with pytest.raises(TrustError):
        verify_note(changed, PublicKey.parse(GO_KEY))


@pytest.mark.parametrize("text", ["", "a\n1\n", "a\n01\n" + "A" * 43 + "=\n", "a\n1\nQUJD\n", "a\r\n" * 4, GO_NOTE])
def test_text_that_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(ProvenanceError, match="not a log's checkpoint"):
        read_checkpoint(text)


@pytest.mark.parametrize(
    "text", ["", GO_KEY[:-4], GO_KEY.replace("c74f", "c74e"), "a b+c74f20a3+AAAA", "x+00000000+AA"]
)
def test_text_that_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(TrustError, match="not the public key"):
        PublicKey.parse(text)


def test_a_checkpoint_says_origin_size_and_root_and_is_signed(tmp_path: Path, signer: Signer) -> None:
    log = filled(tmp_path / "log", 5)
    made = log.checkpoint(signer)
    assert made.text.split("\n")[:3] == ["example.com/log", "5", base64.b64encode(log.root()).decode()]
    verify_note(made.text, signer.key)
    assert read_checkpoint(made.text) == made == log.last_checkpoint()


def test_a_checkpoint_may_be_unsigned_and_says_so(tmp_path: Path) -> None:
    made = filled(tmp_path / "log", 5).checkpoint()
    assert not made.signed
    assert read_checkpoint(made.text) == made


def test_a_checkpoint_without_signature_does_not_replace_a_signed_one(tmp_path: Path, signer: Signer) -> None:
    log = filled(tmp_path / "log", 5)
    signed = log.checkpoint(signer)
    log.append(entry(5))
    assert log.checkpoint().size == 6
    assert log.last_checkpoint() == signed


def test_a_function_may_sign_so_that_the_key_lies_elsewhere(tmp_path: Path) -> None:
    private = Ed25519PrivateKey.generate()
    key = PublicKey("example.com/log", private.public_key().public_bytes_raw())
    verify_note(filled(tmp_path / "log", 2).checkpoint(Signer(key, private.sign)).text, key)


def test_a_function_that_signs_something_else_is_found_out(tmp_path: Path, signer: Signer) -> None:
    with pytest.raises(TrustError):
        filled(tmp_path / "log", 2).checkpoint(Signer(signer.key, lambda data: signer.sign(data + b"!")))


def test_a_log_made_for_a_key_is_signed_by_no_other(tmp_path: Path, signer: Signer) -> None:
    log = Log.create(tmp_path / "log", key=signer.key)
    new_key(tmp_path / "other.key", log.origin)
    with pytest.raises(TrustError, match="not by"):
        log.checkpoint(load_signer(tmp_path / "other.key", log.origin))


def test_a_log_that_was_rewritten_is_not_signed_again(tmp_path: Path, signer: Signer) -> None:
    log, forged = filled(tmp_path / "log", 5), filled(tmp_path / "forged", 4)
    log.checkpoint(signer)
    forged.append(entry(99))
    for name in ("entries.jsonl", "nodes.bin", "ends.bin"):
        shutil.copy(forged.folder / name, log.folder / name)
    with pytest.raises(ProvenanceError, match="another history"):
        log.checkpoint(signer)
    assert [each.kind for each in log.verify().problems] == ["checkpoint"]


def test_a_key_file_is_for_its_owner_alone(tmp_path: Path, signer: Signer) -> None:
    path = tmp_path / "log.key"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(TrustError, match="by others") as error:
        load_signer(path, "example.com/log")
    assert "chmod 600" in str(error.value.mend)


def test_a_key_is_never_overwritten(tmp_path: Path, signer: Signer) -> None:
    with pytest.raises(TrustError, match="would be lost"):
        new_key(tmp_path / "log.key", "example.com/log")


def test_no_secret_shows_in_an_error_about_a_key(tmp_path: Path) -> None:
    path = tmp_path / "log.key"
    path.write_text("-----BEGIN PRIVATE KEY-----\nc2VjcmV0c2VjcmV0\n-----END PRIVATE KEY-----\n")
    path.chmod(0o600)
    with pytest.raises(TrustError) as error:
        load_signer(path, "example.com/log")
    assert "c2Vj" not in str(error.value)


# --- proofs in files ----------------------------------------------------------------------------------------------


def holds(proof: InclusionProof, **given: object) -> bool:
    return all(check.holds is not False for check in proof.verify(**given))  # type: ignore[arg-type]


def test_a_proof_is_verified_without_the_log(tmp_path: Path, signer: Signer) -> None:
    log = filled(tmp_path / "log", 9)
    checkpoint = log.checkpoint(signer)
    log.prove(4, checkpoint=checkpoint).save(tmp_path / "proof.json")
    shutil.rmtree(log.folder)
    proof = read_proof(tmp_path / "proof.json")
    assert isinstance(proof, InclusionProof)
    checks = proof.verify(checkpoint=checkpoint, key=signer.key, sha256=entry(4).sha256)
    assert [check.holds for check in checks] == [True] * 4


@pytest.mark.parametrize("field", ["entry", "index", "size", "root", "hashes", "checkpoint"])
def test_a_proof_changed_in_any_field_does_not_verify(tmp_path: Path, signer: Signer, field: str) -> None:
    log = filled(tmp_path / "log", 9)
    value = log.prove(4, checkpoint=log.checkpoint(signer)).as_dict()
    other = log.prove(3).as_dict() | {"size": 8, "root": log.root(8).hex(), "checkpoint": "example.com/log\n"}
    (tmp_path / "proof.json").write_text(json.dumps(value | {field: other[field]}))
    proof = read_proof(tmp_path / "proof.json")
    assert isinstance(proof, InclusionProof)
    assert not holds(proof, key=signer.key)


def test_a_proof_says_that_nobody_vouches_for_it_where_nothing_is_given(tmp_path: Path) -> None:
    (signature,) = [check for check in filled(tmp_path / "log", 3).prove(1).verify() if check.name == "signature"]
    assert signature.holds is None
    assert "nobody but the proof itself" in signature.detail


def test_a_proof_is_not_for_another_asset_checkpoint_or_key(tmp_path: Path, signer: Signer) -> None:
    log = filled(tmp_path / "log", 3)
    first = log.checkpoint(signer)
    log.append(entry(3))
    proof = log.prove(1, checkpoint=log.checkpoint(signer))
    assert holds(proof, key=signer.key)
    assert not holds(proof, checkpoint=first)
    assert not holds(proof, sha256=entry(2).sha256)
    assert not holds(proof, key=new_key(tmp_path / "other.key", "example.com/log"))
    assert holds(log.prove(1, checkpoint=first), checkpoint=first, key=signer.key)


def test_no_proof_is_made_against_a_checkpoint_before_the_entry(tmp_path: Path) -> None:
    log = filled(tmp_path / "log", 3)
    first = log.checkpoint()
    log.append(entry(3))
    with pytest.raises(ProvenanceError, match="no entry 3"):
        log.prove(3, checkpoint=first)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"type": "x"}', "[" * 100_000, '{"hashes": [1]}'])
def test_a_file_that_is_no_proof_is_an_error_with_a_mend(tmp_path: Path, text: str) -> None:
    (tmp_path / "proof.json").write_text(text)
    with pytest.raises(ProvenanceError, match="not a proof") as error:
        read_proof(tmp_path / "proof.json")
    assert "auditkit log prove" in str(error.value.mend)


def test_a_note_of_any_size_is_not_read_without_end() -> None:
    with pytest.raises(ProvenanceError):
        read_checkpoint("a\n1\n" + "A" * 43 + "=\n" + "x" * notes.MOST_BYTES + "\n")
