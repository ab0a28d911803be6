"""Families of segmentation networks: settings in, `tools.graph.Graph` out."""
