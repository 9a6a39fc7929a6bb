"""Joules and carbon of a window of work: by the best meter that the machine has, else by a stated estimate.

    energy = sum over devices of power x time            (joules at the device)
    facility = energy x PUE                              (power usage effectiveness of the data centre)
    carbon = facility x intensity of the grid            (g CO2e per kWh)

after Strubell et al. 2019, Lacoste et al. 2019 and Patterson et al. 2021; energy per image is the unit of Luccioni
et al. 2023. Joules are always told at the device. PUE and intensity are never assumed: where they were not given,
neither facility energy nor carbon is. Every amount is an interval (`Amount`).

Nothing here goes to the network, and the only files are those of a run (`energy/` in its folder, one a window).
"""

from auditkit.energy.amounts import JOULES_PER_KWH, Amount
from auditkit.energy.meters import Meter, find_meters
from auditkit.energy.site import Site
from auditkit.energy.summary import HOW, summarise
from auditkit.energy.windows import Window, metered, read_windows

__all__ = [
    "HOW",
    "JOULES_PER_KWH",
    "Amount",
    "Meter",
    "Site",
    "Window",
    "find_meters",
    "metered",
    "read_windows",
    "summarise",
]
