"""The project's files: models, their tests, and what is written from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tailrace.project.loaded import LoadedProject
from tailrace.results import Result, listed_model


class Files(LoadedProject):
    """Checks the project's files, and writes others from them."""

    def validate(self, *, select: Sequence[str] = (), exclude: Sequence[str] = ()) -> Result:
        """Check the configuration, the models and the tracking plan, without Salesforce or Segment.

        Models are bound to the tables that have landed: in the DuckDB file if there is one, or on
        the configured server. A server that cannot be reached is a warning.

        Raises:
            tailrace.errors.UserError: Something is wrong; it names the file and the line.
        """
        from tailrace.alerts.sending import require_valid_urls
        from tailrace.run.validation import validate

        require_valid_urls(self.config.alerts())
        with self._former_audiences():
            data = validate(self.config, select=select, exclude=exclude, clock=self.clock)
        return Result(command="validate", data=data)

    def test(self, *, select: Sequence[str] = (), exclude: Sequence[str] = ()) -> Result:
        """Run the tests of models, `NAME.test.yml` beside `NAME.sql`, without a network.

        Args:
            select: As of `plan`.
            exclude: As of `plan`.

        Returns:
            Exit code 1 if a test fails, and 2 if a file of tests or a model is wrong.
        """
        from tailrace.model_tests.runner import test_models

        with self._former_audiences():
            done = test_models(self.config, select=select, exclude=exclude, clock=self.clock)
        return Result(
            command="test", exit_code=done.exit_code, data=done.as_dict(), errors=done.errors
        )

    def ls(
        self,
        *,
        select: Sequence[str] = (),
        exclude: Sequence[str] = (),
        manifest: Path | str | None = None,
    ) -> Result:
        """The models in the order in which they are built, and the errors of the others.

        Args:
            select: As of `plan`.
            exclude: As of `plan`.
            manifest: Write the fingerprints of all models to this file, for `state:modified`.

        Raises:
            tailrace.errors.UserError: No model can be listed.
        """
        from tailrace.models.manifest import write_manifest
        from tailrace.reporting.selection import select_usable

        with self._former_audiences():
            selected = select_usable(self.config, select, exclude)
        if manifest is not None:
            write_manifest(selected.models, Path(manifest).absolute())
        return Result(
            command="ls",
            exit_code=int(bool(selected.errors)),
            data={"models": [listed_model(model) for model in selected.chosen]},
            errors=selected.errors,
        )

    def deploy(self, *, force: bool = False, dry_run: bool = False) -> Result:
        """Write the workflows of GitHub Actions: a scheduled run, and the plan of a pull request.

        Args:
            force: Overwrite workflows that Tailrace has not written.
            dry_run: Only return what would be written.

        Raises:
            tailrace.errors.ConfigurationError: A workflow is there that Tailrace has not written.
        """
        from tailrace.deploy.files import changed_files, deployment_of, repository_of

        deployment = deployment_of(self.config)
        root = repository_of(self.config.root)
        changed = changed_files(deployment, root, force=force, write=not dry_run)
        data = {"dry_run": dry_run, **deployment.as_dict(), "changed": list(changed)}
        return Result(command="deploy", data=data)

    def dbt_exposures(
        self,
        *,
        select: Sequence[str] = (),
        exclude: Sequence[str] = (),
        out: Path | str | None = None,
        check: bool = False,
    ) -> Result:
        """Describe the audiences that read models of dbt as exposures, as YAML and as objects.

        Args:
            select: As of `plan`.
            exclude: As of `plan`.
            out: Write the YAML to this file.
            check: Write nothing, and raise if the file differs.

        Raises:
            tailrace.errors.DbtManifestInvalid: dbt's manifest cannot be read.
            tailrace.errors.DbtExposuresOutdated: The file differs, and `check` is set.
        """
        from tailrace.destinations.registry import project_models
        from tailrace.reporting.dbt_exposures import exposures

        models = project_models(self.config)
        chosen = models.select(select, exclude)
        file = None if out is None else Path(out).absolute()
        data = exposures(self.config, models, chosen, file=file, check=check)
        return Result(command="dbt", data=data)

    def tracking_plan(
        self,
        *,
        select: Sequence[str] = (),
        exclude: Sequence[str] = (),
        out: Path | str | None = None,
    ) -> Result:
        """Draft a tracking plan of what the audiences send, as YAML and as an object.

        Args:
            select: As of `plan`.
            exclude: As of `plan`.
            out: Write the YAML to this file. A `tracking_plan.yaml` in the project is enforced.
        """
        from tailrace.reporting.selection import select_usable
        from tailrace.reporting.tracking_plan_draft import draft

        with self._former_audiences():
            selected = select_usable(self.config, select, exclude)
        file = None if out is None else Path(out).absolute()
        data = draft(self.config, selected, file=file, clock=self.clock)
        code = int(bool(selected.errors))
        return Result(command="tracking-plan", exit_code=code, data=data, errors=selected.errors)
