"""A run made by an API: what is paid for is kept, whatever ends the process, and what is refused is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from image_api import KEY, ImageApi, image_api
from typer.testing import CliRunner

from app.cli import app
from auditkit.errors import BudgetError, GeneratorError, SpecError
from auditkit.runs import Run, open_run, read_refusals, seal, verify
from auditkit.spec import RunSpec
from generators.api import ApiGenerator, ApiOptions
from generators.make import generate

SPEC = RunSpec(
    name="tiny",
    generator="api:draw-1",
    templates=["a portrait of {a occupation}"],
    axes={"occupation": ["judge", "pilot", "artist"]},
    images_per_prompt=4,
)
ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AUDITKIT_API_KEY", KEY)


@pytest.fixture
def server() -> Iterator[ImageApi]:
    with image_api() as api:
        yield api


def make(server: ImageApi, out: Path, **options: Any) -> Run:
    given = {"url": server.url, "size": "64x64", "parallel": 1, "retries": 0} | options
    return generate(SPEC, out=out, generator=ApiGenerator("draw-1", ApiOptions(**given)))


def responses(out: Path) -> Path:
    (folder,) = out.glob("*/responses")
    return folder


def test_a_run_records_host_price_and_payments_and_keeps_what_came_with_each_image(
    server: ImageApi, tmp_path: Path
) -> None:
    run = make(server, tmp_path, price=0.04, parallel=3)
    images = run.images()
    assert len(images) == 12
    assert images["sampler"].isna().all()
    assert images["steps"].isna().all()
    assert "energy" not in run.record  # what the API's machines take is not known here
    generator = run.record["generator"]
    assert (generator["name"], generator["kind"], generator["weights"]) == ("draw-1", "api", {})
    details = generator["details"]
    assert (details["paid"], details["requests"], details["cost"], details["seeded"]) == (12, 12, 0.48, False)
    records = [json.loads(file.read_text()) for file in sorted((run.path / "responses").glob("*.json"))]
    assert {(each["prompt"], each["seed"]) for each in records} == set(
        zip(images["prompt"], images["seed"], strict=True)
    )
    assert records[0]["revised_prompt"] == f"revised: {records[0]['prompt']}"
    assert records[0]["headers"]["x-request-id"] == "req_1"
    assert records[0]["usage"] == {"total_tokens": 100}
    assert records[0]["sent"]["prompt"] == records[0]["prompt"]
    assert (run.path / "responses" / records[0]["file"]).is_file()
    seal(run)
    assert verify(run) == []


def test_the_key_is_in_no_file_of_the_run(server: ImageApi, tmp_path: Path) -> None:
    server.script = ["status 401", "refuse", "half"]
    with pytest.raises(GeneratorError, match="does not let us in"):
        make(server, tmp_path)
    make(server, tmp_path, retries=2)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) > 24
    assert not [file for file in files if KEY.encode() in file.read_bytes()]
    assert all(header["Authorization"] == f"Bearer {KEY}" for header in server.headers)


@pytest.mark.parametrize("ceiling", [{"max_images": 5}, {"max_cost": 0.2, "price": 0.04}])
def test_a_budget_stops_the_run_and_a_higher_one_goes_on_without_paying_twice(
    server: ImageApi, tmp_path: Path, ceiling: dict[str, Any]
) -> None:
    with pytest.raises(BudgetError, match="is spent: 5 so far") as caught:
        make(server, tmp_path, **ceiling)
    assert "pays for nothing twice" in str(caught.value.mend)
    assert len(server.bodies) == 5
    assert len(list(responses(tmp_path).glob("*.png"))) == 5
    with pytest.raises(BudgetError):
        make(server, tmp_path, **ceiling)
    assert len(server.bodies) == 5
    run = make(server, tmp_path, max_images=12)
    assert len(server.bodies) == 12
    assert len(run.images()) == 12
    assert run.record["generator"]["details"]["paid"] == 12


def test_answers_that_hold_no_image_count_as_paid_and_refused_ones_and_failures_do_not(
    server: ImageApi, tmp_path: Path
) -> None:
    server.script = ["html", "status 500", "refuse", "ok"]
    with pytest.raises(BudgetError, match="the budget of 3 paid answers is spent: 3 so far"):
        make(server, tmp_path, max_images=3, retries=3)
    assert len(server.bodies) == 5  # html, 500, then two images and a refusal


def test_a_failure_keeps_what_was_made_and_the_same_call_goes_on(server: ImageApi, tmp_path: Path) -> None:
    server.script = ["ok"] * 7 + ["status 500"]
    with pytest.raises(GeneratorError, match="answered 500"):
        make(server, tmp_path)
    run = make(server, tmp_path)
    assert len(run.images()) == 12
    assert len(server.bodies) == 13


def test_refusals_are_counted_and_kept_with_their_prompt_and_are_not_asked_for_again(
    server: ImageApi, tmp_path: Path
) -> None:
    server.refuse = ("judge",)
    with pytest.raises(BudgetError):
        make(server, tmp_path, max_images=2)
    assert Counter(server.answered)["a portrait of a judge"] == 4
    run = make(server, tmp_path)
    assert Counter(server.answered)["a portrait of a judge"] == 4
    assert len(run.images()) == 8
    assert run.record["refused"] == 4
    assert {line["axes"]["occupation"] for line in read_refusals(run.path)} == {"judge"}
    assert read_refusals(run.path)[0]["code"] == "moderation_blocked"


def test_a_finished_run_asks_for_nothing(server: ImageApi, tmp_path: Path) -> None:
    make(server, tmp_path)
    server.refuse = ("judge",)
    assert len(make(server, tmp_path).images()) == 12
    assert len(server.bodies) == 12


def test_another_size_or_parameter_is_another_run_and_a_budget_or_price_is_not(
    server: ImageApi, tmp_path: Path
) -> None:
    first = make(server, tmp_path)
    assert make(server, tmp_path, price=1.0, max_images=90, rate=60).id == first.id
    assert make(server, tmp_path, parameters={"quality": "low"}).id != first.id


def test_a_watermark_in_the_pixels_goes_over_answers_and_leaves_refusals(server: ImageApi, tmp_path: Path) -> None:
    class Mark:
        latent = False

        def record(self) -> dict[str, Any]:
            return {"scheme": "test"}

        def pixels(self, image: Any) -> Any:
            return image.transpose(0)

    server.refuse = ("judge",)
    maker = ApiGenerator("draw-1", ApiOptions(url=server.url, size="64x64"))
    run = generate(SPEC, out=tmp_path, generator=maker, watermark=Mark())  # type: ignore[arg-type]
    assert (len(run.images()), run.record["refused"]) == (8, 4)


PROGRAM = """
import sys
from test_generate_api import SPEC
from generators.api import ApiGenerator, ApiOptions
from generators.make import generate
options = ApiOptions(url=sys.argv[1], size="64x64", parallel=1)
generate(SPEC, out=sys.argv[2], generator=ApiGenerator("draw-1", options))
"""


def test_after_a_kill_only_the_request_on_its_way_is_asked_for_again_and_it_counts(
    server: ImageApi, tmp_path: Path
) -> None:
    server.script = ["ok"] * 6 + ["slow"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, server.url, str(tmp_path)], env=environment, cwd=ROOT)
    try:
        assert server.waiting.wait(60), "the seventh request never came"
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert len(list(responses(tmp_path).glob("*.png"))) == 6
    run = make(server, tmp_path)
    assert len(run.images()) == 12
    assert len(server.bodies) == 13
    assert run.record["generator"]["details"]["paid"] == 13


# The command line.


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(
        'name = "tiny"\ntemplates = ["a portrait of {a occupation}"]\nimages_per_prompt = 2\n'
        '[axes]\noccupation = ["judge", "pilot"]\n'
    )
    return path


def run_command(spec_file: Path, server: ImageApi, *more: str) -> Any:
    command = ["generate", str(spec_file), "-g", "api:draw-1", "--api-url", server.url, "--api-size", "64x64"]
    return CliRunner().invoke(app, [*command, "--out", str(spec_file.parent / "runs"), *more])


def test_the_command_says_what_it_may_cost_stops_at_the_budget_and_goes_on(
    server: ImageApi, spec_file: Path, tmp_path: Path
) -> None:
    server.refuse = ("judge",)
    budget = ["--max-images", "1", "--price-per-image", "0.04", "--api-param", "quality=low"]
    stopped = run_command(spec_file, server, *budget)
    assert stopped.exit_code == 1
    assert "for up to 4 images by draw-1 (64x64), at most 0.16 at 0.04 each" in stopped.output
    assert "It stops at 1 paid answer." in stopped.output
    assert "the budget of 1 paid answer is spent: 1 so far (0.04 at 0.04 each)" in stopped.output
    budget[1] = "9"
    done = run_command(spec_file, server, *budget)
    assert done.exit_code == 0, done.output
    assert "2 images of 1 prompts" in done.output
    assert "2 were refused; the reasons are in" in done.output
    assert "Paid answers: 2, 0.08 in all" in done.output
    assert {body["quality"] for body in server.bodies} == {"low"}
    answer = json.loads(run_command(spec_file, server, *budget, "--json").stdout)
    assert (answer["refused"], answer["paid"], answer["cost"]) == (2, 2, 0.08)
    assert open_run(answer["path"]).record["spec"]["resolved"]["generator"] == "api:draw-1"


def test_options_of_an_api_without_one_are_refused(tmp_path: Path) -> None:
    from app import api

    with pytest.raises(SpecError, match="not behind an API"):
        api.generate("occupations", generator="personas", out=tmp_path, api=ApiOptions(url="https://example.com"))
    refused = CliRunner().invoke(app, ["generate", "occupations", "-g", "api:x", "--api-param", "quality"])
    assert refused.exit_code == 1
    assert "not NAME=VALUE" in refused.output
    no_steps = [
        "generate",
        "occupations",
        "-g",
        "api:x",
        "--api-url",
        "https://example.com",
        "--out",
        str(tmp_path / "r"),
    ]
    stopped = CliRunner().invoke(app, [*no_steps, "--steps", "5"])
    assert (stopped.exit_code, (tmp_path / "r").exists()) == (1, False)
    assert "an API takes no steps" in stopped.output
    unnamed = CliRunner().invoke(app, ["generate", "occupations", "-g", "api:x"])
    assert "no API is named to ask" in unnamed.output


def test_an_api_is_not_asked_by_several_processes(spec_file: Path, server: ImageApi) -> None:
    result = run_command(spec_file, server, "--processes", "2")
    assert result.exit_code == 1
    assert "--api-parallel" in result.output
    assert server.bodies == []
