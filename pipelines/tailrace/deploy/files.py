"""Plans the files of a deployment for a project, and writes them."""

from __future__ import annotations

import os
from pathlib import Path

from tailrace import __version__
from tailrace.config.project import ProjectConfig
from tailrace.deploy.github_actions import Deployment, github_actions
from tailrace.deploy.variables import variables_of
from tailrace.destinations.registry import project_models
from tailrace.errors import ConfigurationError

# The warehouses whose extra has their name.
WAREHOUSE_EXTRAS = ("mariadb", "postgres", "spark")
GENERATED = "# Written by `tailrace deploy "


def deployment_of(project: ProjectConfig) -> Deployment:
    """The workflows of GitHub Actions for a project.

    Raises:
        ConfigurationError: A setting is wrong.
    """
    root = repository_of(project.root)
    folder = project.root.resolve().relative_to(root).as_posix()
    destinations = dict.fromkeys(
        sync.destination_name
        for model in project_models(project).audiences()
        if model.audience is not None
        for sync in model.audience.syncs()
    )
    state_url = project.value_of("tailrace", "state_url")
    return github_actions(
        variables=variables_of(project, tuple(destinations)),
        folder=folder,
        install=_install_command(project, root),
        target=project.target,
        state_url=None if state_url is None else str(state_url),
        keeps_state=state_url is not None or project.settings.warehouse != "duckdb",
    )


def changed_files(
    deployment: Deployment, root: Path, *, force: bool, write: bool
) -> tuple[str, ...]:
    """Write the files into a repository, and return the paths of those that change.

    Args:
        deployment: The files.
        root: The repository.
        force: Overwrite files that Tailrace has not written.
        write: Write them; otherwise only say what would change.

    Raises:
        ConfigurationError: A file is there that Tailrace has not written, or cannot be written.
            Nothing is written then.
    """
    paths = {root / name: text for name, text in deployment.files.items()}
    try:
        before = {path: path.read_text(encoding="utf-8") for path in paths if path.exists()}
        for path, text in before.items():
            if not force and not text.startswith(GENERATED):
                raise ConfigurationError(
                    f"{path.relative_to(root)} is there, and Tailrace has not written it",
                    hint="Move it away, or overwrite it with: "
                    "tailrace deploy github-actions --force",
                )
        for path, text in paths.items() if write else ():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise ConfigurationError(
            f"{os.path.relpath(str(error.filename), root)} cannot be written: {error.strerror}",
            hint="Correct its permissions, then run the same command again.",
        ) from None
    return tuple(
        path.relative_to(root).as_posix() for path in paths if before.get(path) != paths[path]
    )


def repository_of(folder: Path) -> Path:
    """The git repository that a folder is in, else the folder itself."""
    folder = folder.resolve()
    return next((path for path in (folder, *folder.parents) if (path / ".git").exists()), folder)


def _install_command(project: ProjectConfig, root: Path) -> str:
    for folder in (project.root.resolve(), root):
        file = folder / "requirements.txt"
        if file.is_file():
            return f"pip install -r {file.relative_to(root).as_posix()}"
    extras = [
        *(["alerts"] if project.value_of("tailrace.alerts", "urls") else []),
        *([project.settings.warehouse] if project.settings.warehouse in WAREHOUSE_EXTRAS else []),
        *(["state"] if project.value_of("tailrace", "state_url") is not None else []),
    ]
    named = f"[{','.join(extras)}]" if extras else ""
    return f'pip install "tailrace{named}=={__version__}"'
