"""How good a model is on labelled pictures, and how two models differ: by defects, cells and verdicts."""
