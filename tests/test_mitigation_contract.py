"""The contract of every mitigation: what the hooks of a method keep to, on a UNet and on a flow transformer."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from guidance_helpers import JOBS, aimed, options_for, plain, same, steered
from tiny_checkpoints import CHECKPOINTS

from auditkit import registry
from auditkit.errors import GeneratorError, SpecError
from auditkit.guidance import Mitigation, Model, Policy, Request, steer
from auditkit.guidance.base import LOOP_HOOKS
from auditkit.guidance.steering import able, make, refusal
from auditkit.spec import RunSpec
from generators.base import Settings
from generators.latent import LatentGenerator

NAMES = registry.names("mitigations")
DOCS = [Path(__file__).parent.parent / "docs" / page for page in ("mitigation.md", "mitigation_methods.md")]
SPEC = RunSpec(
    name="four", templates=["a portrait of {a occupation}"], axes={"occupation": ["judge", "pilot"]},
    images_per_prompt=2, by="occupation",
)  # fmt: skip


@pytest.fixture(scope="module", params=["sd", "prx"])
def generator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LatentGenerator:
    return LatentGenerator(CHECKPOINTS[request.param](tmp_path_factory.mktemp("tiny") / request.param), device="cpu")


@pytest.fixture(scope="module")
def without_loop(tmp_path_factory: pytest.TempPathFactory) -> LatentGenerator:
    """A checkpoint that our loop does not run."""
    return LatentGenerator(CHECKPOINTS["pixart-sigma"](tmp_path_factory.mktemp("tiny") / "pixart"), device="cpu")


def offered(name: str) -> object:
    """Decoding and encoding at every step takes seconds: `make slow` has `image-guidance`."""
    return pytest.param(name, marks=pytest.mark.slow) if name == "image-guidance" else name


@pytest.fixture(params=[*map(offered, NAMES)])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def settings_for(generator: LatentGenerator, guidance: float) -> Settings:
    return Settings(generator.samplers[0], 4, guidance)


NEEDING_PARTS = ("concept-slider", "distribution-guidance", "image-guidance", "rebalanced-finetuning")
PARTS = Path(tempfile.mkdtemp(prefix="parts-"))
"""For the tests of this module: random parts for the methods that need trained ones."""


@pytest.fixture(scope="module", autouse=True)
def _tidied() -> Iterator[None]:
    yield
    shutil.rmtree(PARTS)


def set_up(name: str, generator: LatentGenerator) -> dict[str, Any]:
    """Options under which the method can take the tiny checkpoint."""
    return options_for(name, generator, PARTS)


def taken(name: str, generator: LatentGenerator, settings: Settings) -> Mitigation:
    """The method, if the model can take it."""
    method = make(name, set_up(name, generator))
    if why := refusal(method, generator.model(settings.guidance)):
        pytest.skip(why)
    return method


def test_there_are_methods() -> None:
    assert {"prompt-diversification", "semantic-guidance", "embedding-projection", "weak-guidance"} <= set(NAMES)


def test_a_method_says_what_it_is(name: str) -> None:
    method = make(name)
    assert method.name == name
    assert method.version >= 1
    assert method.title
    assert method.reference
    assert method.hooks()
    assert "unbiased" not in method.title
    assert "debiased" not in method.title


def test_a_method_is_in_the_docs(name: str) -> None:
    assert re.search(rf"^#+ .*`{name}`", "\n".join(page.read_text(encoding="utf-8") for page in DOCS), re.MULTILINE)


def test_settings_are_plain_data_with_defaults(name: str) -> None:
    options = make(name).options
    again = json.loads(json.dumps(options.model_dump(mode="json")))
    assert make(name, again).options == options


def test_an_option_that_a_method_does_not_have_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match="has no option 'no_such_option'"):
        make(name, {"no_such_option": "1"})


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_images_that_it_does_not_act_on_are_the_models_own_to_the_bit(
    name: str, generator: LatentGenerator, guidance: float
) -> None:
    settings = settings_for(generator, guidance)
    method = taken(name, generator, settings)
    assert all(same(steered(generator, method, aimed([None] * 3), settings), plain(generator, JOBS, settings)))


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_it_changes_the_images_that_it_acts_on_and_no_others(
    name: str, generator: LatentGenerator, guidance: float
) -> None:
    settings = settings_for(generator, guidance)
    method = taken(name, generator, settings)
    images = steered(generator, method, aimed(["female", None, "male"]), settings)
    assert same(images, plain(generator, JOBS, settings)) == [False, True, False]


def test_the_drawn_group_makes_a_difference_where_it_draws(name: str, generator: LatentGenerator) -> None:
    settings = settings_for(generator, 3.0)
    method = taken(name, generator, settings)
    women = steered(generator, method, aimed(["female"] * 3), settings)
    men = steered(generator, taken(name, generator, settings), aimed(["male"] * 3), settings)
    assert same(women, men) == [not method.draws] * 3


def test_no_image_depends_on_the_groups_of_its_batch_mates(name: str, generator: LatentGenerator) -> None:
    settings = settings_for(generator, 3.0)
    mixed = steered(generator, taken(name, generator, settings), aimed(["female", "male", None]), settings)
    alike = steered(generator, taken(name, generator, settings), aimed(["female", "female", "male"]), settings)
    assert same(mixed, alike)[0]


def test_the_same_call_gives_the_same_images(name: str, generator: LatentGenerator) -> None:
    settings = settings_for(generator, 1.0)
    first = steered(generator, taken(name, generator, settings), aimed(["female", "male", "male"]), settings)
    again = steered(generator, taken(name, generator, settings), aimed(["female", "male", "male"]), settings)
    assert all(same(first, again))


def test_afterwards_the_generator_is_as_it_was(name: str, generator: LatentGenerator) -> None:
    settings = settings_for(generator, 3.0)
    before = plain(generator, JOBS, settings)
    weights = {key: value.clone() for key, value in generator.family.denoiser.state_dict().items()}
    steered(generator, taken(name, generator, settings), aimed(["female", "male", "male"]), settings)
    after = generator.family.denoiser.state_dict()
    assert weights.keys() == after.keys()
    assert all(bool((value == after[key]).all()) for key, value in weights.items())
    assert all(same(before, plain(generator, JOBS, settings)))


def test_a_method_of_the_steps_is_refused_where_our_loop_does_not_run_the_model(
    name: str, without_loop: LatentGenerator
) -> None:
    method = make(name)
    why = refusal(method, without_loop.model(3.0))
    if set(method.hooks()) & set(LOOP_HOOKS):
        assert why
        with pytest.raises(GeneratorError, match="cannot be used with") as caught:
            steer(Request(name, "gender=uniform"), SPEC, without_loop.model(3.0))
        assert "prompt-diversification" in str(caught.value.mend)
        assert name not in str(caught.value.mend)
    elif why is None:
        images = steered(without_loop, method, aimed(["female", None, "male"]), Settings("as-shipped", 2, 3.0))
        expected = plain(without_loop, JOBS, Settings("as-shipped", 2, 3.0))
        assert same(images, expected) == [False, True, False]


def test_behind_an_api_only_the_prompt_can_be_changed(name: str) -> None:
    assert (refusal(make(name), Model("api", 1.0)) is None) is (make(name).hooks() == ["rewrite"])
    assert (name in able(Model("api", 1.0))) is (make(name).hooks() == ["rewrite"])


def test_a_target_that_is_not_even_is_taken_or_refused_as_the_method_says(
    name: str, generator: LatentGenerator
) -> None:
    options, model = set_up(name, generator), generator.model(3.0)
    request = Request(name, {"gender": {"female": 0.3, "male": 0.7}}, options)
    if refusal(make(name, options), model):
        pytest.skip("the model cannot take it")
    if not make(name).even_only:
        assert steer(request, SPEC, model).policy.shares["all"]["male"] == 0.7
    else:
        with pytest.raises(SpecError, match="cannot aim at other shares than even ones"):
            steer(request, SPEC, model)


def test_what_is_recorded_says_what_was_asked_for_and_all_that_decides_an_image(
    name: str, generator: LatentGenerator
) -> None:
    options, model = set_up(name, generator), generator.model(3.0)
    if refusal(make(name, options), model):
        pytest.skip("the model cannot take it")
    record: Any = json.loads(json.dumps(steer(Request(name, "gender=uniform", options), SPEC, model).record()))
    assert record["as_passed"] == {"name": name, "target": "gender=uniform", "options": options}
    assert record["resolved"]["options"] == make(name, options).options.model_dump(mode="json")
    for digest in record["resolved"].get("parts", {}).values():
        assert re.fullmatch("[0-9a-f]{64}", digest)
    assert bool(record["resolved"].get("parts")) is (name in NEEDING_PARTS)
    assert record["resolved"]["target"]["shares"] == {"all": {"female": 0.5, "male": 0.5}}


def test_a_joint_target_is_taken(name: str, generator: LatentGenerator) -> None:
    settings = settings_for(generator, 1.0)
    method = taken(name, generator, settings)
    tones = ["light", "medium-light", "medium", "medium-dark", "dark"]
    policy = Policy("gender+skin_tone", {"all": {f"{g}+{t}": 0.1 for g in ("female", "male") for t in tones}})
    from dataclasses import replace

    jobs = [
        replace(job, aim=replace(job.aim, group={"gender": "female", "skin_tone": "dark"}))
        for job in aimed(["female"] * 3)
        if job.aim is not None
    ]
    assert not any(same(steered(generator, method, jobs, settings, policy), plain(generator, JOBS, settings)))
