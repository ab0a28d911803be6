"""A stand-in for Rockchip's runtime: the calls and return codes that the driver uses, the arithmetic by ONNX Runtime.

It proves the driver's own work and says nothing of the NPU. Its network files have the vendor's frame around an ONNX
network (`network_file`).
"""
