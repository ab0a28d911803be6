"""A script: one engine's logits, loss and gradients for the cases in a folder, where that engine is installed.

Arguments: paddle or torch, the folder. A case is NAME.network.npz, NAME.npz with images and classes, and maybe
NAME.teacher.npz; NAME.ENGINE.npz comes out.
"""

import sys
from pathlib import Path

import numpy as np

from tools.engines import Teacher, feature_nodes, open_engine, predictor
from tools.network_file import load_network
from tools.runs import DataShare, Distillation, TrainSettings


def answers(engine_name, folder, name):
    graph, weights = load_network(folder / f"{name}.network.npz")
    with np.load(folder / f"{name}.npz") as stored:
        images, classes = stored["images"], stored["classes"]
    teacher = None
    if (folder / f"{name}.teacher.npz").exists():
        taught, its_weights = load_network(folder / f"{name}.teacher.npz")
        teacher = Teacher(taught, its_weights, tuple(n for n in feature_nodes(taught) if n in graph.channels()))
    settings = TrainSettings(
        data=(DataShare("unused", 1.0),),
        engine=engine_name,
        precision="float32",
        replicas=1,
        class_weights=(1.0, *np.linspace(0.5, 4.0, graph.class_count - 1).tolist()),
        frozen=("stem.bn",),
        distillation=Distillation() if teacher else None,
    )
    engine = open_engine(settings, graph, teacher)
    engine.set_weights(weights)
    gradients, loss = engine.gradient(images, classes)
    logits = predictor(engine_name, graph, weights)(images)
    return {"logits": logits, "loss": np.float64(loss), **{f"gradient {key}": g for key, g in gradients.items()}}


if __name__ == "__main__":
    for path in sorted(Path(sys.argv[2]).glob("*.network.npz")):
        case = path.name.removesuffix(".network.npz")
        np.savez(path.with_name(f"{case}.{sys.argv[1]}.npz"), **answers(sys.argv[1], path.parent, case))
