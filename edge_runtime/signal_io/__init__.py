"""Drivers of the wire to the line's controller, one file each."""
