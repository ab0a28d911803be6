"""A bundle's networks for the NPU, each built, simulated and written."""

from __future__ import annotations

from pathlib import Path

from edge_runtime.files import write_atomically
from edge_runtime.inference.bundle import load_bundle
from tools.evaluation.data import labelled_for
from tools.graph import count_macs
from tools.predictors import Predictor
from tools.progress import Advance
from tools.rknn.conversion import FILES, Request, float_network, simulated
from tools.rknn.layers import estimate
from tools.rknn.parity import parity_of, reference_of
from tools.rknn.report import NpuReport, NpuResult, write_report


def examine(folder: Path, data: Path, request: Request, out: Path, count: int, advance: Advance) -> NpuReport:
    """Write each network and the report into `out`. Raises ToolError, BundleError, OSError.

    `advance` is told after each picture, from the first again for each network.
    """
    request.check()
    bundle = load_bundle(folder)
    graph, weights = float_network(bundle)
    dataset = labelled_for(data, bundle)
    segmenter = Predictor("onnxruntime").open(bundle)
    reference = reference_of(segmenter, bundle, dataset, count, advance)
    segmenter.close()
    out.mkdir(parents=True, exist_ok=True)
    results, version = [], ""
    for target in request.targets:
        with simulated(bundle, graph, weights, target, request) as one:
            parity = parity_of(one.segmenter, bundle, reference, advance)
            results.append(NpuResult(target, len(one.data), one.layers, estimate(list(one.layers)), parity))
            write_atomically(out / FILES[target], one.data)
            version = one.version
    report = NpuReport(
        model_id=bundle.model_id,
        toolkit_version=version,
        data="/".join(data.resolve().parts[-2:]),
        pictures=len(reference.pictures),
        macs=count_macs(graph, bundle.input_contract.tile_px),
        float_scores=reference.scores,
        results=tuple(results),
    )
    write_report(report, out)
    return report
