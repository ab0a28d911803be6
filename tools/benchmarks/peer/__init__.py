"""One peer in its own process, run by the interpreter of `.venv-peers`; imports nothing else of this repository."""
