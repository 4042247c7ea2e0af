"""The manifest: which parts make up the DuckDB file of one generation.

The manifest is the only object that decides. A generation exists when its manifest was written in
place of the one before it; parts without a manifest are waste.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from tailrace.config.installation import LEDGER_VERSION, upgrade_hint
from tailrace.dataclass import dataclass
from tailrace.errors import StateDamaged, StateTooNew
from tailrace.state.store import Store

MANIFEST = "manifest.json"
PARTS = "parts"
FORMAT = 1
# DuckDB's file: three headers of 4 KiB, then blocks of 256 KiB. A checkpoint rewrites the headers
# and some blocks in place, so equal offsets are compared.
HEADER_BYTES = 12_288
BLOCK_BYTES = 262_144
PART_BLOCKS = 16
# The place of the storage version in a DuckDB file.
STORAGE_VERSION_AT = slice(12, 20)
# A folder also has parts that a killed process began to write.
PART_NAME = re.compile(r"^parts/(\d{10})-[0-9a-f]{16}-\d{6}(\.\w+\.unfinished)?$")


@dataclass(frozen=True, kw_only=True)
class Engine:
    """The DuckDB of this process.

    Attributes:
        version: Such as `2.0.1`.
        storage_version_max: Returns the newest storage version that it can read.
    """

    version: str
    storage_version_max: Callable[[], int]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of the file: its object, its SHA-256, and its size before and after compression."""

    name: str
    sha256: str
    size: int
    stored: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One generation of the state.

    Attributes:
        generation: 1 for the first one.
        write_id: Random, so that no two manifests have the same content.
        written_at: When it was written.
        tailrace_version: The Tailrace that wrote it.
        ledger_version: The newest version of a ledger in the file.
        duckdb_version: The DuckDB that wrote it.
        storage_version: The storage version of the file.
        part_bytes: The size of every part but the header and the last one.
        parts: In the order of the file.
    """

    generation: int
    write_id: str
    written_at: str
    tailrace_version: str
    ledger_version: int
    duckdb_version: str
    storage_version: int
    part_bytes: int
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """The size of the DuckDB file in bytes."""
        return sum(part.size for part in self.parts)

    @property
    def stored_size(self) -> int:
        """The size of the compressed parts in bytes."""
        return sum(part.stored for part in self.parts)

    def to_bytes(self) -> bytes:
        return json.dumps({"format": FORMAT, **asdict(self)}).encode()

    @classmethod
    def from_bytes(cls, body: bytes) -> Manifest:
        """
        Raises:
            StateTooNew: A newer Tailrace wrote it.
            StateDamaged: It is not a manifest.
        """
        try:
            entry = json.loads(body)
            if entry["format"] > FORMAT:
                raise StateTooNew(
                    f"The state was written by Tailrace {entry['tailrace_version']} in format "
                    f"{entry['format']}; this Tailrace knows up to {FORMAT}",
                    hint=upgrade_hint(),
                )
            parts = tuple(Part(**part) for part in entry["parts"])
            own = {name: entry[name] for name in cls.__dataclass_fields__ if name != "parts"}
            return cls(**own, parts=parts)
        except (ValueError, KeyError, TypeError):
            raise StateDamaged(f"{MANIFEST} in the store of the state cannot be read") from None

    def require_readable(self, engine: Engine) -> None:
        """Refuse a file that this installation cannot read, before it is downloaded.

        Raises:
            StateTooNew: The ledger or the file's format is newer.
        """
        if self.ledger_version > LEDGER_VERSION:
            raise StateTooNew(
                f"The state has ledger version {self.ledger_version}, written by Tailrace "
                f"{self.tailrace_version}; this Tailrace knows up to {LEDGER_VERSION}",
                hint=upgrade_hint(),
            )
        if _numbers(self.duckdb_version) <= _numbers(engine.version):
            return
        newest = engine.storage_version_max()
        if self.storage_version > newest:
            raise StateTooNew(
                f"The state is a DuckDB file of storage version {self.storage_version}, written by "
                f"DuckDB {self.duckdb_version}; DuckDB {engine.version} reads up to {newest}",
                hint=f'Install the same DuckDB: pip install "duckdb>={self.duckdb_version}"',
            )

    def as_dict(self) -> dict[str, Any]:
        """The generation in a `--json` result."""
        return {
            "generation": self.generation,
            "written_at": self.written_at,
            "bytes": self.size,
            "stored_bytes": self.stored_size,
            "parts": len(self.parts),
            "tailrace_version": self.tailrace_version,
            "ledger_version": self.ledger_version,
            "duckdb_version": self.duckdb_version,
        }


def read_manifest(store: Store) -> tuple[Manifest, str] | None:
    """The current manifest and its version in the store; None if the store is empty."""
    stored = store.get(MANIFEST)
    return (Manifest.from_bytes(stored.body), stored.version) if stored is not None else None


def new_write_id() -> str:
    """A random id for one generation that is about to be written."""
    return secrets.token_hex(8)


def part_name(generation: int, write_id: str, index: int) -> str:
    """The name of a part. It carries the generation that it was written for.

    So a part that a manifest does not name, and whose generation is not newer, is waste for ever:
    no later manifest can name it, and it may be deleted at any time.
    """
    return f"{PARTS}/{generation:010d}-{write_id}-{index:06d}"


def generation_of(name: str) -> int | None:
    """The generation that a part was written for; None if it is not a part.

    >>> generation_of(part_name(7, "0123456789abcdef", 3)), generation_of("parts/other")
    (7, None)
    """
    match = PART_NAME.match(name)
    return int(match.group(1)) if match else None


def part_sizes(size: int, part_bytes: int) -> list[int]:
    """The sizes of the parts of a file: its header, equal parts, and the rest.

    >>> part_sizes(12_288 + 10, 4), part_sizes(5, 4)
    ([12288, 4, 4, 2], [5])
    """
    sizes = [min(size, HEADER_BYTES)]
    rest = size - sizes[0]
    whole, last = divmod(rest, part_bytes)
    return sizes + [part_bytes] * whole + ([last] if last else [])


def storage_version_of(header: bytes) -> int:
    """The storage version in the first bytes of a DuckDB file."""
    return int.from_bytes(header[STORAGE_VERSION_AT], "little")


def _numbers(version: str) -> tuple[int, ...]:
    """A version for comparison.

    >>> _numbers("1.5.4") < _numbers("2.0.0.dev1")
    True
    """
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
