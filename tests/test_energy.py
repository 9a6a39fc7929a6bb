"""Joules and carbon: intervals, meters, windows, unions, sites."""

from __future__ import annotations

import json
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditkit.energy import JOULES_PER_KWH, Amount, Meter, Site, find_meters, metered, read_windows, summarise
from auditkit.energy import meters as meters_module
from auditkit.energy.meters import cpu_estimate, gpu_estimate, machine, memory_estimate, rapl_meters
from auditkit.energy.summary import covered, union
from auditkit.energy.windows import Reading, Window
from auditkit.errors import EnergyError

joules = st.floats(0, 1e9)
amounts = st.builds(
    lambda value, low, high: Amount(value, value * low, value * high), joules, st.floats(0, 1), st.floats(1, 10)
)
spells = st.lists(
    st.builds(lambda start, long, it: (start, start + long, it), st.floats(0, 1e4), st.floats(0.1, 1e4), amounts),
    min_size=1, max_size=5,
)  # fmt: skip


def close(value):
    return pytest.approx(value, rel=1e-6, abs=1e-6)


# Amounts


@given(amounts, amounts, st.floats(0, 1e3))
def test_sums_products_and_multiples_stay_inside_their_intervals(a, b, factor):
    for made in (a + b, a * b, a.scaled(factor)):
        assert made.low <= made.value <= made.high


@given(amounts)
def test_an_amount_that_was_kept_as_json_still_holds(amount):
    assert Amount(**json.loads(json.dumps(amount.as_dict()))).value == pytest.approx(amount.value, rel=1e-5)


def test_an_interval_that_leaves_its_value_out_is_refused():
    for wrong in ((1, 2, 3), (3, 1, 2), (-1, -2, 3), (1, 0, float("inf"))):
        with pytest.raises(ValueError, match="no interval"):
            Amount(*wrong)


# Sites: PUE, grid intensity, carbon


def test_one_kilowatt_hour_at_pue_1_5_on_a_grid_of_400_g_is_0_6_kg():
    site = Site.given("1.5", "400", "the grid's operator, 2024")
    one = Amount.exactly(JOULES_PER_KWH)
    assert site.facility_kwh(one) == Amount.exactly(1.5)
    assert site.kg_co2e(one).value == close(0.6)


def test_ranges_of_the_site_multiply_with_the_meters():
    site = Site.given("1.0-1.2", "300-500")
    carbon = site.kg_co2e(Amount(JOULES_PER_KWH, 0.9 * JOULES_PER_KWH, 1.1 * JOULES_PER_KWH))
    assert (carbon.low, carbon.value, carbon.high) == (close(0.9 * 0.3), close(1.1 * 0.4), close(1.1 * 1.2 * 0.5))


def test_without_pue_or_intensity_there_is_no_carbon_but_the_range_that_published_bounds_give():
    for site in (Site(), Site.given(pue=1.2), Site.given(intensity=100)):
        assert site.kg_co2e(Amount.exactly(JOULES_PER_KWH)) is None
    assert Site().kg_co2e_bounds(Amount.exactly(JOULES_PER_KWH)) == (close(0.011), close(1.6 * 0.82))


@given(amounts, st.floats(1, 1.6), st.floats(11, 820))
def test_carbon_of_a_usual_site_lies_within_the_published_bounds(amount, pue, intensity):
    low, high = Site().kg_co2e_bounds(amount)
    carbon = Site(Amount.exactly(pue), Amount.exactly(intensity)).kg_co2e(amount)
    assert low * (1 - 1e-9) <= carbon.low <= carbon.high <= high * (1 + 1e-9)


@pytest.mark.parametrize("wrong", ["0.9", "nan", "x", "1.3-1.1", "1-2-3", "-1", "", "inf"])
def test_a_pue_that_cannot_be_is_one_clear_error(wrong):
    with pytest.raises(EnergyError, match="PUE must be") as caught:
        Site.given(pue=wrong)
    assert "--pue" in caught.value.mend


def test_the_environment_is_asked_where_nothing_is_given(monkeypatch):
    monkeypatch.setenv("AUDITKIT_PUE", "1.1")
    monkeypatch.setenv("AUDITKIT_GRID_INTENSITY", "57")
    monkeypatch.setenv("AUDITKIT_GRID_SOURCE", "France")
    assert Site.given() == Site(Amount.exactly(1.1), Amount.exactly(57), "France")
    assert Site.given(intensity="300") == Site(Amount.exactly(1.1), Amount.exactly(300), "")


def test_a_site_comes_back_from_json():
    site = Site.given("1.0-1.5", 300, "x")
    assert Site.from_dict(json.loads(json.dumps(site.as_dict()))) == site


# Meters


@pytest.fixture
def rapl(tmp_path: Path) -> Path:
    """A powercap folder: a package with core and dram, its mmio twin, and psys around it all."""
    for zone, name, micro in (
        ("intel-rapl:0", "package-0", 5_000_000), ("intel-rapl:0:0", "core", 4_000_000),
        ("intel-rapl:0:1", "dram", 1_000_000), ("intel-rapl:1", "psys", 9_000_000),
        ("intel-rapl-mmio:0", "package-0", 5_000_000),
    ):  # fmt: skip
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "name").write_text(f"{name}\n")
        (tmp_path / zone / "energy_uj").write_text(f"{micro}\n")
        (tmp_path / zone / "max_energy_range_uj").write_text("10000000\n")
    return tmp_path


@pytest.mark.parametrize("make", [cpu_estimate, memory_estimate, lambda: gpu_estimate("mps")])
def test_a_meter_starts_near_0_and_never_goes_back(make):
    meter = make()
    readings = [meter.read()]
    until = time.process_time() + 0.05
    while time.process_time() < until:
        readings.append(meter.read())
    assert 0 <= readings[0] < 1
    assert readings == sorted(readings)
    assert readings[-1] > readings[0]


def test_the_estimate_of_the_cpu_follows_the_work_and_not_the_clock():
    meter = cpu_estimate()
    time.sleep(0.2)
    idle = meter.read()
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    assert meter.read() - idle > 3 * idle


def test_packages_and_memory_are_read_once_and_what_is_in_or_around_them_is_not(rapl):
    found = rapl_meters(rapl)
    assert [(meter.part, meter.name) for meter in found] == [("cpu", "rapl:0:package-0"), ("memory", "rapl:0:1:dram")]
    (rapl / "intel-rapl:0" / "energy_uj").write_text("7500000")
    assert found[0].read() == close(2.5)


def test_a_counter_that_wraps_goes_on(rapl):
    meter = rapl_meters(rapl)[0]
    (rapl / "intel-rapl:0" / "energy_uj").write_text("9000000")
    assert meter.read() == close(4)
    (rapl / "intel-rapl:0" / "energy_uj").write_text("1000000")
    assert meter.read() == close(6)


def test_a_counter_that_was_reset_counts_from_0():
    values = iter([100.0, 130.0, 5.0])
    meter = Meter("x", "gpu", "measured", "machine", "", (1, 1), lambda: next(values))
    assert [meter.read(), meter.read()] == [30.0, 35.0]


def test_rapl_that_only_root_may_read_gives_way_to_the_estimate(rapl, monkeypatch):
    for zone in rapl.glob("intel-rapl:*"):
        (zone / "energy_uj").unlink()
        (zone / "energy_uj").mkdir()  # root reads any file; a folder is one that nobody can
    monkeypatch.setattr(meters_module, "POWERCAP", rapl)
    monkeypatch.setattr(meters_module, "rapl_meters", lambda: rapl_meters(rapl))
    assert [(meter.part, meter.method) for meter in find_meters("cpu")] == [("cpu", "estimate"), ("memory", "estimate")]


def test_each_part_has_one_meter_and_a_gpu_that_nothing_reads_is_a_stated_estimate(monkeypatch, rapl):
    monkeypatch.setattr(meters_module, "rapl_meters", lambda: rapl_meters(rapl))
    found = find_meters("mps")
    assert [(meter.part, meter.method) for meter in found] == [
        ("gpu", "estimate"), ("cpu", "measured"), ("memory", "measured"),
    ]  # fmt: skip


class FakeNvml:
    """A card by its UUID; one that is old has no counter of energy."""

    class NVMLError(Exception): ...

    class NVMLError_NotSupported(NVMLError): ...

    def __init__(self, old=False):
        self.old, self.milli, self.watts = old, 1_000_000, 200_000

    def nvmlInit(self): ...

    def nvmlDeviceGetHandleByUUID(self, uuid):
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        if self.old:
            raise self.NVMLError_NotSupported
        return self.milli

    def nvmlDeviceGetPowerUsage(self, handle):
        return self.watts


@pytest.fixture
def card(monkeypatch):
    import sys

    from auditkit.energy import nvml

    def plug(fake):
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        monkeypatch.setattr(nvml, "_handle", lambda pynvml, device: (device, "GPU-123"))
        return find_meters("cuda:0")[0]

    return plug


def test_nvml_counts_in_millijoules(card):
    fake = FakeNvml()
    meter = card(fake)
    fake.milli += 2500
    assert (meter.part, meter.method, meter.read()) == ("gpu", "measured", close(2.5))
    assert "GPU-123" not in meter.name


def test_a_card_without_a_counter_is_sampled(card):
    before = time.monotonic()
    meter = card(FakeNvml(old=True))
    time.sleep(0.05)
    assert 200 * 0.05 <= meter.read() <= 200 * (time.monotonic() - before)
    assert meter.every <= 0.5


def test_a_card_that_nvml_does_not_know_is_estimated_and_says_why(card):
    fake = FakeNvml()
    fake.nvmlInit = lambda: (_ for _ in ()).throw(fake.NVMLError("Driver Not Loaded"))
    meter = card(fake)
    assert meter.method == "estimate"
    assert "Driver Not Loaded" in meter.how


# Windows


class Source:
    """A meter of a machine that can be turned."""

    def __init__(self, name="rapl:0:package-0", **more):
        self.joules = 0.0
        self.meter = Meter(name, "cpu", "measured", "machine", "a test", (0.9, 1.1), lambda: self.joules, **more)


def test_what_is_read_in_a_window_is_kept_in_the_run(tmp_path):
    source, made = Source(), [5]
    with metered(tmp_path, "cpu", images=lambda: made[0], meters=[source.meter], site=Site.given(1.2)):
        source.joules, made[0] = 50.0, 15
    (window,) = read_windows(tmp_path)
    assert (window.images, window.ended, window.machine) == (10, "done", machine())
    reading = window.readings[0]
    assert (reading.joules, reading.low, reading.high) == (50, close(45), close(55))
    assert Site.from_dict(window.site) == Site.given(1.2)


def test_a_short_window_is_less_sure_for_the_counter_is_late(tmp_path):
    source = Source(lag=0.05)
    with metered(tmp_path, "cpu", images=iter([0, 1]).__next__, meters=[source.meter]):
        source.joules = 10.0
        time.sleep(0.1)
    reading = read_windows(tmp_path)[0].readings[0]
    assert reading.high > 12
    assert reading.low < 8


def test_an_attempt_that_was_interrupted_is_kept_with_what_it_spent(tmp_path):
    source = Source()

    def attempt():
        with metered(tmp_path, "cpu", images=lambda: 0, meters=[source.meter]):
            source.joules = 7.0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt()
    window = read_windows(tmp_path)[0]
    assert (window.ended, window.images, window.readings[0].joules) == ("interrupted", 0, 7.0)


def test_where_nothing_was_made_nothing_is_kept(tmp_path):
    with metered(tmp_path, "cpu", images=lambda: 3, meters=[Source().meter]):
        pass
    assert not list(tmp_path.iterdir())


def test_a_window_at_work_is_kept_from_time_to_time_so_that_a_kill_loses_little(tmp_path, monkeypatch):
    from auditkit.energy import windows

    monkeypatch.setattr(windows, "KEPT_EVERY", 0.02)
    source = Source(every=0.01)
    with metered(tmp_path, "cpu", images=lambda: 0, meters=[source.meter]):
        until = time.monotonic() + 5
        while not read_windows(tmp_path) and time.monotonic() < until:
            time.sleep(0.01)
        assert read_windows(tmp_path)[0].ended == "open"


def test_a_meter_that_fails_does_not_stop_the_work_and_its_window_is_not_counted(tmp_path):
    source = Source()

    def broken():
        raise OSError("the card fell off the bus")

    made = [0]
    with metered(tmp_path, "cpu", images=lambda: made[0], meters=[source.meter]):
        source.meter.count, made[0] = broken, 10
    (window,) = read_windows(tmp_path)
    assert "fell off" in window.failed[0]
    summary = summarise([window], images=10)
    assert (summary["images_metered"], summary["joules"], summary["method"]) == (0, None, "unknown")


def test_metering_opens_no_socket_and_leaves_no_thread(tmp_path, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network"))
    before = threading.active_count()
    with metered(tmp_path, "cpu", images=iter([0, 1]).__next__):
        pass
    assert threading.active_count() == before
    assert [file.parent.name for file in tmp_path.rglob("*.json")] == ["energy"]


def test_a_damaged_window_is_one_clear_error(tmp_path):
    (tmp_path / "energy").mkdir()
    for wrong in ("{", "[]", "{}", '{"readings": [{}]}'):
        (tmp_path / "energy" / "x.json").write_text(wrong)
        with pytest.raises(EnergyError, match="damaged") as caught:
            read_windows(tmp_path)
        assert caught.value.where.name == "x.json"


# Sums


def a_window(start, end, joules, *, meter="rapl:0:package-0", scope="machine", images=10, **more):
    reading = Reading(meter, "cpu", "measured", scope, "a test", joules, 0.9 * joules, 1.1 * joules)
    return Window("m1", 1, "cpu", start, end, images, "done", [reading], **more)


@given(spells)
def test_the_union_holds_its_value_and_lies_between_the_largest_spell_and_their_sum(spells):
    whole = union(spells)
    values = [amount.value for _, _, amount in spells]
    assert whole.low <= whole.value <= whole.high
    assert max(values) * (1 - 1e-9) <= whole.value <= sum(values) * (1 + 1e-9)


@given(st.floats(0, 1e4), st.floats(0.1, 1e4), amounts, st.integers(1, 4))
def test_processes_that_read_one_counter_over_the_same_time_count_once(start, long, amount, processes):
    assert union([(start, start + long, amount)] * processes).value == close(amount.value)


@given(st.lists(amounts, min_size=1, max_size=5))
def test_spells_one_after_another_add_up(amounts):
    after = [(10.0 * place, 10.0 * place + 9, amount) for place, amount in enumerate(amounts)]
    assert union(after).value == close(sum(amount.value for amount in amounts))


@given(st.floats(1, 100), st.floats(1, 100), st.floats(1, 100), st.floats(1, 500))
def test_at_an_even_power_the_union_of_overlapping_spells_is_exact(first, shared, last, watts):
    a = (0.0, first + shared, Amount.exactly(watts * (first + shared)))
    b = (first, first + shared + last, Amount.exactly(watts * (shared + last)))
    assert union([a, b]).value == close(watts * (first + shared + last))
    assert covered([a[:2], b[:2]]) == close(first + shared + last)


def test_the_energies_of_a_runs_attempts_add_up():
    summary = summarise([a_window(0, 10, 100), a_window(20, 30, 300)], images=20)
    assert summary["joules"] == {"value": 400, "low": 360, "high": 440}
    assert summary["joules_per_image"] == {"value": 20, "low": 18, "high": 22}
    assert summary["seconds"] == 20


def test_two_processes_on_one_machine_count_its_counter_once_and_their_own_work_twice():
    shared = [a_window(0, 10, 100), a_window(0, 10, 100)]
    assert summarise(shared, images=20)["joules"]["value"] == 100
    own = [a_window(0, 10, 100, scope="process"), a_window(0, 10, 100, scope="process")]
    assert summarise(own, images=20)["joules"]["value"] == 200
    elsewhere = [shared[0], replace(shared[1], machine="m2")]
    assert summarise(elsewhere, images=20)["joules"]["value"] == 200


def test_images_of_a_killed_attempt_are_left_out_of_joules_per_image():
    summary = summarise([a_window(0, 10, 100, images=10)], images=40)
    assert (summary["images"], summary["images_metered"]) == (40, 10)
    assert summary["joules_per_image"]["value"] == 10


def test_a_run_that_was_never_metered_has_no_energy():
    assert summarise([], images=10) is None


def test_carbon_is_told_only_of_a_site_that_was_given_and_the_last_one_holds():
    bare = summarise([a_window(0, 10, 3.6e6)], images=10)
    assert bare["kg_co2e"] is None
    assert bare["facility_kwh"] is None
    assert bare["kg_co2e_bounds"]["low"] < bare["kg_co2e_bounds"]["high"]
    first, last = Site.given(1.1, 100).as_dict(), Site.given(1.0, 500).as_dict()
    windows = [a_window(0, 10, 3.6e6, site=first), a_window(20, 30, 0.0, site=last)]
    assert summarise(windows, images=10)["kg_co2e"]["value"] == close(0.5)


def test_measured_and_estimated_parts_are_told_apart():
    estimate = Reading("estimate:memory:1", "memory", "estimate", "process", "x", 1, 0.5, 2)
    window = a_window(0, 10, 100)
    summary = summarise([replace(window, readings=[*window.readings, estimate])], images=10)
    assert summary["method"] == "mixed"
    assert [(part["part"], part["method"]) for part in summary["parts"]] == [
        ("cpu", "measured"),
        ("memory", "estimate"),
    ]


def test_a_wrong_variable_of_the_environment_is_named(monkeypatch):
    monkeypatch.setenv("AUDITKIT_PUE", "abc")
    with pytest.raises(EnergyError) as caught:
        Site.given()
    assert caught.value.where == "$AUDITKIT_PUE=abc"
    assert "unset" in caught.value.mend
