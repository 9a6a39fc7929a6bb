"""A generator behind an OpenAI-compatible images API (`POST .../images/generations`)."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from typing import TYPE_CHECKING, Any, cast

from PIL import Image

from auditkit.errors import GeneratorError
from auditkit.runs import Refused
from generators.api.client import Again, Client
from generators.api.options import ApiOptions, Endpoint, read_key
from generators.api.pacing import PATIENCE, Clock, Pace, RealClock, Stopped, backoff
from generators.api.store import LEDGER, RESPONSES, Ledger, Store, request_key
from generators.base import REMOTE, GeneratorInfo, Job, Settings

if TYPE_CHECKING:
    from auditkit.runs import Run

PREFIX = "api:"
BROKEN_ATTEMPTS = 3
"""Answers in a row that hold no image, each of which may have been paid for, before it is an error."""


class ApiGenerator:
    """Asks an API for one image a job. It has no seeds: asked again it would draw other images.

    What was answered is kept in the run at once (`keep_in`), and what is kept is not asked for again. A refusal by the
    API's policy is `Refused` in place of an image.
    """

    def __init__(self, name: str, options: ApiOptions | None = None, *, clock: Clock | None = None):
        """
        Args:
            name: the model's name at the API, with or without `api:` before it.
            clock: time, for tests.

        Raises:
            GeneratorError: no model or no address is named, an option is out of range, or the key cannot be sent.
        """
        self.model = name.removeprefix(PREFIX)
        self.options = options or ApiOptions()
        self.options.check()
        if not self.model or len(self.model) > 200 or not self.model.isprintable():
            raise GeneratorError("no model is named", where=f"generator={PREFIX}", mend="write api:MODEL")
        endpoint = Endpoint.of(self.options.url)
        self._client = Client(endpoint, read_key(endpoint), self.options)
        self._clock = clock or RealClock()
        self._pace = Pace(self.options.rate, self._clock)
        self._store, self._ledger = Store(), Ledger(self.options)
        self._run: Run | None = None
        sent = {"size": self.options.size, **self.options.parameters}
        nothing = cast(Any, None)
        self.info = GeneratorInfo(
            name=self.model,
            kind="api",
            source=" ".join([f"{PREFIX}{endpoint.host}", *(f"{key}={value}" for key, value in sorted(sent.items()))]),
            resolution=max(self.options.sides()),
            defaults=Settings(sampler=nothing, steps=nothing, guidance=nothing),  # not known, and not ours to set
            weights={},
            device=REMOTE,
            dtype="unknown",
            batch_size=self.options.parallel,
            details={"seeded": False, "host": endpoint.host, "sent": sent, "price_per_image": self.options.price},
        )

    def keep_in(self, run: Run) -> None:
        """See `base.Keeping`: answers and the ledger of requests lie in the run's folder `responses`."""
        self._run = run
        self._store = Store(run.path / RESPONSES)
        self._ledger = Ledger(self.options, run.path / RESPONSES / LEDGER)
        self._account()

    def generate(
        self, jobs: Sequence[Job], settings: Settings, *, batch_size: int | None = None
    ) -> Iterator[Image.Image | Refused]:
        """See `base.Generator.generate`. The API chooses its own noise: a job gives another image each time.

        Args:
            batch_size: requests at a time; None is `options.parallel`.

        Raises:
            BudgetError: the ceiling is reached. What was paid for is kept.
            GeneratorError: the API does not answer, or not with images, after all attempts; or sampler, steps,
                guidance, a negative prompt or noise are asked for, which it does not have.
        """
        self.check(settings, negative=any(job.negative for job in jobs))
        if any(job.noise is not None for job in jobs):
            raise GeneratorError(
                "an API takes no noise of ours",
                where=f"generator={PREFIX}{self.model}",
                mend="mark images in the pixels, --watermark spread",
            )
        if batch_size is not None and batch_size < 1:
            raise GeneratorError("the batch size must be at least 1", where=f"batch_size={batch_size}")
        return self._made(list(jobs), batch_size or self.options.parallel)

    def check(self, settings: Settings, *, negative: bool) -> None:
        """Raise GeneratorError where something is asked for that an API does not have."""
        for name in ("sampler", "steps", "guidance"):
            if (value := getattr(settings, name)) is not None:
                raise GeneratorError(
                    f"an API takes no {name}", where=f"{name}={value}", mend="leave it out; see --api-param"
                )
        if negative:
            raise GeneratorError(
                "an API takes no negative prompt",
                where=f"generator={PREFIX}{self.model}",
                mend="take 'negative' out of the spec",
            )

    def announcement(self, total: int) -> str:
        """What asking for `total` images may cost, in a sentence for people."""
        options = self.options
        cost = f", at most {total * options.price:.2f} at {options.price:g} each" if options.price is not None else ""
        budget = f"It stops at {options.ceiling}." if options.ceiling else "No budget stops it."
        host, size = self.info.details["host"], options.size
        return (
            f"Asking {host} for up to {total:,} images by {self.model} ({size}){cost}. {budget} "
            "What the run has already is not paid for again."
        )

    def _made(self, jobs: list[Job], parallel: int) -> Iterator[Image.Image | Refused]:
        """The images in order, a few of them on their way at any time."""
        stop = threading.Event()
        waiting: deque[Future[Image.Image | Refused]] = deque()
        with ThreadPoolExecutor(min(parallel, max(len(jobs), 1)), thread_name_prefix="api") as pool:
            try:
                for job in jobs:
                    waiting.append(pool.submit(self._one, job, stop))
                    if len(waiting) >= 2 * parallel:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                # What is on its way is paid for: it comes in and is kept; nothing more is asked.
                stop.set()
                for future in waiting:
                    future.cancel()
                pool.shutdown(wait=True)
                self._account()

    def _one(self, job: Job, stop: threading.Event) -> Image.Image | Refused:
        key = request_key({**self._client.body(self.model, job.prompt), "host": self.info.details["host"]}, job.seed)
        kept = self._store.find(key)
        if kept is not None:
            return kept
        broken = 0
        for attempt in count(1):
            self._pace.take(stop)
            if stop.is_set():
                raise Stopped
            began = self._clock.now()
            name = self._ledger.begin(key, stop)
            try:
                return self._asked(job, key, name, attempt, began)
            except Again as problem:
                self._ledger.end(name, billed=problem.billed, status=problem.what[:80])
                last = problem
            finally:
                self._ledger.landed(name)
            broken = broken + 1 if last.broken else 0
            self._wait(last, job, attempt, broken, stop)
        raise AssertionError("counting ends with an answer or an error")

    def _asked(self, job: Job, key: str, name: str, attempt: int, began: float) -> Image.Image | Refused:
        """The image of one request, kept, or the refusal.

        Raises:
            Again: another attempt may give it.
            GeneratorError: none will.
        """
        try:
            answer = self._client.ask(self.model, job.prompt)
        except GeneratorError as error:
            self._ledger.end(name, billed=False, status=error.what[:80])
            raise GeneratorError(error.what, where=f"{error.where}, {_named(job)}", mend=error.mend) from None
        asked = {
            "prompt": job.prompt,
            "seed": job.seed,
            "host": self.info.details["host"],
            "sent": self._client.body(self.model, job.prompt),
            "attempts": attempt,
            "seconds": round(self._clock.now() - began, 3),
        }
        self._store.keep(key, answer, asked)
        refused = isinstance(answer, Refused)
        self._ledger.end(name, billed=not refused, status="refused" if refused else "image")
        return answer if isinstance(answer, Refused) else answer.image

    def _wait(self, problem: Again, job: Job, attempt: int, broken: int, stop: threading.Event) -> None:
        """Wait for the next attempt, or raise GeneratorError where there is to be none."""
        where = f"{self._client.endpoint.host}, {_named(job)}"
        if broken >= BROKEN_ATTEMPTS:
            raise GeneratorError(
                f"the API answered {broken} times without a usable image, the last time with {problem.what}",
                where=where,
                mend="check the model's name, --api-size and --api-param; what was made before is kept",
            )
        if attempt > self.options.retries:
            raise GeneratorError(
                f"the API {problem.what}, {attempt} times in all",
                where=where,
                mend="start the same command again later: it goes on; a lower --api-rate helps against 429",
            )
        if (problem.after or 0) > PATIENCE:
            raise GeneratorError(
                f"the API {problem.what}, and asks to wait {problem.after:.0f} s",
                where=where,
                mend="start the same command again then: it goes on",
            )
        if problem.after:
            self._pace.hold(problem.after)
        self._clock.wait(max(problem.after or 0.0, backoff(attempt)), stop)

    def _account(self) -> None:
        """Note in run.json's record how many requests there were, and what they cost."""
        if self._run is not None:
            paid, price = self._ledger.paid, self.options.price
            cost = None if price is None else round(paid * price, 6)
            details = self._run.record["generator"].setdefault("details", {})
            details |= {"price_per_image": price, "requests": self._ledger.requests, "paid": paid, "cost": cost}


def _named(job: Job) -> str:
    shown = job.prompt if len(job.prompt) <= 60 else job.prompt[:57] + "..."
    return f"prompt {shown!r}"
