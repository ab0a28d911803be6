"""A virtual box: the daemon under systemd on Debian's kernel, its GPIO chip, camera and serial adapter simulated.

`make bench-hil` runs it; docs/hil.md says what it proves and what not.
"""
