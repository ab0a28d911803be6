"""Where a part's time went: the stations of its path, each with the time at which it was reached."""

from __future__ import annotations

from collections.abc import Mapping

from edge_runtime.clock import NS_PER_MS
from edge_runtime.runtime.messages import Captured, Inspected

STATIONS = ("heard", "asked", "camera", "slot", "told", "begun", "tiles", "decide", "answered")
"""Those of an inspected part, in order; the durations from one to the next add up to `total` ([records.md])."""

Path = dict[str, int]


def picture_path(picture: Captured, told_ns: int) -> Path:
    """The stations of a picture that the line was told of at `told_ns`.

    In free run its part begins with the exposure, after it was asked for.
    """
    asked = {} if picture.part_id == 0 else {"asked": picture.asked_ns}
    return asked | {"camera": picture.taken_ns, "slot": picture.stored_ns, "told": told_ns}


def work_path(result: Inspected, answered_ns: int) -> Path:
    """The stations in the workers; `stage_ms` tells the durations of the last two before the decision."""
    decided_ns = result.verdict.decided_ns
    tiled_ns = decided_ns - round(result.stage_ms.get("decide", 0) * NS_PER_MS)
    begun_ns = tiled_ns - round(result.stage_ms.get("tiles", 0) * NS_PER_MS)
    return {"begun": begun_ns, "tiles": tiled_ns, "decide": decided_ns, "answered": answered_ns}


def durations_ms(trigger_ns: int, path: Mapping[str, int], picture: Captured | None, now_ns: int) -> dict[str, float]:
    """What a record keeps of a part that is concluded at `now_ns`, to the microsecond.

    From station to station in the order of `path`, `total`, and `capture`, from the trigger to the exposure, which
    lies somewhere within the way to `camera`; `code`, how long reading one took, is a part of the way to `slot`.
    """
    before_ns = [trigger_ns, *path.values()]
    all_ns = {name: at_ns - before for (name, at_ns), before in zip(path.items(), before_ns, strict=False)}
    all_ns["total"] = now_ns - trigger_ns
    if picture is not None:
        all_ns["capture"] = picture.captured_ns - trigger_ns
    all_ms = {name: round(duration_ns / NS_PER_MS, 3) for name, duration_ns in all_ns.items()}
    return all_ms | ({"code": round(picture.code_ms, 3)} if picture is not None and picture.code_ms is not None else {})
