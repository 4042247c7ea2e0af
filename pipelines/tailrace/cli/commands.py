"""What each command does once its options are read: one call of the engine, one result.

A result is the object that `--json` prints. The engine is imported inside the functions, so that
`tailrace --help` stays quick and the offline commands never pay for dlt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tailrace.clock import SystemClock, format_utc
from tailrace.errors import NothingLanded, TailraceError

if TYPE_CHECKING:
    from tailrace.config.project import ProjectConfig
    from tailrace.models.loader import Model, Models
    from tailrace.plan.policy import PlanOptions

Result = dict[str, Any]
Progress = Callable[[str, int, int], None]

CHANGES_PENDING = 5


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which audiences a command is about."""

    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Choosing:
    """What the command line decides about a plan, as it was written."""

    allow: tuple[tuple[str, str], ...] = ()
    on_definition_change: str | None = None
    on_mapping_change: str | None = None
    on_new_column: str | None = None
    intent: str = "changes"

    def options(self) -> PlanOptions:
        """The same in the engine's words."""
        from tailrace.plan.policy import PlanOptions

        return PlanOptions(
            allow=frozenset(self.allow),
            on_definition_change=self.on_definition_change,
            on_mapping_change=self.on_mapping_change,
            on_new_column=self.on_new_column,
            intent=self.intent,  # type: ignore[arg-type]
        )


def answer(command: str, *, exit_code: int = 0, **more: Any) -> Result:
    """A result of the shape that all commands share."""
    return {
        "schema_version": 1,
        "command": command,
        "exit_code": exit_code,
        **more,
        "errors": more.get("errors", []),
    }


def refusal(command: str, error: TailraceError) -> Result:
    """The result of a command that did not come to an end."""
    errors = [each.as_dict() for each in error.flattened()]
    return answer(command, exit_code=error.exit_code, errors=errors)


def crash(command: str, error: Exception) -> Result:
    """The result of a command that met what nobody expected.

    The text of an exception may quote a row or a secret, so only its type and place are said;
    what the operating system says is about files and is said as it is.
    """
    if isinstance(error, OSError) and error.strerror:
        about = f" ({error.filename})" if error.filename else ""
        entry = {"message": f"{error.strerror}{about}", "hint": "Details: the same with --debug"}
    else:
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        place = (
            f" at {Path(last.tb_frame.f_code.co_filename).name}:{last.tb_lineno}" if last else ""
        )
        entry = {
            "message": f"Tailrace met a defect of its own: {type(error).__name__}{place}",
            "hint": "See the traceback with --debug or TAILRACE_DEBUG=1, and please report it.",
        }
    return answer(command, exit_code=1, errors=[{"error": type(error).__name__, **entry}])


def init(directory: Path) -> Result:
    """Write the starter project."""
    from tailrace.cli.init import scaffold

    done = scaffold(directory)
    return answer("init", project=str(done.root), created=[*done.created], kept=[*done.kept])


def validate(directory: Path, target: str | None, selection: Selection) -> Result:
    """Read the configuration and every model, and say what is wrong with them."""
    from tailrace.destinations.segment.tracking_plan import TrackingPlan

    project = _project(directory, target)
    chosen = _chosen(_models(project), selection)
    TrackingPlan.read(project.tracking_plan_file)
    audiences = sum(model.audience is not None for model in chosen)
    warnings = [each.as_dict() for model in chosen for each in _remarks(model)]
    return answer("validate", models=len(chosen), audience_count=audiences, warnings=warnings)


def ls(directory: Path, target: str | None, selection: Selection) -> Result:
    """The models in the order they are built."""
    chosen = _chosen(_models(_project(directory, target)), selection)
    return answer("ls", models=[_listed(model) for model in chosen])


def demo() -> Iterator[Result]:
    """The runs of the demo, each as it ends."""
    from tailrace.cli.demo import story

    for chapter in story():
        told = {"title": chapter.title, "who": chapter.who, "example": chapter.example}
        yield answer("demo", exit_code=chapter.exit_code) | chapter.result | told


def doctor(directory: Path, target: str | None) -> Result:
    """Look at everything that a run needs."""
    from tailrace.cli.doctor import examine, exit_code

    checks = examine(directory, target, clock=SystemClock())
    return answer("doctor", exit_code=exit_code(checks), checks=[c.as_dict() for c in checks])


def extract(
    directory: Path,
    target: str | None,
    selection: Selection,
    *,
    reconcile: bool,
    afresh: bool,
    progress: Progress,
) -> Result:
    """Land what Salesforce has."""
    from tailrace.run import job

    project = _project(directory, target)
    objects = _objects(project, selection)
    done = job.extract(
        project,
        clock=SystemClock(),
        objects=objects,
        reconcile=reconcile,
        afresh=afresh,
        progress=progress,
    )
    return answer("extract", exit_code=done.exit_code) | done.as_dict()


def plan(
    directory: Path,
    target: str | None,
    selection: Selection,
    chosen: Choosing,
    *,
    detailed_exitcode: bool,
    out: Path | None = None,
) -> Result:
    """What a run would do, without doing it."""
    from tailrace.run import job

    made = job.plan(
        _project(directory, target),
        clock=SystemClock(),
        select=selection.select,
        exclude=selection.exclude,
        options=chosen.options(),
        out=out,
    )
    code = made.exit_code
    if code == 0 and detailed_exitcode and made.pending:
        code = CHANGES_PENDING
    run_id = f"{made.planned_at:%Y-%m-%dT%H:%M:%SZ}-plan"
    return answer("plan", run_id=run_id) | made.as_dict() | {"exit_code": code}


def deliver(
    command: str,
    directory: Path,
    target: str | None,
    selection: Selection,
    chosen: Choosing,
    *,
    progress: Progress,
    plan_file: Path | None = None,
    resend: bool = False,
) -> Result:
    """`sync`, or what differs from it by its intent, or `run`, which extracts first."""
    from tailrace.run import job

    carry_out = job.run if command == "run" else partial(job.sync, plan_file=plan_file)
    done = carry_out(
        _project(directory, target),
        clock=SystemClock(),
        select=selection.select,
        exclude=selection.exclude,
        options=chosen.options(),
        resend=resend,
        progress=progress,
    )
    return answer(command, exit_code=done.exit_code) | done.as_dict()


def status(directory: Path, target: str | None) -> Result:
    """The last runs and where each audience stands."""
    from tailrace.run import job

    try:
        found = job.status(_project(directory, target), clock=SystemClock())
    except NothingLanded:
        found = {"runs": [], "audiences": []}
    return answer("status") | found


def retire(
    directory: Path, target: str | None, audience: str, *, resend: bool, progress: Progress
) -> Result:
    """Send everybody's exit once, and close the audience's ledger."""
    from tailrace.run import job

    project = _project(directory, target)
    done = job.retire(project, audience, clock=SystemClock(), resend=resend, progress=progress)
    return answer("retire", exit_code=done.exit_code) | done.as_dict()


def replay(
    directory: Path,
    target: str | None,
    audience: str,
    destination: str,
    *,
    history: bool,
    resend: bool,
    progress: Progress,
) -> Result:
    """Bring a new destination up from the ledger."""
    from tailrace.run import job

    done = job.replay(
        _project(directory, target),
        audience,
        destination,
        clock=SystemClock(),
        history=history,
        resend=resend,
        progress=progress,
    )
    return answer("replay", exit_code=done.exit_code) | done.as_dict()


def tracking_plan(
    directory: Path, target: str | None, selection: Selection, *, out: Path | None
) -> Result:
    """Draft a tracking plan of what the audiences send, as JSON and as YAML."""
    import yaml

    from tailrace.reporting.tracking_plan_draft import draft_of

    project = _project(directory, target)
    plan = draft_of(
        project, clock=SystemClock(), select=selection.select, exclude=selection.exclude
    )
    text = yaml.safe_dump(plan, sort_keys=False, allow_unicode=True, width=100)
    if out is not None:
        out.write_text(text, encoding="utf-8")
    written = str(out) if out is not None else None
    return answer("tracking-plan", tracking_plan=plan, yaml=text, file=written)


def rename(directory: Path, target: str | None, old_name: str, new_name: str) -> Result:
    """Carry an audience's ledger over to another name."""
    from tailrace.ledger import maintenance

    project = _project(directory, target)
    return answer("rename") | maintenance.rename(project, old_name, new_name, clock=SystemClock())


def rebind(directory: Path, target: str | None, destination: str) -> Result:
    """Accept a destination's rotated credential."""
    from tailrace.run import job

    project = _project(directory, target)
    return answer("destinations") | job.rebind(project, destination, clock=SystemClock())


def purge(directory: Path, target: str | None, older_than: timedelta) -> Result:
    """Forget what was settled longer ago."""
    from tailrace.ledger import maintenance

    project = _project(directory, target)
    return answer("purge") | maintenance.purge(project, older_than=older_than, clock=SystemClock())


def rejected(directory: Path, target: str | None) -> Result:
    """What was refused, by reason."""
    from tailrace.ledger import maintenance

    try:
        found = maintenance.rejected(_project(directory, target), clock=SystemClock())
    except NothingLanded:
        found = {"rejected": []}
    return answer("rejected") | found


def trace(directory: Path, target: str | None, person: str, *, show_values: bool) -> Result:
    """A person's way through all audiences."""
    from tailrace.reporting import history

    project = _project(directory, target)
    found = history.trace(project, person, clock=SystemClock(), show_values=show_values)
    return answer("trace") | found


def history(directory: Path, target: str | None, audience: str, at: datetime | None) -> Result:
    """An audience's sizes over time, or who was in it at a moment."""
    from tailrace.reporting import history

    project = _project(directory, target)
    if at is None:
        return answer("history") | history.sizes(project, audience, clock=SystemClock())
    keys = history.members_at(project, audience, at, clock=SystemClock())
    members = [list(key) for key in keys]
    return answer("history", audience=audience, at=format_utc(at), members=members)


def _objects(project: ProjectConfig, selection: Selection) -> tuple[str, ...] | None:
    """The objects that the selected models read; None stands for all that are configured."""
    if not selection.select and not selection.exclude:
        return None
    from tailrace.models.loader import landed_name

    models = _models(project)
    chosen = models.select(selection.select, selection.exclude)
    tables = {table for model in chosen for table in models.objects_read(model.name)}
    return tuple(name for name in project.salesforce().objects if landed_name(name) in tables)


def _project(directory: Path, target: str | None) -> ProjectConfig:
    from tailrace.config.project import load_project

    return load_project(directory, target=target)


def _models(project: ProjectConfig) -> Models:
    from tailrace.models.loader import read_models

    return read_models(project.models_folder, objects=project.salesforce().objects)


def _chosen(models: Models, selection: Selection) -> Sequence[Model]:
    return models.select(selection.select, selection.exclude)


def _remarks(model: Model) -> list[Any]:
    from tailrace.run import notices

    return [*model.warnings, *(notices.of_header(model.audience) if model.audience else ())]


def _listed(model: Model) -> Result:
    audience = model.audience
    return {
        "name": model.name,
        "kind": model.kind,
        "materialized": model.materialized,
        "path": str(model.path),
        "depends_on": _sorted(model.depends_on),
        "reads": _sorted(model.reads),
        "columns": None if model.columns is None else list(model.columns),
        "key": list(audience.key) if audience else None,
        "tags": list(audience.tags) if audience else [],
    }


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(names)
