"""`reinspect`: list, inspect what is missing, combine, report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.config import load_recipe
from edge_runtime.config_recipe import RecipeSettings
from edge_runtime.inference.bundle import Bundle, load_bundle
from edge_runtime.vision.recipe_fit import check_recipe
from tools.errors import ToolError
from tools.reinspection.archive import Archive, open_archive
from tools.reinspection.comparison import Reinspected, reinspected
from tools.reinspection.executors import Executor
from tools.reinspection.job import JobFolder, Means, open_job
from tools.reinspection.outcome_tables import write_tables
from tools.reinspection.report import write_report
from tools.reinspection.summary import Summary
from tools.reinspection.tables import read_listing
from tools.reinspection.templates import check_templates, templates_digest
from tools.reinspection.values import CRASHED, InspectionSpec, PictureResult, Results, Task, not_inspected

CRASH_TEXT = "the worker died of this picture each time, also when it was alone"


@dataclass(frozen=True)
class Request:
    """What to inspect with what, and where the results go."""

    bundle_folder: Path
    archive_folder: Path
    out: Path
    recipe_file: Path | None = None
    template: Path | None = None
    chunk_pictures: int = 32
    overlays: int = 20
    backend: str = "paddle_lite"
    picture_limit_s: int = 300
    tile_px: int | None = None


@dataclass(frozen=True)
class Finished:
    """A complete job."""

    folder: Path
    bundle: Bundle
    summary: Summary
    pictures_resumed: int


class Watcher:
    """Told how the job goes on; by itself it shows nothing."""

    def begin(self, pictures: int, done: int) -> None:
        """The archive is listed, `done` of its pictures are on disk from an earlier run."""

    def kept(self, pictures: int) -> None:
        """So many more are on disk."""

    def combine(self) -> None:
        """All are; tables and report are being written."""


def reinspect(
    request: Request, open_executor: Callable[[InspectionSpec], Executor], watcher: Watcher | None = None
) -> Finished:
    """Do what is missing of a job and write its tables and report. Raises EdgeRuntimeError, keeping what is done."""
    watcher = watcher or Watcher()
    bundle = load_bundle(request.bundle_folder)
    recipe = load_recipe(request.recipe_file) if request.recipe_file else RecipeSettings()
    check_recipe(recipe.value(), {each.class_id: each.name for each in bundle.classes})
    template = check_templates(request.template or recipe.template, bundle.input_contract.template)
    archive = open_archive(request.archive_folder)
    spec = _spec(request, bundle, recipe, archive, template)
    means = Means(
        model_id=bundle.model_id,
        bundle_digest=bundle.digest,
        recipe=recipe.model_dump(mode="json"),
        template=spec.template,
        template_sha256=templates_digest(template),
        tile_px=spec.tile_px,
        chunk_pictures=request.chunk_pictures,
    )
    with closing(open_executor(spec)) as executor, open_job(request.out, archive, means) as job:
        resumed = _inspect_missing(job, executor, watcher)
        watcher.combine()
        summary = _combine(job, bundle, request.overlays)
        write_report(job.folder, job.description, bundle, recipe.value(), archive.pictures_folder, summary)
    return Finished(request.out, bundle, summary, resumed)


def _spec(
    request: Request, bundle: Bundle, recipe: RecipeSettings, archive: Archive, template: Path | None
) -> InspectionSpec:
    return InspectionSpec(
        bundle_folder=str(bundle.folder),
        bundle_digest=bundle.digest,
        recipe_json=recipe.model_dump_json(),
        pictures_folder=str(archive.pictures_folder),
        template=None if template is None else str(template),
        backend=request.backend,
        picture_limit_s=request.picture_limit_s,
        tile_px=request.tile_px,
    )


def _inspect_missing(job: JobFolder, executor: Executor, watcher: Watcher) -> int:
    """How many pictures were there already."""
    resumed = job.pictures_done
    watcher.begin(job.description.pictures, resumed)
    if resumed < job.description.pictures:
        executor.check()
    for task, results in inspect_tasks(executor, job.missing_tasks()):
        job.keep(task.chunk, results)
        watcher.kept(len(results))
    return resumed


def inspect_tasks(executor: Executor, tasks: Iterable[Task]) -> Iterator[tuple[Task, Results]]:
    """Each task with one result a picture, in the task's order.

    The pictures of a task that workers died of are inspected one by one, after all others; one that is deadly alone
    becomes a result that says so.
    """
    lost: list[Task] = []
    for task, results in executor.run(tasks):
        if results is None:
            lost.append(task)
        else:
            yield task, results
    for task in lost:
        yield task, _one_by_one(executor, task)


def _one_by_one(executor: Executor, task: Task) -> list[PictureResult]:
    singles = [Task(task.chunk, (path,)) for path in task.paths]
    found = {single.paths[0]: results for single, results in executor.run_suspects(singles)}
    return [
        results[0] if (results := found[path]) is not None else not_inspected(path, CRASHED, CRASH_TEXT)
        for path in task.paths
    ]


def _combine(job: JobFolder, bundle: Bundle, overlays: int) -> Summary:
    summary = Summary(overlays)
    write_tables(job.folder, bundle.classes, summary.passing(_all_pictures(job)))
    return summary


def _all_pictures(job: JobFolder) -> Iterator[Reinspected]:
    for picture, result in zip(read_listing(job.listing), job.results(), strict=True):
        if picture.path != result.path:
            raise ToolError(
                f"{job.folder}: a part holds {result.path} where the list has {picture.path}; choose a new --out"
            )
        yield reinspected(picture, result)
