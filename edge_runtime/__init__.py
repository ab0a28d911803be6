"""Visual defect inspection on edge boxes: each trigger gets exactly one verdict before its deadline."""

__version__ = "0.1.0"
