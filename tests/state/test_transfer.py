"""Files in parts: what travels, what is checked, and which parts are waste."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tailrace.errors import StateDamaged
from tailrace.state.folder import FolderStore
from tailrace.state.manifest import HEADER_BYTES, Manifest, Part, part_name
from tailrace.state.transfer import PartMissing, download, sweep, upload

PART_BYTES = 4_096


class Files:
    """A file on each side of a store."""

    def __init__(self, folder: Path) -> None:
        self.store = FolderStore(folder / "store")
        self.source = os.open(folder / "source", os.O_RDWR | os.O_CREAT)
        self.target = os.open(folder / "target", os.O_RDWR | os.O_CREAT)
        self.manifest: Manifest | None = None

    def write(self, content: bytes) -> None:
        os.ftruncate(self.source, 0)
        os.pwrite(self.source, content, 0)

    def upload(self) -> int:
        """Store the source as the next generation; the number of parts that travelled."""
        generation = self.manifest.generation + 1 if self.manifest else 1
        parts, moved = upload(
            self.store,
            self.manifest,
            self.source,
            generation=generation,
            write_id=f"{generation:016x}",
            part_bytes=PART_BYTES,
            in_flight_max=3,
        )
        self.manifest = manifest(generation, parts)
        return moved.parts

    def download(self, *, compare: bool = True) -> int:
        """Write the target; the number of parts that travelled."""
        assert self.manifest is not None
        moved = download(self.store, self.manifest, self.target, compare=compare, in_flight_max=3)
        return moved.parts

    def contents(self) -> tuple[bytes, bytes]:
        size = os.fstat(self.source).st_size
        assert size == os.fstat(self.target).st_size
        return os.pread(self.source, size, 0), os.pread(self.target, size, 0)


def manifest(generation: int, parts: tuple[Part, ...]) -> Manifest:
    return Manifest(
        generation=generation,
        write_id=f"{generation:016x}",
        written_at="",
        tailrace_version="0",
        ledger_version=1,
        duckdb_version="1.5.4",
        storage_version=64,
        part_bytes=PART_BYTES,
        parts=parts,
    )


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    opened = Files(tmp_path)
    yield opened
    os.close(opened.source)
    os.close(opened.target)


def test_only_parts_that_differ_travel(files: Files) -> None:
    """Random edits, longer and shorter files: the copy is always equal."""
    chance = random.Random(7)
    content = bytearray(chance.randbytes(HEADER_BYTES + 9 * PART_BYTES + 17))
    files.write(bytes(content))
    assert (11, 11) == (files.upload(), files.download())
    assert (0, 0) == (files.upload(), files.download())
    content[HEADER_BYTES + 3 * PART_BYTES] ^= 1
    files.write(bytes(content))
    assert (1, 1) == (files.upload(), files.download())
    for _ in range(20):
        for _ in range(chance.randrange(3)):
            content[chance.randrange(len(content))] ^= 255
        if chance.random() < 0.5:
            content = content[: chance.randrange(1, len(content))]
            content += chance.randbytes(chance.randrange(6 * PART_BYTES))
        files.write(bytes(content))
        assert files.upload() == files.download()
        source, target = files.contents()
        assert source == target == bytes(content)
        assert files.manifest is not None
        sweep(files.store, files.manifest)
        assert {part.name for part in files.manifest.parts} == set(files.store.names("parts"))


def test_a_part_that_is_damaged_or_missing_is_an_error(files: Files) -> None:
    files.write(random.Random(1).randbytes(HEADER_BYTES + 2 * PART_BYTES))
    files.upload()
    assert files.manifest is not None
    name = files.manifest.parts[1].name
    whole = files.store.get(name)
    assert whole is not None
    other = files.store.get(files.manifest.parts[2].name)
    assert other is not None
    for body in (whole.body[:-1], b"", other.body):
        files.store.put(name, body)
        with pytest.raises(StateDamaged, match="differs from its checksum"):
            files.download()
    files.store.delete([name])
    with pytest.raises(PartMissing):
        files.download()


def test_a_sweep_leaves_the_parts_of_a_later_generation(files: Files) -> None:
    """They may belong to a run that is about to write its manifest."""
    files.write(b"x" * HEADER_BYTES)
    files.upload()
    assert files.manifest is not None
    names = [part_name(generation, "f" * 16, 0) for generation in (1, 2)]
    unfinished = f"{names[0]}.abc123.unfinished"
    for name in (*names, unfinished, "parts/of-somebody-else"):
        files.store.put(name, b"")
    assert 2 == sweep(files.store, files.manifest)
    kept = {files.manifest.parts[0].name, names[1], "parts/of-somebody-else"}
    assert kept == set(files.store.names("parts"))
