"""Temperatures and clocks read from the kernel's folders as boards show them."""

from __future__ import annotations

from pathlib import Path

from edge_runtime.device_state import DeviceState, read_state

RK3588 = {
    "class/thermal/thermal_zone0/type": "soc-thermal",
    "class/thermal/thermal_zone0/temp": "61923",
    "class/thermal/thermal_zone6/type": "npu-thermal",
    "class/thermal/thermal_zone6/temp": "63769",
    "class/thermal/cooling_device0/type": "thermal-cpufreq-0",
    "class/thermal/cooling_device0/cur_state": "0",
    "class/thermal/cooling_device1/type": "thermal-cpufreq-1",
    "class/thermal/cooling_device1/cur_state": "3",
    "class/thermal/cooling_device4/type": "pwm-fan",
    "class/thermal/cooling_device4/cur_state": "2",
    "devices/system/cpu/cpu4/cpufreq/scaling_cur_freq": "1608000",
    "devices/system/cpu/cpu5/cpufreq/scaling_cur_freq": "1800000",
    "class/devfreq/fdab0000.npu/cur_freq": "1000000000",
    "class/devfreq/dmc/cur_freq": "2112000000",
    "kernel/debug/rknpu/load": "NPU load:  Core0: 36%, Core1: 35%, Core2:  0%,",
}


def lay_out(folder: Path, tree: dict[str, str]) -> Path:
    for name, text in tree.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text + "\n")
    return folder


def test_a_board_tells_heat_clocks_and_what_holds_it_back(tmp_path: Path) -> None:
    state = read_state([4, 5, 6], lay_out(tmp_path, RK3588))
    assert state == DeviceState(
        63.769, "npu-thermal", 1704.0, ("thermal-cpufreq-1",), {"fdab0000.npu": 1000.0},
        "NPU load:  Core0: 36%, Core1: 35%, Core2:  0%,",
    )  # fmt: skip
    assert str(state).startswith("63.8 °C (npu-thermal), 1704 MHz, fdab0000.npu 1000 MHz, NPU load")
    assert str(state).endswith("held back by thermal-cpufreq-1")


def test_what_is_not_told_is_left_out(tmp_path: Path) -> None:
    assert read_state([0], tmp_path) == DeviceState()
    broken = {"class/thermal/thermal_zone0/temp": "", "devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "<unknown>"}
    assert str(read_state([0], lay_out(tmp_path, broken))) == "no sensor tells"
