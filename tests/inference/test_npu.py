"""What a box has of the NPU, told from files alone, on any machine."""

import pytest

from edge_runtime.inference.npu import find_npu


def box(root, *, chip=True, library=True, device="render", driver=True):
    (root / "proc/device-tree").mkdir(parents=True)
    (root / "proc/device-tree/compatible").write_bytes(b"radxa,rock-5b\0rockchip,rk3588\0" if chip else b"nvidia\0")
    if library:
        (root / "usr/lib").mkdir(parents=True)
        (root / "usr/lib/librknnrt.so").write_bytes(b"")
    if device == "render":
        for number, name in (("128", "panthor"), ("129", "RKNPU")):
            (root / f"sys/bus/{name}").mkdir(parents=True)
            (root / f"sys/class/drm/renderD{number}/device").mkdir(parents=True)
            (root / f"sys/class/drm/renderD{number}/device/driver").symlink_to(root / f"sys/bus/{name}")
    if driver:
        (root / "sys/kernel/debug/rknpu").mkdir(parents=True)
        (root / "sys/kernel/debug/rknpu/version").write_text("RKNPU driver: v0.9.8\n")
    return root


def test_a_whole_box_tells_device_library_and_driver(tmp_path):
    npu = find_npu(box(tmp_path))
    assert not npu.missing
    assert str(npu) == "/dev/dri/renderD129, /usr/lib/librknnrt.so, driver RKNPU driver: v0.9.8"


def test_the_driver_s_version_is_no_need(tmp_path):
    npu = find_npu(box(tmp_path, driver=False))
    assert not npu.missing
    assert "only root may read it" in str(npu)


@pytest.mark.parametrize(
    ("lacks", "told"),
    [
        ({"chip": False}, "no RK3588"),
        ({"library": False}, "no librknnrt.so"),
        ({"device": None}, "no NPU device"),
    ],
)
def test_what_is_missing_is_told_with_what_to_do(tmp_path, lacks, told):
    (problem,) = find_npu(box(tmp_path, **lacks)).missing
    assert problem.startswith(told)
    assert ": " in problem


def test_a_box_of_another_kind_is_told_nothing_about_libraries(tmp_path):
    assert len(find_npu(tmp_path).missing) == 1
