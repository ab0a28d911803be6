"""Batches depend on seed, step and replica alone, however many processes prepare them."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from tools.batches import BatchMaker, batches, cached
from tools.dataset import load_dataset
from tools.errors import ToolError
from tools.runs import DataShare


def made(settings, rank=0, first=0):
    with batches(settings, 2, rank, first) as prepared:
        return list(prepared)


def equal(these, those):
    return [all(np.array_equal(x, y) for x, y in zip(a, b, strict=True)) for a, b in zip(these, those, strict=True)]


def test_loaders_change_nothing(tiny_settings):
    settings = replace(tiny_settings, template=True)
    alone = made(settings)
    assert len(alone) == settings.steps
    assert alone[0][0].shape == (2, 2, 32, 32)
    assert not equal(alone[:-1], alone[1:])[0]
    for loaders in (1, 2):
        assert all(equal(made(replace(settings, loaders=loaders)), alone))
    assert all(equal(made(replace(settings, loaders=2), first=1), alone[1:]))


def test_replicas_see_different_crops(tiny_settings):
    settings = replace(tiny_settings, replicas=2, batch=4)
    assert not equal(made(settings, rank=0), made(settings, rank=1))[0]
    assert made(settings)[0][0].shape[0] == 2


def test_a_loaders_error_arrives_where_the_batch_is_wanted(tiny_settings, tmp_path):
    settings = replace(tiny_settings, loaders=1, data=(DataShare(str(tmp_path / "gone"), 1.0),))
    with pytest.raises(ToolError, match=r"a loader failed: .*gone: no annotations\.json"):
        made(settings)


def test_a_loader_that_dies_is_told(tiny_settings):
    import multiprocessing

    settings = replace(tiny_settings, loaders=1, steps=100)
    with batches(settings, 2, 0, 0) as prepared:
        next(prepared)
        (loader,) = multiprocessing.active_children()
        os.kill(loader.pid, signal.SIGKILL)
        with pytest.raises(ToolError, match="a loader ended with exit code -9"):
            for _ in prepared:
                pass


def test_held_out_pictures_are_never_trained_on(tiny_settings, boards_folder):
    maker = BatchMaker(tiny_settings, 2, 0)
    names = {picture.name for source in maker._sources for picture in source.pictures}
    held = {picture.name for picture in load_dataset(boards_folder).split(4)[1].pictures}
    assert names
    assert not names & held


def test_pictures_are_read_once_while_they_fit(boards_folder):
    pictures, reads = load_dataset(boards_folder).pictures, []

    def read(picture):
        reads.append(picture.name)
        return picture.read_planes(False), picture.read_mask()

    one_bytes = sum(plane.nbytes for plane in read(pictures[0]))
    roomy, tight = cached(read, 10 * one_bytes), cached(read, one_bytes)
    for reader, expected in ((roomy, 2), (tight, 4)):
        reads.clear()
        for picture in (*pictures[:2], *pictures[:2]):
            assert np.array_equal(reader(picture)[1], picture.read_mask())
        assert len(reads) == expected
