"""The serial adapter: plugged in late, pulled, plugged in again; the controller listens at its other end."""

from __future__ import annotations

from edge_runtime.protocol.messages import Status
from tools.hil.report import expect
from tools.hil.station import Station

PARTS_WHILE_PULLED = 10


def plug_in_later(station: Station) -> str:
    """The unit's device list must let in an adapter whose driver was not loaded when the service started."""
    station.box.plug_adapter()
    took_s = station.hear(lambda: station.controller.state == "ready", "a heartbeat that says ready")
    by_id = station.box.shell("ls /dev/serial/by-id").strip()
    mode = station.box.shell("stat -L -c '%G %a' /dev/serial/by-id/*").strip()
    expect(mode == "dialout 660", f"the adapter's device file is {mode}")
    return f"{by_id}: first heartbeat {took_s:.1f} s after plugging in"


def both_ways(station: Station) -> str:
    """A query is answered, and the acknowledgements of all results have been understood."""
    controller = station.controller
    before = len(controller.heard)
    controller.ask_status()
    controller.until(lambda: any(isinstance(each, Status) for each in controller.heard[before:]), "STA")
    status = next(each for each in controller.heard[before:] if isinstance(each, Status))
    expect(status.unacknowledged == 0, f"not acknowledged: {status}")
    expect(len(controller.part_ids) == len(station.outcomes()), "the controller did not hear of every part")
    return f"{len(controller.part_ids)} results heard and acknowledged, a query answered"


def pull_and_plug(station: Station) -> str:
    """Parts that are judged while the cable is out are told when it is back, each once, and never in vain."""
    controller = station.controller
    station.become_ready()
    station.box.pull_adapter()
    station.until(lambda: "serial" in station.show("StatusText"), "the fault `serial`")
    before = len(station.outcomes())
    station.pass_parts(PARTS_WHILE_PULLED)
    station.until(lambda: len(station.outcomes()) >= before + PARTS_WHILE_PULLED, "records of parts judged meanwhile")
    judged = [part_id for part_id, _ in station.outcomes()]
    expect(len(controller.part_ids) == before, "results came through a cable that is out")
    station.box.plug_adapter()
    took_s = station.hear(lambda: len(controller.part_ids) >= len(judged), "the results of all parts")
    station.until(station.is_ready, "the state ready")
    expect(controller.part_ids == judged, f"told {controller.part_ids}, judged {judged}")
    return f"{PARTS_WHILE_PULLED} parts judged meanwhile, all told within {took_s:.1f} s of plugging in"
