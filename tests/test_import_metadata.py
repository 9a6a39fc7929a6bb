"""What common tools write into their images is read as they mean it."""

from __future__ import annotations

import copy
import json
import struct
import zlib
from pathlib import Path

import pytest
from imported_files import (
    DREAM,
    FLUX_GRAPH,
    FOOOCUS,
    GRAPH,
    INVOKEAI,
    NOVELAI,
    PARAMETERS,
    SD_METADATA,
    SWARMUI,
    WORKFLOW,
    picture,
    save_exif,
    save_png,
)

from generators.importing import a1111, comfyui
from generators.importing.facts import Facts
from generators.importing.metadata import MAX_TEXT, facts_of, read_texts

A1111 = Facts(
    prompt="a portrait of a judge, (8k:1.2)",
    negative="blurry, low quality",
    seed=235284042,
    steps=20,
    guidance=7.0,
    sampler="DPM++ 2M Karras",
    model="realistic_v20",
    model_hash="c0d1994c73",
    source="a1111",
)


def told(path: Path) -> Facts:
    return facts_of(read_texts(path.read_bytes()))


def test_a1111_parameters_in_a_png(tmp_path: Path) -> None:
    assert told(save_png(tmp_path / "a.png", {"parameters": PARAMETERS})) == A1111


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le"])
@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_a1111_parameters_in_the_exif_comment_of_either_byte_order(tmp_path: Path, encoding: str, suffix: str) -> None:
    comment = b"UNICODE\0" + PARAMETERS.encode(encoding)
    assert told(save_exif(tmp_path / f"a.{suffix}", comment=comment)) == A1111


def test_a1111_parameters_with_an_ascii_comment(tmp_path: Path) -> None:
    assert told(save_exif(tmp_path / "a.jpg", comment=b"ASCII\0\0\0" + PARAMETERS.encode())) == A1111


def test_a1111_text_of_another_alphabet_is_kept(tmp_path: Path) -> None:
    said = "портрет судьи 裁判官\nSteps: 5, Seed: 1"
    assert told(save_exif(tmp_path / "a.webp", comment=b"UNICODE\0" + said.encode("utf-16-be"))).prompt == said[:17]
    assert told(save_png(tmp_path / "a.png", {"parameters": said})).prompt == said[:17]


def test_a1111_text_without_settings_is_all_prompt() -> None:
    assert a1111.parse("a judge\nsmiling\nNegative prompt: dark\nand cold") == Facts(
        prompt="a judge\nsmiling", negative="dark\nand cold", source="a1111"
    )


def test_a_camera_s_description_is_no_prompt(tmp_path: Path) -> None:
    path = save_exif(tmp_path / "a.jpg", comment=b"ASCII\0\0\0holiday", tags={0x010E: "OLYMPUS DIGITAL CAMERA"})
    assert told(path) == Facts()


COMFYUI = Facts(
    prompt="a portrait of a pilot",
    negative="watermark",
    seed=156680208700286,
    steps=30,
    guidance=5.5,
    sampler="euler karras",
    model="base_1.0",
    source="comfyui",
)


def test_comfyui_graph_in_a_png_followed_to_its_texts_and_checkpoint(tmp_path: Path) -> None:
    assert told(save_png(tmp_path / "a.png", {"prompt": GRAPH, "workflow": WORKFLOW})) == COMFYUI


def test_comfyui_graph_in_the_exif_of_a_webp(tmp_path: Path) -> None:
    tags = {0x0110: "prompt:" + json.dumps(GRAPH), 0x010F: "workflow:" + json.dumps(WORKFLOW)}
    assert told(save_exif(tmp_path / "a.webp", tags=tags)) == COMFYUI


def test_comfyui_workflow_alone_is_read_too() -> None:
    assert comfyui.parse(None, WORKFLOW) == Facts(
        prompt="a portrait of an artist", negative="text", seed=42, steps=25, guidance=8.0, sampler="euler normal",
        model="v1-5", source="comfyui",
    )  # fmt: skip


def test_comfyui_custom_sampler_with_a_guider() -> None:
    assert comfyui.parse(FLUX_GRAPH) == Facts(
        prompt="a cook", seed=77, steps=28, guidance=3.5, sampler="euler simple", model="flux1-dev", source="comfyui"
    )


def test_comfyui_second_pass_does_not_hide_the_first_one_s_seed() -> None:
    graph = copy.deepcopy(GRAPH)
    second = copy.deepcopy(GRAPH["3"])
    second["inputs"] |= {"seed": 1, "steps": 5, "latent_image": ["3", 0]}
    graph = {"50": second, **graph}
    graph["8"]["inputs"]["samples"] = ["50", 0]
    assert comfyui.parse(graph) == COMFYUI


def test_comfyui_sampler_that_saves_nothing_does_not_count() -> None:
    other = copy.deepcopy(GRAPH["3"])
    other["inputs"] |= {"seed": 5, "positive": ["7", 0]}
    assert comfyui.parse({"1": other, **GRAPH}) == COMFYUI


def test_comfyui_texts_through_controlnets_and_combined_conditions() -> None:
    graph = copy.deepcopy(GRAPH)
    graph["3"]["inputs"] |= {"positive": ["40", 0], "negative": ["40", 1]}
    graph["40"] = {
        "class_type": "ControlNetApplyAdvanced",
        "inputs": {"positive": ["41", 0], "negative": ["7", 0], "strength": 1.0},
    }
    graph["41"] = {
        "class_type": "ConditioningConcat",
        "inputs": {"conditioning_to": ["6", 0], "conditioning_from": ["42", 0]},
    }
    graph["42"] = {"class_type": "CLIPTextEncode", "inputs": {"text": ["43", 0]}}
    graph["43"] = {
        "class_type": "StringConcatenate",
        "inputs": {"string_a": "at", "string_b": "dawn", "delimiter": " "},
    }
    facts = comfyui.parse(graph)
    assert facts is not None
    assert (facts.prompt, facts.negative) == ("a portrait of a pilot, at dawn", "watermark")


def test_comfyui_circles_end() -> None:
    graph = copy.deepcopy(GRAPH)
    graph["6"]["inputs"]["text"] = ["21", 0]
    graph["20"] = {"class_type": "String", "inputs": {"value": ["21", 0], "model": ["20", 0]}}
    graph["21"] = {"class_type": "String", "inputs": {"value": ["20", 0]}}
    graph["3"]["inputs"] |= {"seed": ["20", 0], "model": ["20", 0]}
    facts = comfyui.parse(graph)
    assert facts is not None
    assert (facts.prompt, facts.seed, facts.model) == (None, None, None)


def test_invokeai_of_three_ages(tmp_path: Path) -> None:
    new = told(save_png(tmp_path / "a.png", {"invokeai_metadata": INVOKEAI}))
    assert new == Facts(
        prompt="a teacher", negative="ugly", seed=356120443, steps=50, guidance=7.5, sampler="dpmpp_2m_sde_k",
        model="mix_v3", source="invokeai",
    )  # fmt: skip
    second = told(save_png(tmp_path / "b.png", {"sd-metadata": SD_METADATA, "Dream": DREAM}))
    assert second == Facts(
        prompt="a farmer", negative="rendering, glow", seed=2980747362, steps=50, guidance=5.0, sampler="k_lms",
        model="deliberate_v08", model_hash="56d1442a0feefd64836a19ac8e3527ec", source="invokeai",
    )  # fmt: skip
    first = told(save_png(tmp_path / "c.png", {"Dream": DREAM}))
    assert first == Facts(
        prompt="a farmer", negative="rendering", seed=2980747362, steps=50, guidance=5.0, sampler="k_lms",
        source="invokeai",
    )  # fmt: skip


def test_invokeai_model_since_version_four(tmp_path: Path) -> None:
    model = {"key": "k", "hash": "blake3:" + "ab" * 32, "name": "dreamshaper", "base": "sd-1", "type": "main"}
    facts = told(save_png(tmp_path / "a.png", {"invokeai_metadata": INVOKEAI | {"model": model}}))
    assert facts.model_label == "dreamshaper (abababababab)"


def test_fooocus_swarmui_and_novelai(tmp_path: Path) -> None:
    fooocus = told(save_png(tmp_path / "a.png", {"parameters": FOOOCUS, "fooocus_scheme": "fooocus"}))
    assert (fooocus.source, fooocus.prompt, fooocus.seed) == ("fooocus", "a goldfish", 6952411511246973023)
    assert fooocus.model_label == "juggernaut_v8 (aeb7e9e689)"
    swarm = told(save_png(tmp_path / "b.png", {"parameters": SWARMUI}))
    assert (swarm.source, swarm.prompt, swarm.model, swarm.guidance) == ("swarmui", "a runner", "flux1-dev-fp8", 1.0)
    novel = told(save_png(tmp_path / "c.png", {"Software": "NovelAI", "Description": "a cat", "Comment": NOVELAI}))
    assert (novel.source, novel.prompt, novel.negative, novel.steps) == ("novelai", "a cat", "lowres", 50)


def test_values_out_of_range_are_missing_and_the_prompt_is_kept() -> None:
    facts = a1111.parse("a judge\nSteps: 0, Seed: 99999999999999999999, CFG scale: -1, Model hash: zz!")
    assert facts == Facts(prompt="a judge", source="a1111")
    graph = copy.deepcopy(GRAPH)
    graph["3"]["inputs"] |= {"seed": 2**64, "steps": 1e300, "cfg": float("nan")}
    facts = comfyui.parse(graph)
    assert facts is not None
    assert (facts.seed, facts.steps, facts.guidance) == (None, None, None)


def test_what_steers_a_terminal_is_taken_out_of_a_prompt(tmp_path: Path) -> None:
    facts = told(save_png(tmp_path / "a.png", {"parameters": "a \x1b[31mjudge\x07\nSteps: 2"}))
    assert facts.prompt == "a [31mjudge"


def test_a_text_that_is_huge_when_decompressed_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture().save(path)
    packed = zlib.compress(b"a" * (MAX_TEXT + 1))
    assert len(packed) < 10_000
    path.write_bytes(with_chunk(path.read_bytes(), b"zTXt", b"parameters\0\0" + packed))
    assert read_texts(path.read_bytes()) == {}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"zTXt", b"parameters\0\0" + zlib.compress(PARAMETERS.encode())),
        (b"iTXt", b"parameters\0\0\0en\0\0" + PARAMETERS.encode()),
        (b"iTXt", b"parameters\0\1\0\0\0" + zlib.compress(PARAMETERS.encode())),
    ],
)
def test_compressed_and_international_chunks_behind_the_pixels_are_read(
    tmp_path: Path, kind: bytes, body: bytes
) -> None:
    path = tmp_path / "a.png"
    picture().save(path)
    assert facts_of(read_texts(with_chunk(path.read_bytes(), kind, body))) == A1111


@pytest.mark.parametrize(
    "said", ["[" * 100_000, '{"a":' * 100_000, '{"seed": ' + "9" * 5000 + "}", "{", "[]", '{"3": 1}']
)
def test_json_that_is_deep_or_broken_tells_nothing(tmp_path: Path, said: str) -> None:
    keys = ("prompt", "workflow", "invokeai_metadata", "sd-metadata", "Comment")
    assert told(save_png(tmp_path / "a.png", dict.fromkeys(keys, said))) == Facts()


def with_chunk(data: bytes, kind: bytes, body: bytes) -> bytes:
    """A PNG with one more chunk before its end."""
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return data[:-12] + chunk + data[-12:]
