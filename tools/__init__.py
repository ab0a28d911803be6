"""Workstation tools: train, export, convert, verify, evaluate and pack a defect segmentation model."""
