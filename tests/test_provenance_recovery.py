"""Images that lost their manifest, and a store that knows them: what is recovered, what is not, and why."""

from __future__ import annotations

import io
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from PIL import Image, ImageOps
from provenance_helpers import (
    credentials,
    image_bytes,
    isolated,  # noqa: F401
    root_pem,
    signed,
)
from provenance_mutations import repainted, zeroed_half
from watermark_toy import photograph

from auditkit.errors import ProvenanceError
from auditkit.provenance import recovery
from auditkit.provenance.containers import strip
from auditkit.provenance.inspection import Inspector, Settings
from auditkit.provenance.manifest import Claim, SoftBinding
from auditkit.provenance.pdq import hash_forms
from auditkit.provenance.publishing import Marker, Publisher
from auditkit.provenance.recovery import known_payloads, recover, watermark_binding
from auditkit.provenance.store import FILE, Store, open_store
from auditkit.watermark import keys
from auditkit.watermark.forgery import copied

SOURCES = {"a.png": "astronaut.png", "b.jpg": "coffee.png", "c.webp": "chelsea.png"}


@dataclass(frozen=True)
class Known:
    """A folder with signed images, of which `marked.png` has a watermark, the store that knows them, and the key."""

    folder: Path
    store: Path
    keys: Path
    labels: dict[str, str]

    def data(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def image(self, name: str) -> Image.Image:
        return Image.open(self.folder / name).convert("RGB")

    def ask(self, data: bytes, *, watermark: bool = False) -> dict[str, Any]:
        """The C2PA part of an inspection, with the store, and the root of the tests trusted."""
        inspector = Inspector(
            Settings(
                store=str(self.store), keys=str(self.keys) if watermark else "", banks=(), schemes=("spread",),
                trust=(str(self.folder / "root.pem"),),
            )
        )  # fmt: skip
        return inspector.inspect_bytes(data).c2pa


def encoded(image: Image.Image | np.ndarray, format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, format=format, **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    folder = tmp_path_factory.mktemp("known")
    key = keys.create(folder / "keys.json")
    labels = {}
    claim = Claim("", source_type="trainedAlgorithmicMedia")
    with Publisher.open(credentials(), store=folder / "store", log="") as made:
        for name, photo in SOURCES.items():
            options = {"lossless": True} if name.endswith("webp") else {}
            format = {"png": "PNG", "jpg": "JPEG", "ebp": "WEBP"}[name[-3:]]
            (folder / f"source-{name}").write_bytes(encoded(photograph(photo, 256), format, **options))
            labels[name] = made.publish_file(folder / f"source-{name}", folder / name, claim).label
        (folder / "source.png").write_bytes(encoded(photograph("astronaut.png", 384)[:, ::-1]))
        source, out = folder / "source.png", folder / "marked.png"
        labels["marked.png"] = made.publish_file(source, out, claim, marker=Marker("spread", key)).label
    (folder / "root.pem").write_text(root_pem())
    return Known(folder, folder / "store", folder / "keys.json", labels)


# --- exact --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOURCES)
def test_a_file_whose_manifest_was_taken_off_is_recovered_exactly(known: Known, name: str) -> None:
    part = known.ask(strip(known.data(name)))
    assert (part["verdict"], part["manifest"]) == ("recovered-exact", known.labels[name])
    assert part["codes"] == ["signingCredential.trusted"]
    assert part["signer"]["name"] in part["sentence"]
    recovery = part["recovery"]
    assert (recovery["how"], recovery["lossless"], recovery["manifest_verdict"]) == ("bytes", True, "trusted")
    assert (recovery["before"], recovery["evidence"]["reinsertion"]) == ("no-manifest", True)


def test_what_was_taken_off_is_said_with_its_doubt(known: Known) -> None:
    part = known.ask(strip(known.data("a.png")))
    assert "taken off, or this is a copy from before the signing" in part["sentence"]


def test_the_source_from_before_the_signing_is_the_same_bytes(known: Known) -> None:
    assert known.ask(known.data("source-b.jpg"))["verdict"] == "recovered-exact"


@pytest.mark.parametrize("name", ["a.png", "c.webp"])
def test_a_lossless_copy_is_recovered_exactly_by_its_pixels(known: Known, name: str) -> None:
    part = known.ask(encoded(known.image(name), "PNG", compress_level=1))
    assert (part["verdict"], part["manifest"]) == ("recovered-exact", known.labels[name])
    assert part["recovery"]["how"] == "pixels"
    assert part["codes"] == ["auditkit.recovered.pixels"]
    assert "exactly the pixels" in part["sentence"]


def test_one_changed_pixel_is_no_exact_recovery(known: Known) -> None:
    pixels = np.asarray(known.image("a.png")).copy()
    pixels[0, 0, 0] ^= 1
    part = known.ask(encoded(pixels))
    assert part["verdict"] == "recovered-soft"


def test_the_stored_signer_is_judged_by_the_trust_lists_of_today(known: Known) -> None:
    with open_store(known.store) as store:
        found = recover(strip(known.data("a.png")), store)
    assert found.report is not None
    assert found.report.state == "Valid"


# --- soft ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOURCES)
def test_a_jpeg_at_half_size_is_recovered_softly_by_its_hash(known: Known, name: str) -> None:
    image = known.image(name).resize((128, 128))
    part = known.ask(encoded(image, "JPEG", quality=50))
    assert (part["verdict"], part["manifest"]) == ("recovered-soft", known.labels[name])
    assert part["recovery"]["how"] == "hash"
    assert part["recovery"]["evidence"]["pdq_distance"] <= 31
    assert "very probably a version" in part["sentence"]


@pytest.mark.parametrize("turned", [ImageOps.mirror, ImageOps.flip, lambda image: image.rotate(90)])
def test_a_turned_or_mirrored_copy_is_recovered_softly_by_its_hash(known: Known, turned: Any) -> None:
    part = known.ask(encoded(turned(known.image("b.jpg")), "JPEG", quality=80))
    assert (part["verdict"], part["manifest"]) == ("recovered-soft", known.labels["b.jpg"])


@pytest.mark.parametrize(
    ("changed", "picture"),
    [
        (lambda image: image.crop((20, 20, 364, 364)), "part"),
        (ImageOps.mirror, "same"),
    ],
    ids=["crop", "flip"],
)
def test_a_crop_or_flip_of_a_marked_image_is_recovered_softly_by_its_watermark(
    known: Known, changed: Any, picture: str
) -> None:
    part = known.ask(encoded(changed(known.image("marked.png")), "JPEG", quality=85), watermark=True)
    assert (part["verdict"], part["manifest"]) == ("recovered-soft", known.labels["marked.png"])
    evidence = part["recovery"]["evidence"]
    assert part["recovery"]["how"] == "watermark"
    assert evidence["watermark"].startswith("spread, key k-")
    assert evidence["picture"] in (picture, "same")


def test_a_mark_that_was_copied_to_another_picture_recovers_nothing_and_is_told(known: Known) -> None:
    marked, other = np.asarray(known.image("marked.png")), photograph("coffee.png", 384)[::-1].copy()
    forged = encoded(copied(marked, other, gain=2.0))
    inspector = Inspector(Settings(store=str(known.store), keys=str(known.keys), banks=(), schemes=("spread",)))
    found = inspector.inspect_bytes(forged)
    assert found.watermark["verdict"] == "present"  # else this would show nothing
    assert found.c2pa["verdict"] == "no-manifest"
    assert any("the mark may have been copied" in note for note in found.c2pa["notes"])


def test_a_mark_alone_without_the_picture_is_no_proof(known: Known) -> None:
    """The same on the level of `recover`, which is told of a mark that points at another picture."""
    image = Image.fromarray(photograph("coffee.png", 256)[::-1])
    with open_store(known.store) as store:
        entry = store.get(known.labels["marked.png"])
        assert entry is not None
        (scheme, key_id, payload) = _mark(store, entry.label)
        found = recover(encoded(image), store, image=lambda: image, marks=[(scheme, key_id, payload)])
    assert (found.verdict, found.entry) == ("", None)
    assert "copied" in found.warnings[0]


def test_an_unrelated_image_has_no_manifest_and_nothing_more(known: Known) -> None:
    part = known.ask(encoded(photograph("rocket.jpg", 256)))
    assert (part["verdict"], part["recovery"], part["notes"]) == ("no-manifest", None, [])


# --- when the store is asked --------------------------------------------------------------------------------------


def test_a_file_with_its_manifest_is_not_looked_up(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    _nobody_asks(monkeypatch)
    assert known.ask(known.data("a.png"))["verdict"] == "trusted"


def test_a_tampered_file_is_not_looked_up(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    _nobody_asks(monkeypatch)
    assert known.ask(repainted(known.data("a.png")))["verdict"] == "tampered-content"


def test_a_file_whose_manifest_is_broken_is_looked_up(known: Known) -> None:
    part = known.ask(zeroed_half(known.data("a.png")))
    assert (part["verdict"], part["recovery"]["before"]) == ("recovered-exact", "malformed")
    assert part["recovery"]["lossless"] is False


def test_without_a_store_nothing_is_recovered(known: Known) -> None:
    part = Inspector(Settings(store="", keys="", banks=())).inspect_bytes(strip(known.data("a.png"))).c2pa
    assert (part["verdict"], part["recovery"]) == ("no-manifest", None)


# --- hard cases ---------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "store", create=True) as made:
        yield made


def asked(store: Store, data: bytes) -> dict[str, Any]:
    return Inspector(Settings(store=str(store.folder), keys="", banks=())).inspect_bytes(data).c2pa


@pytest.mark.parametrize("color", ["red", "white"])
def test_a_flat_image_is_recovered_by_bytes_and_pixels_and_never_softly(store: Store, color: str) -> None:
    flat = Image.new("RGB", (64, 64), color)
    store.add(signed(encoded(flat)), title="flat", signer="s")
    assert asked(store, encoded(flat))["recovery"]["how"] == "bytes"
    assert asked(store, encoded(flat, compress_level=0))["recovery"]["how"] == "pixels"
    assert asked(store, encoded(Image.new("RGB", (64, 64), "blue")))["verdict"] == "no-manifest"
    assert asked(store, encoded(flat.resize((32, 32))))["verdict"] == "no-manifest"


def test_of_two_pictures_that_are_nearly_the_same_the_nearer_one_is_recovered(store: Store) -> None:
    one = photograph("astronaut.png", 256)
    two = one.copy()
    two[100:124, 100:124] = two[100:124, 100:124][::-1]
    for name, pixels in (("one", one), ("two", two)):
        store.add(signed(encoded(pixels), title=name), title=name, signer="s")
    for name, pixels in (("one", one), ("two", two)):
        small = Image.fromarray(pixels).resize((200, 200))
        part = asked(store, encoded(small, "JPEG", quality=80))
        assert (part["verdict"], part["recovery"]["stored"]["title"]) == ("recovered-soft", name)
        assert part["recovery"]["evidence"]["candidates"] == 2


def test_of_two_signed_versions_of_one_picture_each_finds_its_own_by_bytes(store: Store) -> None:
    png, jpeg = signed(encoded(photograph(side=128))), signed(encoded(photograph(side=128), "JPEG", quality=90))
    for made in (png, jpeg):
        store.add(made, title="p", signer="s")
    for made in (png, jpeg):
        part = asked(store, strip(made.data))
        assert (part["verdict"], part["manifest"]) == ("recovered-exact", made.label)


def test_a_file_that_was_signed_twice_is_recovered_exactly(store: Store) -> None:
    source = image_bytes("jpeg")
    labels = {store.add(signed(source), title="p", signer="s").label for _ in range(2)}
    part = asked(store, source)
    assert part["verdict"] == "recovered-exact"
    assert part["manifest"] in labels


@pytest.mark.parametrize("fmt", ["png", "jpeg", "webp"])
def test_an_image_signed_in_a_sidecar_that_was_lost_is_recovered_exactly(store: Store, fmt: str) -> None:
    made = signed(fmt, embed=False)
    store.add(made, title="p", signer="s")
    part = asked(store, made.data)
    assert (part["verdict"], part["manifest"]) == ("recovered-exact", made.label)
    assert part["recovery"]["lossless"] is False
    assert "taken off" not in part["sentence"]


def test_a_transparent_image_is_recovered_by_its_pixels(store: Store) -> None:
    made = signed("png-alpha")
    store.add(made, title="p", signer="s")
    again = encoded(Image.open(io.BytesIO(made.data)), compress_level=1)
    assert asked(store, again)["recovery"]["how"] == "pixels"


def test_a_mark_that_many_images_carry_does_not_hide_the_picture_that_the_hash_finds(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "MOST", 1)
    others, own = encoded(photograph("coffee.png", 128)), photograph("astronaut.png", 128)
    for _ in range(2):
        store.add(signed(others, bindings=(watermark_binding("spread", "k-1", "0:7"),)), title="p", signer="s")
    entry = store.add(signed(encoded(own)), title="own", signer="s")
    image = Image.fromarray(own).resize((120, 120))
    mark = ("spread", "k-1", "0:7")
    found = recover(encoded(image), store, image=lambda: image, forms=hash_forms(image), marks=[mark])
    assert (found.verdict, found.how, found.entry) == ("recovered-soft", "hash", entry)
    assert found.evidence["candidates"] == 3


def test_where_a_mark_is_carried_by_more_images_than_are_compared_it_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "MOST", 1)
    for _ in range(2):
        source = encoded(photograph("coffee.png", 128))
        store.add(signed(source, bindings=(watermark_binding("spread", "k-1", "0:7"),)), title="p", signer="s")
    image = Image.fromarray(photograph("astronaut.png", 128))
    found = recover(encoded(image), store, image=lambda: image, marks=[("spread", "k-1", "0:7")])
    assert found.verdict == ""
    assert found.warnings[-1] == "2 signed images carry that mark; 1 of them were compared."


def test_payloads_that_a_store_knows_are_those_of_its_watermarks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = (SoftBinding("auditkit.watermark.odd.1", b"k-1:no payload", "watermark"),
           SoftBinding("tests.a", b"k-1:0:9", "watermark"))  # fmt: skip
    store.add(signed("png", bindings=(watermark_binding("spread", "k-1", "0:7"), *odd)), title="p", signer="s")
    assert [str(each) for each in known_payloads(store)] == ["0:7"]
    monkeypatch.setattr(recovery, "KNOWN_PAYLOADS", 1)
    assert known_payloads(store) == []


def test_a_broken_image_with_a_store_at_hand_is_a_verdict(store: Store) -> None:
    store.add(signed("png"), title="p", signer="s")
    for data in (image_bytes("png")[:200], b"\xff\xd8\xff", b"text", b""):
        assert asked(store, data)["verdict"] in ("malformed", "unsupported", "no-manifest")


# --- the store ----------------------------------------------------------------------------------------------------


def test_a_missing_store_that_was_named_is_an_error_and_a_default_one_is_not(tmp_path: Path) -> None:
    with pytest.raises(ProvenanceError, match="no manifest store here"):
        Inspector(Settings(store=str(tmp_path / "none"), keys="", banks=()))
    assert Inspector(Settings(keys="", banks=())).store is None


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100])
def test_a_damaged_store_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ProvenanceError) as caught:
        open_store(tmp_path)
    assert caught.value.where == tmp_path / FILE


def test_a_store_that_is_damaged_further_in_is_an_error_and_no_traceback(tmp_path: Path) -> None:
    with open_store(tmp_path / "store", create=True) as made:
        for seed in range(6):
            made.add(signed("png", seed=seed), title="p", signer="s")
    path = tmp_path / "store" / FILE
    data = bytearray(path.read_bytes())
    for page in range(1, len(data) // 4096):  # the first page, which says what the tables are, is left
        data[4096 * page : 4096 * page + 64] = bytes([0xA5]) * 64
    path.write_bytes(data)
    with pytest.raises(ProvenanceError, match="the manifest store can"):
        Inspector(Settings(store=str(tmp_path / "store"), keys="", banks=())).inspect_bytes(image_bytes("png"))


@pytest.mark.parametrize("create", [False, True])
def test_a_store_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path, create: bool) -> None:
    connection = sqlite3.connect(tmp_path / FILE)
    connection.executescript("CREATE TABLE other (x); PRAGMA user_version = 9;")
    connection.close()
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(ProvenanceError, match="version 9") as caught:
        open_store(tmp_path, create=create)
    assert caught.value.mend == "upgrade auditkit"
    assert (tmp_path / FILE).read_bytes() == before


def test_opening_to_read_writes_nothing_and_many_may_do_it(known: Known, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(known.store, tmp_path / "shared"))
    (folder / FILE).chmod(0o400)
    folder.chmod(0o500)
    before = (folder / FILE).read_bytes()
    try:
        with open_store(folder) as one, open_store(folder) as two:
            assert len(one) == len(two) == 4
            with pytest.raises(ProvenanceError):
                one.add(signed("png"), title="p", signer="s")
        assert [path.name for path in folder.iterdir()] == [FILE]
        assert (folder / FILE).read_bytes() == before
    finally:
        folder.chmod(0o700)


def test_a_reader_sees_what_a_writer_added_since(tmp_path: Path) -> None:
    with open_store(tmp_path, create=True) as writer, open_store(tmp_path) as reader:
        made = signed("png")
        writer.add(made, title="p", signer="s")
        assert reader.get(made.label) is not None


def test_a_manifest_is_kept_once(store: Store) -> None:
    made = signed("png")
    store.add(made, title="p", signer="s")
    with pytest.raises(ProvenanceError, match="already"):
        store.add(made, title="p", signer="s")
    assert len(store) == 1


def test_what_fails_half_way_leaves_nothing_in_the_store(store: Store) -> None:
    twice = [SoftBinding("tests.a", b"1", "watermark")] * 2
    with pytest.raises(ProvenanceError):
        store.add(signed("png", bindings=twice), title="p", signer="s")
    assert len(store) == 0


def test_opening_does_not_grow_slower_with_the_square_of_the_entries(store: Store) -> None:
    """A check of the tables once joined all manifests with all bindings."""
    made = signed("png")
    store.add(made, title="p", signer="s")
    with store._db as connection:
        columns = "media_type, asset_sha256, stripped_sha256, pixels_sha256, pdq, pdq_quality, thumbnail, manifest, " \
            "spans, title, signer, signed, run, image, salt"  # fmt: skip
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
        connection.execute("UPDATE manifests SET manifest = x'', thumbnail = x''")
        connection.execute(f"{numbers} INSERT INTO manifests SELECT 'u' || i, {columns} FROM manifests, n")
        connection.execute(f"{numbers} INSERT INTO bindings SELECT 'a', CAST(i AS BLOB), 'u' || i FROM n")
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    opened = sqlite3.connect
    with pytest.MonkeyPatch.context() as patch:

        def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
            made = opened(*arguments, **options)
            made.set_progress_handler(count, 1000)
            return made

        patch.setattr(sqlite3, "connect", connect)
        with open_store(store.folder):
            pass
    assert steps < 100


def _nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    from auditkit.provenance import inspection

    def asked(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("the store was asked")

    monkeypatch.setattr(inspection, "recover", asked)


def _mark(store: Store, label: str) -> tuple[str, str, str]:
    query = "SELECT alg, value FROM bindings WHERE label = ? AND alg LIKE 'auditkit.watermark.%'"
    algorithm, value = store._db.execute(query, (label,)).fetchone()
    key_id, payload = value.decode().split(":", 1)
    return algorithm.split(".")[2], key_id, payload
