"""Pictures are saved from their slots by a thread, in order, and each slot comes back whatever becomes of it."""

import select
from datetime import datetime, timezone

import cv2
import pytest

from edge_runtime.errors import StorageError
from edge_runtime.runtime.frame_ring import FrameRing
from edge_runtime.runtime.messages import Archive
from edge_runtime.runtime.picture_saver import NOTHING_TO_DRAW, DrawingPlan, PictureSaver
from edge_runtime.runtime.ring_layout import RingLayout
from edge_runtime.runtime.slot_arrays import slot_arrays
from edge_runtime.storage.image_store import ImageStore
from edge_runtime.values import Defect, DefectClass, InspectionRecord, Outcome, Recipe, Trigger, Verdict

AT = datetime(2026, 11, 23, tzinfo=timezone.utc)
HW = (64, 96)
PLAN = DrawingPlan((DefectClass(1, "open", (0, 0, 255), 128),), Recipe("r"), 2)


@pytest.fixture
def ring():
    made = FrameRing.create(RingLayout(4, HW[0] * HW[1]))
    for slot in range(4):
        arrays = slot_arrays(made, slot, HW, PLAN.mask_stride_px)
        arrays.image[...] = 50 * slot
        arrays.class_ids[8:12, 8:12], arrays.scores[8:12, 8:12] = 1, 200
    return made


def request(part_id: int, outcome: Outcome, slot: int) -> Archive:
    defects = (Defect(1, (16, 16, 24, 24), 64, None, 0.8),) if outcome is Outcome.REJECT else ()
    reasons = () if outcome is Outcome.PASS else ("why",)
    verdict = Verdict(part_id, outcome, reasons, defects, len(defects), 5, "model", "r")
    record = InspectionRecord(Trigger(part_id, 1, 9), verdict, AT, None)
    return Archive(record, slot, HW)


def saver_into(ring, store) -> PictureSaver:
    saver = PictureSaver(ring, store)
    saver.start()
    return saver


def test_pictures_come_out_as_they_lay_in_their_slots_and_overlays_with_what_was_found(ring, tmp_path):
    saver = saver_into(ring, ImageStore(tmp_path, 1 << 20, 10, jpeg_quality=None))
    kinds = [(1, Outcome.PASS, 0), (2, Outcome.REJECT, 1), (3, Outcome.NOT_INSPECTED, 2)]
    for kind in kinds:
        saver.save_soon(request(*kind), PLAN)
    done = saver.finish()
    assert [each.request.record.trigger.part_id for each in done] == [1, 2, 3]
    pictures = [cv2.imread(str(tmp_path / each.path)) for each in done]
    assert [(picture == 50 * slot).all() for picture, (_, _, slot) in zip(pictures, kinds, strict=True)] == [True] * 3
    names = sorted(path.name[9:] for path in tmp_path.rglob("*.png"))
    assert names == ["-mask.png", *["-overlay.png"] * 2, *["-picture.png"] * 3]
    overlay = cv2.imread(str(next(tmp_path.rglob("000000002-overlay.png"))))
    assert (overlay != 50).any(axis=2)[16:24, 16:24].all()


def test_a_part_that_was_given_up_keeps_its_picture_for_the_worker_that_still_looks_at_it(ring, tmp_path):
    saver = saver_into(ring, ImageStore(tmp_path, 1 << 20, 10))
    saver.save_soon(request(3, Outcome.NOT_INSPECTED, 2), PLAN)
    saver.finish()
    assert (slot_arrays(ring, 2, HW, 2).image == 100).all()


def test_a_rejected_part_whose_recipe_is_not_known_is_kept_without_its_mask(ring, tmp_path):
    saver = saver_into(ring, ImageStore(tmp_path, 1 << 20, 10))
    saver.save_soon(request(2, Outcome.REJECT, 1), NOTHING_TO_DRAW)
    assert [each.failure for each in saver.finish()] == [None]
    assert sorted(path.name[9:] for path in tmp_path.rglob("*.*")) == ["-overlay.jpg", "-picture.jpg"]


class _Broken:
    """A store that fails in a way of its own for each part."""

    def open(self):
        pass

    def save(self, part_id, *rest):
        raise StorageError("disk full") if part_id == 1 else KeyError("a fault of this program")


def test_every_slot_comes_back_and_only_a_fault_of_the_program_is_told_on(ring):
    saver = saver_into(ring, _Broken())
    saver.save_soon(request(1, Outcome.PASS, 0), PLAN)
    assert select.select([saver], [], [], 10)[0] == [saver]
    (lost,) = saver.saved()
    assert (lost.request.slot, lost.path, lost.failure) == (0, None, None)
    assert saver.saved() == []
    saver.save_soon(request(2, Outcome.PASS, 1), PLAN)
    (broken,) = saver.finish()
    assert broken.request.slot == 1
    assert isinstance(broken.failure, KeyError)
