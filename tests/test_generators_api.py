"""An API as a generator: what is asked, what its answers become, and what is never told."""

from __future__ import annotations

import json
import logging
import pickle
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_api import KEY, ImageApi, image_api

from auditkit.errors import BudgetError, GeneratorError
from auditkit.images import encode_png
from auditkit.runs import Refused
from generators.api import ApiGenerator, ApiOptions
from generators.api.options import Endpoint, read_key
from generators.api.pacing import Pace, Stopped, backoff, retry_after
from generators.api.store import Ledger, Store
from generators.base import Generator, Job, Keeping
from generators.load import load_generator

JOBS = [Job("a portrait of a judge", 1), Job("a portrait of a pilot", 2), Job("a portrait of a judge", 3)]


class QuickClock:
    """Time that passes only by waiting, and at once."""

    def __init__(self) -> None:
        self.time, self.waits, self.lock = 1000.0, list[float](), threading.Lock()

    def now(self) -> float:
        with self.lock:
            return self.time

    def wait(self, seconds: float, stop: threading.Event) -> None:
        if stop.is_set():
            raise Stopped
        with self.lock:
            self.waits.append(seconds)
            self.time += max(seconds, 0)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("AUDITKIT_API_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("AUDITKIT_API_KEY", KEY)


@pytest.fixture
def server() -> Iterator[ImageApi]:
    with image_api() as api:
        yield api


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


def generator(server: ImageApi, clock: QuickClock, **options: Any) -> ApiGenerator:
    given = {"url": server.url, "size": "64x64", "parallel": 1} | options
    return ApiGenerator("api:draw-1", ApiOptions(**given), clock=clock)


def make(made: ApiGenerator, jobs: list[Job] = JOBS) -> list[Any]:
    return list(made.generate(jobs, made.info.defaults))


# What every generator keeps to (tests/test_generators_contract.py), but for the seeds that an API does not have.


def test_it_is_a_generator_and_says_what_it_is(server: ImageApi, clock: QuickClock) -> None:
    made = generator(server, clock, price=0.04, parameters={"quality": "low"})
    info = made.info
    assert isinstance(made, Generator)
    assert isinstance(made, Keeping)
    assert (info.name, info.kind, info.resolution) == ("draw-1", "api", 64)
    host = server.url.split("/")[2]
    assert info.source == f"api:{host} quality=low size=64x64"
    assert info.as_dict()["defaults"] == {"sampler": None, "steps": None, "guidance": None}
    assert info.details == {
        "seeded": False,
        "host": host,
        "sent": {"size": "64x64", "quality": "low"},
        "price_per_image": 0.04,
    }


@pytest.mark.parametrize("parallel", [1, 3])
def test_images_come_in_the_order_of_the_jobs_in_rgb_of_the_size_it_says(
    server: ImageApi, clock: QuickClock, parallel: int
) -> None:
    images = make(generator(server, clock, parallel=parallel))
    assert [image.size for image in images] == [(64, 64)] * 3
    assert {image.mode for image in images} == {"RGB"}
    assert sorted(server.answered) == sorted(job.prompt for job in JOBS)
    assert len({encode_png(image) for image in images}) == 3


def test_no_jobs_ask_for_nothing(server: ImageApi, clock: QuickClock) -> None:
    assert make(generator(server, clock), []) == []
    assert server.bodies == []


def test_a_name_with_api_before_it_is_loaded_with_the_environment_s_address(
    server: ImageApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDITKIT_API_URL", server.url)
    assert load_generator("api:draw-1", device="cpu").info.kind == "api"
    monkeypatch.delenv("AUDITKIT_API_URL")
    with pytest.raises(GeneratorError, match="no API is named"):
        load_generator("api:draw-1")


def test_what_is_sent_is_model_prompt_size_and_what_was_given_besides(server: ImageApi, clock: QuickClock) -> None:
    make(generator(server, clock, parameters={"quality": "low"}), JOBS[:1])
    assert server.bodies == [
        {
            "model": "draw-1",
            "prompt": "a portrait of a judge",
            "n": 1,
            "size": "64x64",
            "quality": "low",
            "response_format": "b64_json",
        }
    ]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_a_model_that_refuses_response_format_is_asked_without_from_then_on(
    server: ImageApi, clock: QuickClock
) -> None:
    server.mode = "noformat"
    assert len(make(generator(server, clock))) == 3
    assert ["response_format" in body for body in server.bodies] == [True, False, False, False]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_other_formats_are_taken(server: ImageApi, clock: QuickClock, kind: str) -> None:
    server.mode = f"ok {kind}"
    assert make(generator(server, clock), JOBS[:1])[0].size == (64, 64)


def test_an_image_given_by_its_address_is_fetched_without_the_key(server: ImageApi, clock: QuickClock) -> None:
    server.mode = "url"
    assert make(generator(server, clock), JOBS[:1])[0].size == (64, 64)
    assert len(server.fetched) == 1
    assert "Authorization" not in server.fetched[0]


@pytest.mark.parametrize(
    "url",
    ["http://example.com/a.png", "https://127.0.0.1/a.png", "https://10.0.0.7/a.png", "https://169.254.169.254/x",
     "https://[::1]/a", "https://localhost/a", "https://db.internal/a", "file:///etc/passwd", "https://[", "ftp://a.b/c"],
)  # fmt: skip
def test_an_address_of_this_machine_or_without_encryption_is_not_fetched(
    server: ImageApi, clock: QuickClock, url: str
) -> None:
    server.mode = f"url {url}"
    with pytest.raises(GeneratorError, match="an address of an image"):
        make(generator(server, clock), JOBS[:1])


# Failures that pass, and failures that do not.


def test_too_many_requests_are_waited_out_as_long_as_the_server_asks(server: ImageApi, clock: QuickClock) -> None:
    server.script = ["status 429 7", "status 503", "status 429"]
    assert len(make(generator(server, clock))) == 3
    assert len(server.bodies) == 6
    waits = [wait for wait in clock.waits if wait > 0]
    assert waits[0] == 7
    assert all(0.5 * 2**i <= wait <= 2**i for i, wait in enumerate(waits[1:3], start=1))


@pytest.mark.parametrize(
    ("mode", "said", "asked"),
    [
        ("status 429", r"the API answered 429 .*, 4 times in all[\s\S]*127\.0\.0\.1.*'a portrait of a judge'", 4),
        ("status 500", "answered 500", 4),
        ("status 429 4000", "asks to wait 4000 s", 1),
        ("status 401", "does not let us in", 1),
        ("status 404", "does not take the request", 1),
        ("status 400", "does not take the request", 1),
        ("quota", "no credit left", 1),
        ("redirect", "redirects elsewhere", 1),
        ("html", "3 times without a usable image, the last time with an answer that is none", 3),
        ("list", "an answer that is none of the images API", 3),
        ("empty", "an answer without an image", 3),
        ("base64", "base64 that is broken", 3),
        ("half", "no whole image .*truncated", 3),
        ("words", "that are no whole image", 3),
        ("size", "an image of 32x32 in place of 64x64", 3),
        ("huge", "an answer of more than 40 MB", 3),
        ("broken", "broke off", 4),
    ],
)
def test_what_does_not_pass_is_one_error_that_names_host_prompt_and_what_came(
    server: ImageApi, clock: QuickClock, mode: str, said: str, asked: int
) -> None:
    server.mode = mode
    with pytest.raises(GeneratorError, match=said) as caught:
        make(generator(server, clock, retries=3), JOBS[:1])
    assert "127.0.0.1" in str(caught.value.where)
    assert "a portrait of a judge" in str(caught.value.where)
    assert caught.value.mend
    assert KEY not in str(caught.value)
    assert len(server.bodies) == asked


def test_an_answer_that_never_comes_is_given_up(server: ImageApi, clock: QuickClock) -> None:
    server.mode = "slow"
    with pytest.raises(GeneratorError, match=r"no answer within 0\.2 s, 2 times"):
        make(generator(server, clock, timeout=0.2, retries=1), JOBS[:1])


def test_a_server_that_is_not_there_is_named(clock: QuickClock) -> None:
    made = ApiGenerator("draw-1", ApiOptions(url="http://127.0.0.1:9", size="64x64", retries=1), clock=clock)
    with pytest.raises(GeneratorError, match="cannot be reached") as caught:
        make(made, JOBS[:1])
    assert "127.0.0.1:9" in str(caught.value.where)


def test_garbage_is_asked_again_before_it_is_an_error(server: ImageApi, clock: QuickClock) -> None:
    server.script = ["half", "html"]
    assert len(make(generator(server, clock))) == 3
    assert len(server.bodies) == 5


# Refusals by policy are data.


@pytest.mark.parametrize("code", ["content_policy_violation", "moderation_blocked", "content_filter"])
def test_a_refusal_by_policy_takes_the_image_s_place_and_the_rest_is_made(
    server: ImageApi, clock: QuickClock, code: str
) -> None:
    server.script = ["ok", f"refuse {code}"]
    made = make(generator(server, clock))
    assert made[1] == Refused(code, "Your request was rejected by our safety system.")
    assert [type(each).__name__ for each in made] == ["Image", "Refused", "Image"]
    assert len(server.bodies) == 3


# Rate and waiting.


def test_requests_keep_to_the_rate_over_all_threads(server: ImageApi, clock: QuickClock) -> None:
    make(generator(server, clock, rate=30, parallel=3), JOBS * 2)
    assert clock.time - 1000 == pytest.approx(10, abs=0.01)  # six requests, two seconds apart


def test_the_pace_is_even_and_a_hold_moves_it() -> None:
    clock = QuickClock()
    pace, stop = Pace(60, clock), threading.Event()
    moments = []
    for _ in range(3):
        pace.take(stop)
        moments.append(clock.time - 1000)
    pace.hold(10)
    pace.take(stop)
    assert [*moments, clock.time - 1000] == [0, 1, 2, 12]


def test_waits_double_up_to_a_minute_and_are_drawn_from_their_upper_half() -> None:
    assert [backoff(i, lambda: 1.0) for i in (1, 2, 3, 7, 1000)] == [1, 2, 4, 60, 60]
    assert backoff(3, lambda: 0.0) == 2


def test_retry_after_is_read_in_both_forms() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    later = (now + timedelta(seconds=90)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert retry_after("12") == 12
    assert retry_after(later, today=lambda: now) == 90
    assert retry_after("Thu, 01 Jan 1970 00:00:00 GMT", today=lambda: now) == 0
    assert [retry_after(value) for value in (None, "", "soon", "-5", "9" * 400)][:4] == [None] * 4


# The key.


def test_the_key_is_in_no_record_error_log_or_picture_of_the_generator(
    server: ImageApi, clock: QuickClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = generator(server, clock, retries=0)
    server.mode = "status 500"  # the server repeats the header that it got
    with pytest.raises(GeneratorError, match=r"\[key\]") as caught:
        make(made, JOBS[:1])
    shown = [str(caught.value), json.dumps(caught.value.as_dict()), repr(made.__dict__), repr(made._client.__dict__)]
    shown += [caplog.text, json.dumps(made.info.as_dict())]
    assert not any(KEY in each for each in shown)
    with pytest.raises(TypeError, match="not written"):
        pickle.dumps(made._client._key)


def test_openai_s_own_variable_is_for_openai_alone() -> None:
    environment = {"OPENAI_API_KEY": "sk-openai-1234567890"}
    assert read_key(Endpoint.of("https://api.openai.com/v1"), environment) is not None
    for other in ("https://example.com/v1", "https://openai.com.example.org", "http://127.0.0.1:1/v1"):
        assert read_key(Endpoint.of(other), environment) is None


def test_a_key_is_not_sent_unencrypted_to_another_machine() -> None:
    environment = {"AUDITKIT_API_KEY": KEY}
    with pytest.raises(GeneratorError, match="unencrypted") as caught:
        read_key(Endpoint.of("http://example.com/v1"), environment)
    assert KEY not in str(caught.value)
    assert read_key(Endpoint.of("http://example.com/v1"), {}) is None
    assert read_key(Endpoint.of("http://localhost:8080/v1"), environment) is not None


def test_a_key_with_a_line_break_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITKIT_API_KEY", "sk-aaaaaaaa\nX-Evil: 1")
    with pytest.raises(GeneratorError, match="does not hold a key") as caught:
        ApiGenerator("draw-1", ApiOptions(url="https://example.com/v1"))
    assert "aaaa" not in str(caught.value)


@pytest.mark.parametrize("key", [KEY, "0123456789abcdef0123456789abcdef"])
def test_a_key_that_a_server_repeats_is_taken_out_whole_wherever_it_stands(
    server: ImageApi, clock: QuickClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("AUDITKIT_API_KEY", key)
    server.mode = "echo"  # in the revised prompt and in the usage
    made = generator(server, clock, retries=0)
    made._store = Store(tmp_path)
    make(made, JOBS[:1])
    server.mode = "late"  # near the place where a message is cut
    with pytest.raises(GeneratorError) as caught:
        make(made, JOBS[1:2])
    kept = [file.read_text() for file in tmp_path.rglob("*.json")]
    assert any("[key]" in text for text in kept)
    assert not any(key[:12] in text for text in [*kept, str(caught.value)])


def test_a_server_without_a_key_is_asked_without_one(
    server: ImageApi, clock: QuickClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AUDITKIT_API_KEY")
    make(generator(server, clock), JOBS[:1])
    assert "Authorization" not in server.headers[0]


# What cannot be asked for.


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": "ftp://example.com"}, "not the address of an API"),
        ({"url": "example.com/v1"}, "not the address of an API"),
        ({"url": "https://user:word@example.com"}, "holds a user or password"),
        ({"size": "big"}, "not WIDTHxHEIGHT"),
        ({"parallel": 0}, "1 to 32 requests"),
        ({"rate": 0}, "above 0"),
        ({"max_images": 0}, "at least 1 image"),
        ({"max_cost": 1.0}, "needs the price"),
        ({"price": float("nan")}, "above 0"),
        ({"parameters": {"prompt": "x"}}, "cannot be sent"),
        ({"parameters": {"A b": "x"}}, "cannot be sent"),
    ],
)
def test_options_that_do_not_hold_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(GeneratorError, match=said) as caught:
        ApiGenerator("draw-1", ApiOptions(**({"url": "https://example.com"} | options)))
    assert "word" not in str(caught.value.where).replace("password", "")


def test_samplers_negative_prompts_and_noise_are_refused_before_anything_is_asked(
    server: ImageApi, clock: QuickClock
) -> None:
    made = generator(server, clock)
    with pytest.raises(GeneratorError, match="takes no negative prompt"):
        make(made, [Job("a", 1, "dark")])
    with pytest.raises(GeneratorError, match="takes no noise"):
        make(made, [Job("a", 1, None, np.zeros((4, 8, 8), np.float32))])
    with pytest.raises(GeneratorError, match="takes no steps"):
        list(made.generate(JOBS, type(made.info.defaults)(None, 5, None)))  # type: ignore[arg-type]
    assert server.bodies == []


def test_the_ledger_counts_what_other_processes_noted_and_a_torn_line_hides_nothing(tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    one, other, third = (Ledger(ApiOptions(max_images=3), file) for _ in range(3))
    on = threading.Event()
    one.end(one.begin("a" * 32, on), billed=True, status="image")
    other.end(other.begin("b" * 32, on), billed=False, status="answered 500")
    other.begin("c" * 32, on)
    with file.open("ab") as stream:
        stream.write(b'{"request": "d')
    one.begin("e" * 32, on)
    with pytest.raises(BudgetError, match="3 so far"):
        third.begin("f" * 32, on)
    again = Ledger(ApiOptions(max_images=3), file)
    assert (again.paid, again.requests) == (3, 4)


def test_what_is_on_its_way_and_not_paid_for_in_the_end_does_not_spend_the_budget(
    server: ImageApi, clock: QuickClock
) -> None:
    server.refuse = ("judge",)
    made = make(generator(server, clock, parallel=2, max_images=1), JOBS[:2])
    assert [isinstance(each, Refused) for each in made] == [True, False]


def test_answers_are_kept_before_they_are_given(server: ImageApi, clock: QuickClock, tmp_path: Path) -> None:
    made = generator(server, clock)
    made._store, made._ledger = Store(tmp_path), Ledger(made.options, tmp_path / "ledger.jsonl")
    images = make(made)
    again = generator(server, clock)
    again._store, again._ledger = Store(tmp_path), Ledger(again.options, tmp_path / "ledger.jsonl")
    assert [encode_png(image) for image in make(again)] == [encode_png(image) for image in images]
    assert len(server.bodies) == 3
    assert again._ledger.paid == 3
    damaged = min(tmp_path.glob("*.png"))
    damaged.write_bytes(damaged.read_bytes()[:-20])
    make(again)
    assert len(server.bodies) == 4
