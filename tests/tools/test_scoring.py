import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.values import Defect
from tools.scoring import (
    FoundBox,
    LabelledBox,
    ScoredPicture,
    match_found,
    of_class,
    precision_recall,
    score_pictures,
    scored_picture,
)

SIDE = st.integers(1, 30)
BOX = st.tuples(st.integers(0, 40), st.integers(0, 40), SIDE, SIDE).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
FOUND = st.lists(st.builds(FoundBox, st.integers(1, 2), BOX, st.sampled_from([0.2, 0.5, 0.9])), max_size=8)
TRUTH = st.lists(st.builds(LabelledBox, st.integers(1, 2), BOX), max_size=8)


@given(FOUND, TRUTH)
def test_right_boxes_number_at_most_the_labels_of_their_class(found, truth):
    hits = match_found(found, truth)
    assert len(hits) == len(found)
    for class_id in (1, 2):
        right = sum(hit for hit, box in zip(hits, found, strict=True) if box.class_id == class_id)
        assert right <= sum(box.class_id == class_id for box in truth)


@given(TRUTH)
def test_the_labels_themselves_score_one(truth):
    found = tuple(FoundBox(box.class_id, box.xyxy_px, 1.0) for box in truth)
    scores = score_pictures([ScoredPicture(found, tuple(truth))])
    assert (scores.right, scores.found, scores.labelled) == (len(truth),) * 3
    assert scores.average_precision == (1.0 if truth else 0.0)


def test_the_overlap_must_exceed_the_limit():
    truth = [LabelledBox(1, (0, 0, 30, 10))]
    third = [FoundBox(1, (15, 0, 45, 10), 0.5)]
    assert match_found(third, truth, iou_min=1 / 3) == [False]
    assert match_found(third, truth, iou_min=0.33) == [True]


def test_another_class_never_matches():
    assert match_found([FoundBox(2, (0, 0, 9, 9), 0.9)], [LabelledBox(1, (0, 0, 9, 9))]) == [False]


def test_the_surest_box_chooses_first_and_a_label_counts_once():
    truth = [LabelledBox(1, (0, 0, 10, 10))]
    found = [FoundBox(1, (0, 0, 10, 10), 0.4), FoundBox(1, (0, 0, 10, 9), 0.8)]
    assert match_found(found, truth) == [False, True]


def test_counts_and_average_precision_by_hand():
    truth = (LabelledBox(1, (0, 0, 10, 10)), LabelledBox(1, (50, 50, 60, 60)))
    found = (
        FoundBox(1, (0, 0, 10, 10), 0.9),
        FoundBox(1, (20, 20, 30, 30), 0.8),
        FoundBox(1, (50, 50, 60, 60), 0.7),
    )
    scores = score_pictures([ScoredPicture(found, truth)])
    assert (scores.precision, scores.recall, scores.f_score) == (2 / 3, 1.0, 0.8)
    assert scores.average_precision == pytest.approx((1.0 + 2 / 3) / 2)


def test_boxes_of_equal_score_are_one_point_of_the_curve():
    truth = (LabelledBox(1, (0, 0, 10, 10)), LabelledBox(1, (50, 50, 60, 60)))
    found = (FoundBox(1, (0, 0, 10, 10), 0.8), FoundBox(1, (20, 20, 30, 30), 0.8), FoundBox(1, (50, 50, 60, 60), 0.4))
    curve = precision_recall([ScoredPicture(found, truth)])
    assert curve.scores.tolist() == [0.8, 0.4]
    assert curve.precision.tolist() == [1 / 2, 2 / 3]
    assert curve.recall.tolist() == [1 / 2, 1.0]
    assert curve.average_precision == pytest.approx(2 / 3)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.builds(ScoredPicture, FOUND.map(tuple), TRUTH.map(tuple)), max_size=4))
def test_average_precision_equals_a_slow_and_plain_one(pictures):
    classes = sorted({label.class_id for picture in pictures for label in picture.truth})
    slow = [slow_average_precision(of_class(pictures, class_id)) for class_id in classes]
    wanted = sum(slow) / len(slow) if slow else 0.0
    assert score_pictures(pictures).average_precision == pytest.approx(wanted)
    assert score_pictures(pictures[::-1]).average_precision == pytest.approx(wanted)


def slow_average_precision(pictures):
    """The mean over labels of the best precision at any score limit that finds at least as many labels."""
    labelled = sum(len(picture.truth) for picture in pictures)
    points = []
    for limit in {box.score for picture in pictures for box in picture.found}:
        kept = [[box for box in picture.found if box.score >= limit] for picture in pictures]
        right = sum(sum(match_found(some, picture.truth)) for some, picture in zip(kept, pictures, strict=True))
        points.append((right, right / sum(map(len, kept))))
    best = [max((precision for right, precision in points if right >= n), default=0.0) for n in range(1, labelled + 1)]
    return sum(best) / labelled


def test_scores_of_nothing_are_zero():
    scores = score_pictures([])
    assert (scores.precision, scores.recall, scores.f_score, scores.average_precision) == (0, 0, 0, 0)


def test_pooling_counts_over_pictures_and_a_class_can_be_looked_at_alone():
    one = ScoredPicture((FoundBox(1, (0, 0, 9, 9), 0.9),), (LabelledBox(1, (0, 0, 9, 9)),))
    two = ScoredPicture((FoundBox(2, (0, 0, 9, 9), 0.9),), (LabelledBox(1, (0, 0, 9, 9)),))
    assert score_pictures([one, two]).right == 1
    assert score_pictures(of_class([one, two], 2)).precision == 0.0
    assert score_pictures(of_class([one, two], 1)).precision == 1.0


@pytest.mark.parametrize(
    ("label_margin_px", "label"), [(0, (0, 30, 30, 60)), (7, (7, 37, 23, 53)), (12, (10, 40, 20, 50))]
)
def test_defects_and_labels_get_the_same_margin_inside_the_picture(label_margin_px, label):
    defect = Defect(1, (3, 50, 7, 58), 20, None, 0.5)
    scored = scored_picture([defect], [LabelledBox(1, (10, 40, 20, 50))], label_margin_px, (60, 100))
    assert scored.found[0].xyxy_px == (0, 40, 17, 60)
    assert scored.truth[0].xyxy_px == label
