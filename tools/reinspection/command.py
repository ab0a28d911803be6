"""The command `reinspect`, ready to be registered: `app.command()(reinspect)`. What it needs is loaded when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def reinspect(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder, opt_models/NAME/VERSION.")],
    archive: Annotated[
        Path, typer.Argument(help="Folder tree of pictures, or a device's data_dir (records.sqlite and pictures/).")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the job, outside the archive; the same command goes on where it stopped.")
    ],
    recipe: Annotated[Path | None, typer.Option(help="Recipe file (TOML); default: every defect rejects.")] = None,
    template: Annotated[
        Path | None,
        typer.Option(
            help="Defect-free picture, for a model that takes one, or a folder with one of the same name for each, in "
            "the same subfolder or right in it; default: the recipe's."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Processes on this machine; default: one a core.")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="tcp://HOST:PORT",
            help="Dask scheduler to work on instead. Bundle and archive must have the same absolute path on every "
            "worker; start scheduler and workers with the same environment and PYTHONPATH=. in this repository's "
            "folder, workers with `--nthreads 1`.",
        ),
    ] = None,
    chunk: Annotated[
        int, typer.Option(min=1, max=10_000, help="Pictures inspected, kept and, after a stop, repeated together.")
    ] = 32,
    overlays: Annotated[
        int, typer.Option(min=0, max=1000, help="Pictures to draw: changed verdicts first, then the most defective.")
    ] = 20,
    tile_px: Annotated[
        int | None,
        typer.Option(
            min=8, max=4096, help="Side of the tiles, as the records' `tile_px` tells it; default: the bundle's."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Inspect an archive of any size with a bundle, as the device would: Parquet tables and a report.

    OUT gets pictures.parquet (a row a picture; for a device's records also the
    old verdict and what changed), defects.parquet (a row a defect), report.md,
    report.html and overlays. A picture that cannot be read, or that kills its
    worker, is a row with an error.

    Ctrl-C, a crash or a power cut cost the chunks in work at most: run the same
    command again to go on.
    """
    from tools.reinspection.run import Request
    from tools.reinspection.terminal import run_in_terminal

    request = Request(bundle, archive, out, recipe, template, chunk, overlays, tile_px=tile_px)
    raise typer.Exit(run_in_terminal(request, workers, cluster, json))
