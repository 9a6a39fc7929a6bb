"""The soft binding resolution service: what it finds and what not, and what it lets nobody do or see."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageOps
from provenance_helpers import credentials, image_bytes, isolated, signed  # noqa: F401
from watermark_toy import photograph

from app import service
from app.service import create_app
from auditkit.errors import ProvenanceError
from auditkit.provenance.containers import strip
from auditkit.provenance.manifest import PDQ_ALGORITHM, Claim
from auditkit.provenance.pdq import hash_image
from auditkit.provenance.publishing import Marker, Publisher
from auditkit.provenance.reading import read
from auditkit.provenance.recovery import binding_value
from auditkit.provenance.store import FILE, open_store
from auditkit.watermark import keys
from auditkit.watermark.forgery import copied

SPREAD = "auditkit.watermark.spread.1"


@dataclass(frozen=True)
class Served:
    """A folder with a store that knows `plain.png` and `marked.png`, and the key of the mark."""

    folder: Path
    plain: str
    marked: str
    binding: bytes

    def image(self, name: str) -> Image.Image:
        return Image.open(self.folder / name).convert("RGB")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    folder = tmp_path_factory.mktemp("served")
    key = keys.create(folder / "keys.json")
    claim = Claim("", source_type="trainedAlgorithmicMedia")
    Image.fromarray(photograph("coffee.png", 256)).save(folder / "source.png")
    Image.fromarray(photograph("astronaut.png", 384)).save(folder / "other.png")
    with Publisher.open(credentials(), store=folder / "store", log="") as made:
        plain = made.publish_file(folder / "source.png", folder / "plain.png", claim)
        marked = made.publish_file(folder / "other.png", folder / "marked.png", claim, marker=Marker("spread", key))
    assert marked.payload is not None
    return Served(folder, plain.label, marked.label, binding_value(key.id, marked.payload))


@pytest.fixture
def client(served: Served) -> Iterator[TestClient]:
    """The service without watermarks, which most of it does not need."""
    with TestClient(create_app(served.folder / "store", keys=""), raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def reading(served: Served) -> Iterator[TestClient]:
    """The service that reads watermarks."""
    with TestClient(create_app(served.folder / "store", keys=str(served.folder / "keys.json"))) as made:
        yield made


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def encoded(image: Image.Image | np.ndarray, format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, format=format, **options)
    return stream.getvalue()


def labels(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [match["manifestId"] for match in answer.json()["matches"]]


# --- the five endpoints -------------------------------------------------------------------------------------------


def test_a_watermark_is_looked_up_by_get_and_by_post(client: TestClient, served: Served) -> None:
    asked = {"alg": SPREAD, "value": b64(served.binding)}
    got, posted = client.get("/matches/byBinding", params=asked), client.post("/matches/byBinding", json=asked)
    assert labels(got) == labels(posted) == [served.marked]
    assert got.json()["matches"][0]["similarityScore"] == 100


def test_a_perceptual_hash_is_looked_up_with_how_near_it_is(client: TestClient, served: Served) -> None:
    bits = bytearray(hash_image(served.image("plain.png")).bits)
    bits[0] ^= 0x0F
    answer = client.get("/matches/byBinding", params={"alg": PDQ_ALGORITHM, "value": b64(bytes(bits))})
    assert labels(answer) == [served.plain]
    assert 95 <= answer.json()["matches"][0]["similarityScore"] < 100


def test_an_image_is_looked_up_by_its_content(client: TestClient, served: Served) -> None:
    for name, label in (("plain.png", served.plain), ("marked.png", served.marked)):
        exact = encoded(served.image(name), compress_level=1)
        small = encoded(served.image(name).resize((128, 128)), "JPEG", quality=50)
        mirrored = encoded(ImageOps.mirror(served.image(name)))
        for data in (strip((served.folder / name).read_bytes()), exact, small, mirrored):
            assert labels(client.post("/matches/byContent", content=data)) == [label]


def test_a_crop_of_a_marked_image_is_looked_up_by_its_mark(reading: TestClient, served: Served) -> None:
    cropped = encoded(served.image("marked.png").crop((40, 40, 344, 344)), "JPEG", quality=90)
    assert labels(reading.post("/matches/byContent", content=cropped)) == [served.marked]


def test_a_manifest_is_given_back_and_verifies_beside_its_image(client: TestClient, served: Served) -> None:
    answer = client.get(f"/manifests/{served.plain}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/c2pa")
    with open_store(served.folder / "store") as store:
        entry = store.get(served.plain)
        assert entry is not None
        assert answer.content == entry.manifest
    assert read(image_bytes("png"), sidecar=answer.content).store["active_manifest"] == served.plain


def test_the_algorithms_that_can_be_looked_up_are_listed(client: TestClient) -> None:
    assert client.get("/services/supportedAlgorithms").json() == {
        "watermarks": [{"alg": SPREAD}], "fingerprints": [{"alg": PDQ_ALGORITHM}],
    }  # fmt: skip


def test_the_openapi_document_has_the_paths_of_the_standard(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {path: sorted(methods) for path, methods in paths.items()} == {
        "/matches/byBinding": ["get", "post"], "/matches/byContent": ["post"], "/manifests/{manifest_id}": ["get"],
        "/services/supportedAlgorithms": ["get"],
    }  # fmt: skip
    asked = [parameter["name"] for parameter in paths["/matches/byBinding"]["get"]["parameters"]]
    assert asked == ["alg", "value", "maxResults"]


def test_no_more_than_was_asked_for_is_answered(tmp_path: Path) -> None:
    source = encoded(photograph("coffee.png", 128))
    with open_store(tmp_path / "store", create=True) as store:
        for _ in range(4):
            store.add(signed(source), title="p", signer="s")
    with TestClient(create_app(tmp_path / "store", keys="")) as client:
        assert len(labels(client.post("/matches/byContent", content=source))) == 4
        assert len(labels(client.post("/matches/byContent", params={"maxResults": 2}, content=source))) == 2
        value = b64(hash_image(source).bits)
        for asked, n in ((1, 1), (3, 3), (100, 4)):
            params = {"alg": PDQ_ALGORITHM, "value": value, "maxResults": asked}
            assert len(labels(client.get("/matches/byBinding", params=params))) == n
        assert client.get("/matches/byBinding", params={**params, "maxResults": 101}).status_code == 422


# --- what is not found --------------------------------------------------------------------------------------------


def test_what_nobody_knows_is_an_empty_list(client: TestClient) -> None:
    none = b64(b"k-000000000000:1:1")
    assert labels(client.get("/matches/byBinding", params={"alg": SPREAD, "value": none})) == []
    assert labels(client.post("/matches/byContent", content=encoded(photograph("rocket.jpg", 256)))) == []
    assert labels(client.post("/matches/byContent", content=encoded(Image.new("RGB", (64, 64), "red")))) == []


def test_a_mark_that_was_copied_to_another_picture_is_not_matched(reading: TestClient, served: Served) -> None:
    other = photograph("coffee.png", 384)[::-1].copy()
    forged = copied(np.asarray(served.image("marked.png")), other, gain=2.0)
    from auditkit.provenance.inspection import Inspector, Settings

    looking = Inspector(Settings(store="", keys=str(served.folder / "keys.json"), banks=()))
    assert looking.marks(Image.fromarray(forged))  # else this would show nothing
    assert labels(reading.post("/matches/byContent", content=encoded(forged))) == []


def test_a_manifest_that_is_not_there_is_404(client: TestClient) -> None:
    assert client.get("/manifests/urn:c2pa:none").status_code == 404


@pytest.mark.parametrize(
    "path",
    ["../../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e%2f%2e%2e%2fstore%2fmanifests.sqlite",
     "manifests.sqlite", "' OR '1'='1", "%00", "%25", "x" * 5000],
)  # fmt: skip
def test_a_path_in_a_name_reaches_no_file(client: TestClient, path: str) -> None:
    answer = client.get(f"/manifests/{path}")
    assert answer.status_code == 404
    assert "root:" not in answer.text


# --- bad requests -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["not base64!", "a", "é", "AAAA=AAAA"])
def test_a_value_that_is_no_base64_is_400(client: TestClient, value: str) -> None:
    for answer in (
        client.get("/matches/byBinding", params={"alg": SPREAD, "value": value}),
        client.post("/matches/byBinding", json={"alg": SPREAD, "value": value}),
    ):
        assert (answer.status_code, answer.json()["detail"]) == (400, "value is not base64")


@pytest.mark.parametrize("alg", ["castlabs.iscc", "auditkit.pdq.2", "", "'; DROP TABLE manifests; --"])
def test_an_algorithm_that_is_not_supported_is_400_and_says_where_those_are_that_are(
    client: TestClient, alg: str
) -> None:
    answer = client.get("/matches/byBinding", params={"alg": alg, "value": b64(b"x")})
    assert answer.status_code == 400
    assert "/services/supportedAlgorithms" in answer.json()["detail"]


@pytest.mark.parametrize("bits", [b"", b"short", bytes(33)])
def test_a_perceptual_hash_of_another_length_is_400(client: TestClient, bits: bytes) -> None:
    answer = client.get("/matches/byBinding", params={"alg": PDQ_ALGORITHM, "value": b64(bits)})
    assert answer.status_code == 400


def test_a_request_without_its_fields_is_422(client: TestClient) -> None:
    assert client.get("/matches/byBinding").status_code == 422
    assert client.post("/matches/byBinding", json={"alg": SPREAD}).status_code == 422
    assert client.post("/matches/byBinding", json={"alg": SPREAD, "value": "A" * 5000}).status_code == 422


@pytest.mark.parametrize("data", [b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", image_bytes("png")[:200]])
def test_what_is_no_image_is_422_and_says_so(client: TestClient, data: bytes) -> None:
    answer = client.post("/matches/byContent", content=data)
    assert answer.status_code == 422
    assert "image" in answer.json()["detail"]


def test_an_empty_body_is_400(client: TestClient) -> None:
    assert client.post("/matches/byContent").status_code == 400


def test_a_body_that_is_too_large_is_413(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_UPLOAD", 1 << 20)
    assert client.post("/matches/byContent", content=bytes((1 << 20) + 1)).status_code == 413
    assert client.post("/matches/byContent", content=bytes(1 << 20)).status_code == 422


def test_a_body_of_no_stated_length_is_refused_before_it_is_all_read(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_UPLOAD", 1000)

    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield bytes(100)

    assert client.post("/matches/byContent", content=endless()).status_code == 413


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_an_error_of_the_store_names_no_folder_of_ours(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "secret-folder"
    with open_store(folder, create=True):
        pass
    made = create_app(folder, keys="")
    if damage == "missing":
        (folder / FILE).unlink()
    else:
        (folder / FILE).write_bytes(b"no database" * 500)
    with TestClient(made, raise_server_exceptions=False) as client:
        for answer in (client.get("/services/supportedAlgorithms"), client.get("/manifests/x")):
            assert answer.status_code == 500
            assert "secret-folder" not in answer.text
            assert answer.json()["detail"]


def test_a_service_without_a_store_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(ProvenanceError, match="no manifest store"):
        create_app(tmp_path / "none", keys="")


def test_nothing_that_is_uploaded_is_kept(client: TestClient, served: Served) -> None:
    before = {path: path.stat().st_mtime_ns for path in sorted(served.folder.rglob("*"))}
    client.post("/matches/byContent", content=encoded(served.image("plain.png")))
    assert {path: path.stat().st_mtime_ns for path in sorted(served.folder.rglob("*"))} == before


def test_an_image_that_is_signed_while_the_service_runs_is_found(tmp_path: Path) -> None:
    source = encoded(photograph("coffee.png", 128))
    with open_store(tmp_path / "store", create=True) as store:
        client = TestClient(create_app(tmp_path / "store", keys=""))
        assert labels(client.post("/matches/byContent", content=source)) == []
        made = signed(source)
        store.add(made, title="p", signer="s")
        assert labels(client.post("/matches/byContent", content=source)) == [made.label]
