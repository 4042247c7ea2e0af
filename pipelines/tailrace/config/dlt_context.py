"""dlt's run context of a project: what dlt reads and writes while the project is open.

dlt looks for settings in the working directory and keeps working files in the home directory.
A context of its own gives it the project's folders and layers instead, so that neither the working
directory nor the environment of the process changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dlt
from dlt.common.configuration.container import Container
from dlt.common.configuration.providers import (
    ConfigTomlProvider,
    CustomLoaderDocProvider,
    EnvironProvider,
    SecretsTomlProvider,
)
from dlt.common.configuration.providers.provider import ConfigProvider
from dlt.common.configuration.resolve import resolve_configuration
from dlt.common.configuration.specs import RuntimeConfiguration
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
from dlt.common.runtime.run_context import RunContext


class ProjectRunContext(RunContext):
    """The folders and settings of a project, without dlt's telemetry.

    Args:
        root: The project's folder; dlt finds `.dlt/` in it.
        data_folder: Where dlt keeps its working files.
        target_layers: The parsed files of the target, which win over those of the project.
    """

    def __init__(
        self,
        root: Path,
        data_folder: Path,
        target_layers: Sequence[tuple[str, Mapping[str, Any]]] = (),
    ) -> None:
        super().__init__(str(root))
        self._root = str(root)
        self._data_folder = str(data_folder)
        self._target_layers = target_layers

    @property
    def run_dir(self) -> str:
        return self._root

    @property
    def local_dir(self) -> str:
        return self._root

    @property
    def data_dir(self) -> str:
        return self._data_folder

    def initial_providers(self) -> list[ConfigProvider]:
        """The environment, the target's files, the project's files, then dlt's global files."""
        target = [
            CustomLoaderDocProvider(
                file,
                partial(dict, layer),
                supports_secrets=file.endswith("secrets.toml"),
                locations=[file],
            )
            for file, layer in self._target_layers
        ]
        return [
            EnvironProvider(),
            *target,
            SecretsTomlProvider(self.settings_dir, self.global_dir),
            ConfigTomlProvider(self.settings_dir, self.global_dir),
        ]

    def initialize_runtime(self, runtime_config: RuntimeConfiguration | None = None) -> None:
        # dlt starts its telemetry once per process, with the first context.
        config = runtime_config or resolve_configuration(RuntimeConfiguration())
        config.dlthub_telemetry = False
        super().initialize_runtime(config)


@contextmanager
def entered(context: ProjectRunContext) -> Iterator[None]:
    """Let dlt work in a context; the context of the caller, if there is one, returns after it.

    dlt has one context per process: of projects that are open at the same time in several threads,
    the one that was opened last is in force.
    """
    container = Container()
    if PluggableRunContext not in container:
        container[PluggableRunContext] = PluggableRunContext(context)
        try:
            yield
        finally:
            del container[PluggableRunContext]
        return
    pluggable = container[PluggableRunContext]
    before = pluggable.context
    pluggable.reload(context)
    try:
        yield
    finally:
        pluggable.reload(before)


def secret(context: ProjectRunContext, key: str) -> Any:
    """A secret from dlt's providers, which know vaults; None if none of them has it."""
    with entered(context):
        return dlt.secrets.get(key)
