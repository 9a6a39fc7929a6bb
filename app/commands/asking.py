"""The options of generators behind an API, shared by the verbs that generate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from auditkit.errors import SpecError

if TYPE_CHECKING:
    from generators.api import ApiOptions

PANEL = "API (-g api:MODEL; the key is in AUDITKIT_API_KEY)"

ApiUrlOption = Annotated[
    str | None,
    typer.Option(
        help="Base address of an OpenAI-compatible images API; $AUDITKIT_API_URL by default.", rich_help_panel=PANEL
    ),
]
ApiSizeOption = Annotated[
    str | None, typer.Option(help="WIDTHxHEIGHT to ask for; 1024x1024 by default.", rich_help_panel=PANEL)
]
ApiParamOption = Annotated[
    list[str] | None,
    typer.Option(help="NAME=VALUE to send besides, such as quality=low; repeatable.", rich_help_panel=PANEL),
]
ApiRateOption = Annotated[
    float | None, typer.Option(help="Requests a minute at most; no limit by default.", rich_help_panel=PANEL)
]
ApiParallelOption = Annotated[
    int | None, typer.Option(min=1, help="Requests at a time; 2 by default.", rich_help_panel=PANEL)
]
MaxImagesOption = Annotated[
    int | None,
    typer.Option(min=1, help="Stop when the run has paid for so many, all attempts together.", rich_help_panel=PANEL),
]
MaxCostOption = Annotated[
    float | None, typer.Option(help="The same in money; needs --price-per-image.", rich_help_panel=PANEL)
]
PriceOption = Annotated[
    float | None, typer.Option("--price-per-image", help="In any currency, as you are billed.", rich_help_panel=PANEL)
]


def choose(
    *,
    url: str | None,
    size: str | None,
    param: list[str] | None,
    rate: float | None,
    parallel: int | None,
    max_images: int | None,
    max_cost: float | None,
    price: float | None,
) -> ApiOptions | None:
    """The options as given; None where none was.

    Raises:
        SpecError: a parameter is not NAME=VALUE.
    """
    parameters = dict(_pair(each) for each in param or ())
    given: dict[str, Any] = {
        "url": url, "size": size, "parameters": parameters, "rate": rate, "parallel": parallel,
        "max_images": max_images, "max_cost": max_cost, "price": price,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value not in (None, {})}
    if not given:
        return None
    from generators.api import ApiOptions

    return ApiOptions(**given)


def _pair(said: str) -> tuple[str, str]:
    name, equals, value = said.partition("=")
    if not equals or not name.strip():
        raise SpecError(f"'{said}' is not NAME=VALUE", where="--api-param", mend="write it as quality=low")
    return name.strip(), value.strip()
