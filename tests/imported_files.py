"""Images as common tools write them: their metadata in the form that each tool uses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin

PARAMETERS = (
    "a portrait of a judge, (8k:1.2)\nNegative prompt: blurry, low quality\n"
    "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 235284042, Size: 512x512, "
    'Model hash: c0d1994c73, Model: realistic_v20, Hires prompt: "a judge, Steps: 3", Version: v1.10.1'
)

GRAPH: dict[str, Any] = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 156680208700286, "steps": 30, "cfg": 5.5, "sampler_name": "euler", "scheduler": "karras",
            "denoise": 1.0, "model": ["10", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sdxl/base_1.0.safetensors"}},
    "10": {"class_type": "LoraLoader", "inputs": {"model": ["4", 0], "clip": ["4", 1], "lora_name": "x.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": ["20", 0], "clip": ["10", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "watermark", "clip": ["10", 1]}},
    "20": {"class_type": "PrimitiveStringMultiline", "inputs": {"value": "a portrait of a pilot"}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "ComfyUI", "images": ["8", 0]}},
}  # fmt: skip

FLUX_GRAPH: dict[str, Any] = {
    "11": {"class_type": "BasicGuider", "inputs": {"model": ["12", 0], "conditioning": ["26", 0]}},
    "12": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux1-dev.sft", "weight_dtype": "default"}},
    "13": {
        "class_type": "SamplerCustomAdvanced",
        "inputs": {"noise": ["25", 0], "guider": ["11", 0], "sampler": ["16", 0], "sigmas": ["17", 0]},
    },
    "16": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
    "17": {"class_type": "BasicScheduler", "inputs": {"scheduler": "simple", "steps": 28, "model": ["12", 0]}},
    "25": {"class_type": "RandomNoise", "inputs": {"noise_seed": ["30", 0]}},
    "26": {"class_type": "FluxGuidance", "inputs": {"guidance": 3.5, "conditioning": ["6", 0]}},
    "30": {"class_type": "PrimitiveInt", "inputs": {"value": 77}},
    "6": {
        "class_type": "CLIPTextEncodeFlux",
        "inputs": {"clip_l": "a cook", "t5xxl": "a cook", "guidance": 3.5, "clip": ["31", 0]},
    },
}

WORKFLOW: dict[str, Any] = {
    "last_node_id": 9,
    "nodes": [
        {"id": 3, "type": "KSampler", "mode": 0,
         "inputs": [{"name": "model", "link": 1}, {"name": "positive", "link": 4}, {"name": "negative", "link": 6}],
         "widgets_values": [42, "randomize", 25, 8, "euler", "normal", 1]},
        {"id": 4, "type": "CheckpointLoaderSimple", "mode": 0, "widgets_values": ["v1-5.ckpt"]},
        {"id": 6, "type": "CLIPTextEncode", "mode": 0, "inputs": [{"name": "clip", "link": 3}],
         "widgets_values": ["a portrait of an artist"]},
        {"id": 7, "type": "CLIPTextEncode", "mode": 0, "inputs": [{"name": "clip", "link": 5}],
         "widgets_values": ["text"]},
    ],
    "links": [[1, 4, 0, 3, 0, "MODEL"], [4, 6, 0, 3, 1, "CONDITIONING"], [6, 7, 0, 3, 2, "CONDITIONING"]],
}  # fmt: skip

INVOKEAI = {
    "app_version": "3.3.0post3", "generation_mode": "txt2img", "positive_prompt": "a teacher",
    "negative_prompt": "ugly",
    "width": 768, "height": 432, "seed": 356120443, "cfg_scale": 7.5, "steps": 50, "scheduler": "dpmpp_2m_sde_k",
    "model": {"model_name": "mix_v3", "base_model": "sd-1", "model_type": "main"}, "loras": [],
}  # fmt: skip

SD_METADATA = {
    "model": "stable diffusion", "model_weights": "deliberate_v08", "model_hash": "56d1442a0feefd64836a19ac8e3527ec",
    "app_id": "invoke-ai/InvokeAI", "app_version": "2.3.0",
    "image": {"prompt": [{"prompt": "a farmer [rendering, glow]", "weight": 1.0}], "steps": 50, "cfg_scale": 5,
              "seed": 2980747362, "sampler": "k_lms", "type": "txt2img"},
}  # fmt: skip

DREAM = '"a farmer [rendering]" -s 50 -S 2980747362 -W 512 -H 768 -C 5.0 -A k_lms'

FOOOCUS = {
    "prompt": "a goldfish", "negative_prompt": "", "base_model": "juggernaut_v8", "base_model_hash": "aeb7e9e689",
    "seed": "6952411511246973023", "steps": 30, "guidance_scale": 4, "sampler": "dpmpp_2m_sde_gpu",
    "scheduler": "karras", "metadata_scheme": "fooocus", "version": "Fooocus v2.4.3",
}  # fmt: skip

SWARMUI = {"sui_image_params": {"prompt": "a runner", "model": "Flux/flux1-dev-fp8", "seed": 9, "steps": 25,
                                "cfgscale": 1.0, "sampler": "euler", "negativeprompt": ""}}  # fmt: skip

NOVELAI = {"steps": 50, "sampler": "k_euler_ancestral", "seed": 2253955223, "scale": 10.0, "uc": "lowres"}


def picture(seed: int = 0, side: int = 16) -> Image.Image:
    """A small picture of noise, another one for each seed."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def save_png(path: Path, texts: dict[str, Any], *, seed: int = 0) -> Path:
    """A PNG with text chunks; what is no text is written as JSON."""
    info = PngImagePlugin.PngInfo()
    for key, value in texts.items():
        info.add_text(key, value if isinstance(value, str) else json.dumps(value))
    picture(seed).save(path, pnginfo=info)
    return path


def save_exif(path: Path, *, comment: bytes | None = None, tags: dict[int, str] | None = None) -> Path:
    """A JPEG or WebP with EXIF: a UserComment as bytes, and plain texts by tag."""
    exif = Image.Exif()
    for tag, value in (tags or {}).items():
        exif[tag] = value
    if comment is not None:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    picture().save(path, exif=exif)
    return path
