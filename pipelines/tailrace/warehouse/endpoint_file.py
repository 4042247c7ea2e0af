"""The file that names the read endpoint of the process that has the DuckDB file open.

Another process cannot open the file meanwhile, so that process answers questions about it. The
file lies in the project's `.tailrace/`, is readable by its owner only, and is removed at the end.
A file that a killed process left behind is ignored.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, field
from pathlib import Path

from tailrace.config.private_file import replace_private_file
from tailrace.config.project import ProjectConfig
from tailrace.dataclass import dataclass

LOOPBACK = "127.0.0.1"
FILE_BYTES_MAX = 4_096


@dataclass(frozen=True, kw_only=True)
class EndpointAddress:
    """A port of 127.0.0.1, the token that it asks for, and the process and the run behind it."""

    port: int
    token: str = field(repr=False)
    process: int
    host: str
    run_id: str = ""

    @classmethod
    def of_this_process(cls, port: int, token: str, *, run_id: str = "") -> EndpointAddress:
        return cls(port=port, token=token, process=os.getpid(), host=platform.node(), run_id=run_id)


def endpoint_file(project: ProjectConfig) -> Path:
    """The path of the file; targets that share a DuckDB file share it."""
    warehouse = hashlib.sha256(str(project.duckdb_file.resolve()).encode()).hexdigest()
    return project.root / ".tailrace" / f"read-endpoint-{warehouse[:12]}.json"


@contextmanager
def published(project: ProjectConfig, address: EndpointAddress) -> Iterator[None]:
    """Keep the file in place for as long as the endpoint answers."""
    path = endpoint_file(project)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_private_file(path, json.dumps(asdict(address)).encode())
    try:
        yield
    finally:
        if _read(path) == address:
            path.unlink(missing_ok=True)


def find_endpoint(project: ProjectConfig) -> EndpointAddress | None:
    """The endpoint of a live process on this machine, if the file names one."""
    address = _read(endpoint_file(project))
    if address is None or address.host != platform.node() or not _is_alive(address.process):
        return None
    return address


def _read(path: Path) -> EndpointAddress | None:
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        with path.open("rb") as file:
            fields = json.loads(file.read(FILE_BYTES_MAX))
        return EndpointAddress(
            port=int(fields["port"]),
            token=str(fields["token"]),
            process=int(fields["process"]),
            host=str(fields["host"]),
            run_id=str(fields.get("run_id", "")),
        )
    return None


def _is_alive(process: int) -> bool:
    if process <= 0:
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
