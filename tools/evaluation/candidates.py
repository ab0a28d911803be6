"""Every defect a mask hints at, whatever the thresholds say: the list that average precision ranks.

At a low level neighbouring defects flow into one, at a high level only the tips of the sure ones are left. So the
components of all levels form a tree, in which a component divides as the level rises. Of each branch and what it
divides into, that is taken which has more mass (cells at or above the level, summed over its levels), as HDBSCAN
chooses its clusters (Campello et al., 2013, "excess of mass"). A component counts down to half of its peak only, so a
background that is nowhere zero is no candidate. Thresholds play no part, and no level is tuned.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.values import Defect, DefectClass, Mask, Recipe
from edge_runtime.vision.blobs import check_mask_size, find_defects

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8

LEVELS = tuple(range(16, 256, 16))

Labels = npt.NDArray[np.int32]


class _Pick(NamedTuple):
    """One component: the index of its level and its label there."""

    level: int
    label: int


class _Branch(NamedTuple):
    """A component up to where it divides, and the best of what it divides into.

    `label` is its own at the level looked at, `peak` its highest level, `pick` the lowest of it that counts, `mass` its
    cells from there on.
    """

    label: int
    peak: int
    pick: _Pick | None
    mass: int
    parts: tuple[_Pick, ...] = ()
    parts_mass: int = 0

    def best(self) -> tuple[tuple[_Pick, ...], int]:
        if self.pick is None or self.parts_mass > self.mass:
            return self.parts, self.parts_mass
        return (self.pick,), self.mass


def find_candidates(
    mask: Mask, classes: Sequence[DefectClass], recipe: Recipe, image_hw: tuple[int, int]
) -> list[Defect]:
    """Disjoint candidate defects; class, box and score as `find_defects` gives them at the candidate's own level.

    A candidate's level is the lowest of its branch that is not below half of its peak; its score, the mean over its
    cells there, tells sure from unsure. Raises ValueError as `find_defects` does.
    """
    check_mask_size(mask, image_hw)
    scores = np.where(mask.class_ids > 0, mask.scores, np.uint8(0))
    reach = max(1, -(-recipe.join_px // mask.stride_px))
    labels = [_components(scores, level, reach) for level in LEVELS]
    by_level = defaultdict(list)
    for pick in _chosen(labels):
        by_level[pick.level].append(pick.label)
    found: list[Defect] = []
    for level, chosen in sorted(by_level.items()):
        kept = np.where(np.isin(labels[level], chosen), scores, np.uint8(0))
        at_level = [replace(known, threshold=LEVELS[level]) for known in classes]
        found += find_defects(Mask(mask.class_ids, kept, mask.stride_px), at_level, recipe, image_hw)
    return found


def _components(scores: ImageU8, level: int, reach: int) -> Labels:
    """Labels from 1 of the cells at or above `level`, grouped as `vision.blobs` does; 0 elsewhere."""
    foreground = (scores >= level).view(np.uint8)
    if not cv2.countNonZero(foreground):
        return np.zeros(scores.shape, np.int32)
    side = min(reach, max(scores.shape))
    widened = cv2.dilate(foreground, np.ones((side, side), np.uint8), anchor=(0, 0)) if side > 1 else foreground
    labels = cv2.connectedComponents(widened, connectivity=8)[1]
    labels[foreground == 0] = 0
    return np.asarray(labels, np.int32)


def _chosen(labels: Sequence[Labels]) -> list[_Pick]:
    """The best picks of all trees, from the highest level downwards."""
    above: list[_Branch] = []
    for level in reversed(range(len(labels))):
        children = defaultdict(list)
        for branch, parent in zip(above, _parents(above, labels, level), strict=True):
            children[parent].append(branch)
        cells = np.bincount(labels[level].ravel())
        cells[0] = 0
        above = [
            _joined(_Pick(level, label), int(cells[label]), children[label]) for label in np.flatnonzero(cells).tolist()
        ]
    return [pick for root in above for pick in root.best()[0]]


def _parents(above: Sequence[_Branch], labels: Sequence[Labels], level: int) -> list[int]:
    """The label at `level` of the component that holds each branch of the level above."""
    if not above:
        return []
    upper = labels[level + 1].ravel()
    at = np.flatnonzero(upper)
    parent_of = np.zeros(int(upper.max()) + 1, np.int32)
    parent_of[upper[at]] = labels[level].ravel()[at]
    return [int(parent_of[branch.label]) for branch in above]


def _joined(pick: _Pick, cells: int, children: Sequence[_Branch]) -> _Branch:
    """The branch that a component continues (one child), begins (none) or unites (several)."""
    peak = max((child.peak for child in children), default=LEVELS[pick.level])
    may_stand = 2 * LEVELS[pick.level] >= peak
    if len(children) == 1:
        only = children[0]._replace(label=pick.label)
        return only._replace(pick=pick, mass=only.mass + cells) if may_stand else only
    best = [child.best() for child in children]
    parts, parts_mass = tuple(one for picks, _ in best for one in picks), sum(mass for _, mass in best)
    return _Branch(pick.label, peak, pick if may_stand else None, cells if may_stand else 0, parts, parts_mass)
