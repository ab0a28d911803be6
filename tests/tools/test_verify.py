from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.values import InputContract
from tools.machine import cpu_name
from tools.networks import MEAN, STD, receptive_radius_px
from tools.verify import choose_margin_px, effective_radius_px, golden_pictures


def test_the_measured_radius_stays_within_the_theoretical_one(tiny_network):
    contract = InputContract("GRAY", (MEAN,), (STD,), tile_px=192, stride_px=8, margin_px=0)
    measured_px = effective_radius_px(tiny_network, contract, golden_pictures(192))
    assert 8 <= measured_px <= receptive_radius_px(tiny_network)


@given(st.integers(1, 200), st.integers(1, 200))
def test_the_margin_covers_the_radius_in_whole_strides(theoretical_px, measured_px):
    margin_px = choose_margin_px(theoretical_px, min(measured_px, theoretical_px))
    assert margin_px % 8 == 0
    needed_px = theoretical_px if theoretical_px <= 64 else min(measured_px, theoretical_px)
    assert needed_px <= margin_px < needed_px + 8


def test_golden_pictures_are_the_same_each_time():
    first, second = golden_pictures(128), golden_pictures(128)
    assert len(first) == 4
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_the_processor_has_a_name():
    assert cpu_name().strip()
