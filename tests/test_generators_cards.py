"""Model cards: what a checkpoint says of itself, as data, as a README, on a page and in the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from auditkit.errors import GeneratorError
from generators.bundled import FOLDER
from generators.cards import CARD, README, markdown, read_card, write_readme
from generators.known import look
from reports.cards import overview, tables
from reports.cards_page import write_page

BUNDLED = sorted(path.parent.name for path in FOLDER.glob("*/model_index.json"))
LEAST = """
title = "mine"
what = "A model."
use = "Tests."
data = "None."
licence = "CC0-1.0"
sampling = "any"
limits = ["It draws nothing."]
"""


def made(folder: Path, card: str = LEAST) -> Path:
    (folder / "unet").mkdir(parents=True)
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / CARD).write_text(card, encoding="utf-8")
    return folder


def test_five_generators_are_bundled_under_40_megabytes_each() -> None:
    assert BUNDLED == ["personas", "personas-balanced", "personas-dit", "personas-pixel", "personas-turbo"]
    for name in BUNDLED:
        assert sum(path.stat().st_size for path in (FOLDER / name).rglob("*.safetensors")) < 40e6


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_card_says_what_it_was_trained_on_shows_and_cost(name: str) -> None:
    card = read_card(FOLDER / name)
    assert card is not None
    assert card.title == name
    assert card.licence == "Apache-2.0"
    assert card.kilojoules is not None
    assert {one.attribute for one in card.fidelity} >= {"gender", "skin_tone", "occupation"}
    assert all(one.low <= one.as_prompted <= one.high for one in card.fidelity)
    assert all(one.low <= one.estimate <= one.high for one in card.distance)
    assert card.sheet is not None


@pytest.mark.parametrize("name", BUNDLED)
def test_the_readme_of_a_bundled_checkpoint_is_what_its_card_says(name: str) -> None:
    card = read_card(FOLDER / name)
    assert card is not None
    assert (FOLDER / name / README).read_text(encoding="utf-8") == markdown(card, FOLDER / name)


def test_energy_is_unknown_where_one_training_was_not_metered(tmp_path: Path) -> None:
    training = '[[training]]\npart = "a"\ncommand = "b"\nminutes = 1\nsteps = 1\nbatch = 1\ndevice = "c"\n'
    metered = training + "kilojoules = 3\n"
    both, one = made(tmp_path / "both", LEAST + metered + training), made(tmp_path / "one", LEAST + metered)
    assert read_card(both).kilojoules is None  # type: ignore[union-attr]
    assert read_card(one).kilojoules == 3  # type: ignore[union-attr]
    assert "not metered" in markdown(read_card(both), both)  # type: ignore[arg-type]


def test_what_was_not_measured_is_said_to_be_so(tmp_path: Path) -> None:
    folder = made(tmp_path / "mine")
    text = write_readme(folder).read_text(encoding="utf-8")
    assert "## Fidelity\n\nNot measured." in text
    assert tables(look(str(folder))) == []
    assert overview([look(str(folder))]).rows[0][4:] == ["–"] * 4


@pytest.mark.parametrize(
    ("card", "match"),
    [
        ("title = ", "not TOML"),
        (LEAST.replace('licence = "CC0-1.0"\n', ""), "licence"),
        (LEAST + 'colour = "red"\n', "colour"),
        (LEAST + 'sheet = "../../secret.png"\n', "not in the folder"),
        (LEAST + 'sheet = "gone.webp"\n', "not in the folder"),
    ],
)
def test_a_card_that_cannot_be_right_is_one_clear_error(tmp_path: Path, card: str, match: str) -> None:
    with pytest.raises(GeneratorError, match=match):
        read_card(made(tmp_path / "mine", card))


def test_a_folder_that_is_no_checkpoint_has_no_card_to_show(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match="no bundled checkpoint 'gone'"):
        look("gone")


def test_the_page_holds_pictures_and_fetches_nothing(tmp_path: Path) -> None:
    page = write_page([look("personas")], tmp_path / "cards.html").read_text(encoding="utf-8")
    assert 'src="data:image/webp;base64,' in page
    assert "http" not in page.split("</style>")[1]
    assert "Does an image show what its prompt states?" in page


def test_text_of_a_card_is_escaped_on_the_page(tmp_path: Path) -> None:
    folder = made(tmp_path / "mine", LEAST.replace("A model.", "<script>alert(1)</script>"))
    page = write_page([look(str(folder))], tmp_path / "cards.html").read_text(encoding="utf-8")
    assert "<script>" not in page


def test_the_command_line_lists_the_generators_and_shows_one_card(tmp_path: Path) -> None:
    runner = CliRunner()
    shown = runner.invoke(app, ["generators", "personas", "--html", str(tmp_path / "card.html"), "--json"])
    assert shown.exit_code == 0
    data = json.loads(shown.stdout)
    assert data["card"]["title"] == "personas"
    assert len(data["planted"]) == 200
    assert (tmp_path / "card.html").is_file()
    assert runner.invoke(app, ["generators", "nobody"]).exit_code != 0


def test_a_checkpoint_from_elsewhere_without_a_card_is_shown_as_such(tmp_path: Path) -> None:
    folder = made(tmp_path / "mine")
    (folder / CARD).unlink()
    shutil.copyfile(FOLDER / "personas" / "planted.toml", folder / "planted.toml")
    one = look(f"path:{folder}")
    assert one.card is None
    assert [table.caption for table in tables(one)] == ["Planted shares under a neutral prompt"]
    assert "without a card" in write_page([one], tmp_path / "cards.html").read_text(encoding="utf-8")
