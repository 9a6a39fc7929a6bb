"""Images that a generator would not make: they are no rows, and they are not lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import TINY_GENERATOR, plain_image

from auditkit.errors import RunError
from auditkit.runs import Refused, RunWriter, Task, read_refusals, seal, verify

SETTINGS = TINY_GENERATOR["defaults"]
NO = Refused("content_policy_violation", "not this")


def write(writer: RunWriter, refuse: Callable[[Task], bool], shards: int | None = None) -> None:
    for shard in writer.pending()[:shards]:
        made = [NO if refuse(task) else plain_image(task) for task in shard.tasks]
        writer.write_shard(shard, made, [1.0] * len(made), SETTINGS)


def a_judge(task: Task) -> bool:
    return task.prompt.axes["occupation"] == "judge"


def test_refusals_are_kept_with_prompt_axes_and_reason_and_images_are_the_others(tiny_writer) -> None:
    writer = tiny_writer()
    write(writer, a_judge)
    run = writer.finish()
    assert len(run.images()) == 18
    assert set(run.images()["axis_occupation"]) == {"artist", "pilot", "teacher"}
    refused = read_refusals(run.path)
    assert len(refused) == run.record["refused"] == 6
    assert refused[0] == {
        "prompt_id": 1,
        "prompt": "a portrait of a judge",
        "template": "a portrait of {a occupation}",
        "axes": {"occupation": "judge"},
        "replicate": 0,
        "seed": refused[0]["seed"],
        "shard": 0,
        "code": "content_policy_violation",
        "message": "not this",
    }
    seal(run)
    assert verify(run) == []


def test_a_run_goes_on_after_a_shard_with_refusals_and_asks_for_none_of_it_again(tiny_writer) -> None:
    first = tiny_writer()
    write(first, a_judge, shards=2)
    first.close()
    second = tiny_writer()
    assert [shard.index for shard in second.pending()] == [2, 3]
    write(second, a_judge)
    second.finish()
    third = tiny_writer()
    assert third.pending() == []
    assert len(read_refusals(third.run.path)) == 6


def test_a_shard_of_refusals_alone_is_made(tiny_writer) -> None:
    writer = tiny_writer()
    write(writer, lambda task: task.prompt.prompt_id in (0, 1))  # the first of four shards
    run = writer.finish()
    assert len(run.images()) == 18
    assert 0 not in set(run.images()["shard"])
    assert tiny_writer().pending() == []


def test_a_run_of_refusals_alone_is_an_error_that_says_where_the_reasons_are(tiny_writer) -> None:
    writer = tiny_writer()
    write(writer, lambda task: True)
    with pytest.raises(RunError, match="refused every image") as caught:
        writer.finish()
    assert "refused.jsonl" in str(caught.value.mend)


def test_a_merge_that_was_cut_off_after_the_refusals_is_done_again(tiny_writer, monkeypatch) -> None:
    writer = tiny_writer()
    write(writer, a_judge)
    with monkeypatch.context() as cut:
        cut.setattr("auditkit.runs.writer.write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            writer.finish()
    writer.close()
    assert len(read_refusals(writer.run.path)) == 6
    run = tiny_writer().finish()
    assert (len(run.images()), len(read_refusals(run.path))) == (18, 6)
