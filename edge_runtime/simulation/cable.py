"""A serial cable between daemon and controller: a pseudo-terminal behind a fixed name, to be pulled and plugged in."""

from __future__ import annotations

import errno
import os
import select
import tty
from pathlib import Path


class Cable:
    """The controller's end. While it is pulled, reads give nothing and writes lead nowhere. One thread owns it."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self._ours = -1
        self._theirs = -1

    @property
    def is_plugged(self) -> bool:
        return self._ours >= 0

    def plug(self) -> None:
        if self.is_plugged:
            return
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        os.set_blocking(self._ours, False)
        self.link.symlink_to(os.ttyname(self._theirs))

    def pull(self) -> None:
        if not self.is_plugged:
            return
        self.link.unlink()
        os.close(self._ours)
        os.close(self._theirs)
        self._ours = self._theirs = -1

    def read(self, wait_ms: float) -> bytes:
        """What has come, waiting for it at most so long."""
        poller = select.poll()
        if self.is_plugged:
            poller.register(self._ours, select.POLLIN)
        if not poller.poll(max(0.0, wait_ms)):
            return b""
        try:
            return os.read(self._ours, 65536)
        except OSError as exc:
            if exc.errno in (errno.EIO, errno.EAGAIN):
                return b""
            raise

    def write(self, data: bytes) -> None:
        """What the far end has no room for is lost, as on a wire."""
        if self.is_plugged and data:
            try:
                os.write(self._ours, data)
            except BlockingIOError:
                return
