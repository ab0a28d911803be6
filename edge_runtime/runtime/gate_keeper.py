"""The line's end of the gate's latch: what closed it stands over every restart, until a reset or another model."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from edge_runtime.runtime.gate_latch import SEVERAL_MODELS, GateLatch
from edge_runtime.runtime.office_link import OfficeLink

log = logging.getLogger(__name__)


class GateKeeper:
    """Has the office remember by which model the gate was closed. One thread; nothing blocks, no disk."""

    def __init__(self, latch: GateLatch, office: OfficeLink) -> None:
        self._latch = latch
        self._office = office

    @property
    def is_closed(self) -> bool:
        return self._latch.is_closed

    def begin(self, kept: str) -> None:
        """Before the first frame: as the last run left it, in the office's words."""
        if kept:
            whose = "more than one model" if kept == SEVERAL_MODELS else kept
            log.warning("the gate of %s missed a defect in an earlier run: it stays closed until a reset", whose)
            self._latch.restore(kept)

    def work(self, models_in_use: Iterable[str]) -> None:
        """Open it once no version of a model is in use that has missed a defect; have the rest remembered.

        Only a reset opens what more than one model has closed.
        `models_in_use`: ids of all models that a part may yet be inspected by.
        """
        closed_by = self._latch.closed_by
        if closed_by not in ("", SEVERAL_MODELS) and _version_of(closed_by) not in map(_version_of, models_in_use):
            log.info("%s, whose gate missed a defect, is no longer in service: the gate is open", closed_by)
            self.open()
        self._office.keep_gate(self._latch.closed_by)

    def open(self) -> None:
        self._latch.open()


def _version_of(model_id: str) -> str:
    """Name and version. The same version packed once more is not trusted more."""
    return model_id.partition("@")[0]
