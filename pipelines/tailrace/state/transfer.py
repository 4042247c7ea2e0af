"""Moves a DuckDB file to and from the store, part by part; only parts that differ travel."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import accumulate, islice
from typing import Any, NamedTuple, TypeVar

from tailrace.errors import StateDamaged
from tailrace.state.manifest import Manifest, Part, generation_of, part_name, part_sizes
from tailrace.state.store import Store

A = TypeVar("A")
B = TypeVar("B")

# Zstandard's fastest level: a level more saves some 5 % and takes half as long again.
CODEC, CODEC_LEVEL = "zstd", 1
DELETED_AT_ONCE = 1_000


class PartMissing(Exception):
    """A part does not exist. A newer generation may have replaced it meanwhile."""


class Transferred(NamedTuple):
    """What a transfer moved: the parts, and their compressed bytes."""

    parts: int
    stored: int


def download(
    store: Store, manifest: Manifest, file: int, *, compare: bool, in_flight_max: int
) -> Transferred:
    """Write the file of a manifest in place. Memory: two parts for each transfer in flight.

    Args:
        store: The store.
        manifest: The generation to write.
        file: A descriptor to read and write.
        compare: The file has content; parts that are equal are not downloaded.
        in_flight_max: Parts that are downloaded at the same time.

    Raises:
        PartMissing: A part does not exist.
        StateDamaged: A part differs from its checksum.
    """
    os.ftruncate(file, manifest.size)
    codec = _codec()

    def fetch(numbered: tuple[Part, int]) -> int:
        part, offset = numbered
        if compare and _digest(os.pread(file, part.size, offset)) == part.sha256:
            return 0
        stored = store.get(part.name)
        if stored is None:
            raise PartMissing(f"{part.name} is missing in {store.url}")
        try:
            # A buffer of Arrow: a copy of each part would take a fifth of the time.
            content = memoryview(codec.decompress(stored.body, part.size))
        except (OSError, ValueError):
            content = memoryview(b"")
        if _digest(content) != part.sha256:
            raise StateDamaged(f"{part.name} in {store.url} differs from its checksum")
        _write_at(file, content, offset)
        return len(stored.body)

    offsets = accumulate((part.size for part in manifest.parts), initial=0)
    numbered = zip(manifest.parts, offsets, strict=False)
    sizes = list(_in_threads(fetch, numbered, in_flight_max))
    return Transferred(sum(size > 0 for size in sizes), sum(sizes))


def upload(
    store: Store,
    base: Manifest | None,
    file: int,
    *,
    generation: int,
    write_id: str,
    part_bytes: int,
    in_flight_max: int,
) -> tuple[tuple[Part, ...], Transferred]:
    """Store the parts of a file that differ from the base generation.

    Returns:
        The parts of the whole file, and what was transferred.
    """
    codec = _codec()
    size = os.fstat(file).st_size
    known = base.parts if base is not None and base.part_bytes == part_bytes else ()

    def store_part(numbered: tuple[int, int, int]) -> tuple[Part, bool]:
        index, length, offset = numbered
        content = os.pread(file, length, offset)
        digest = _digest(content)
        if index < len(known) and known[index].sha256 == digest:
            return known[index], False
        body = bytes(codec.compress(content, asbytes=True))
        name = part_name(generation, write_id, index)
        store.put(name, body)
        return Part(name=name, sha256=digest, size=length, stored=len(body)), True

    sizes = part_sizes(size, part_bytes)
    offsets = accumulate(sizes, initial=0)
    numbered = zip(range(len(sizes)), sizes, offsets, strict=False)
    done = list(_in_threads(store_part, numbered, in_flight_max))
    new = [part for part, is_new in done if is_new]
    return tuple(part for part, _ in done), Transferred(len(new), sum(part.stored for part in new))


def sweep(store: Store, manifest: Manifest) -> int:
    """Delete the parts that no generation needs any more, and return their number.

    Called after the manifest was written. Newer parts belong to a run that is about to write.
    """
    used = {part.name for part in manifest.parts}
    waste = [
        name
        for name in store.names("parts")
        if name not in used
        and (generation_of(name) or manifest.generation + 1) <= manifest.generation
    ]
    for first in range(0, len(waste), DELETED_AT_ONCE):
        store.delete(waste[first : first + DELETED_AT_ONCE])
    return len(waste)


def _in_threads(action: Callable[[A], B], items: Iterable[A], in_flight_max: int) -> Iterator[B]:
    """The results in order. After a failure no further item begins."""
    remaining = iter(items)
    results: dict[int, B] = {}
    with ThreadPoolExecutor(in_flight_max, thread_name_prefix="tailrace-state") as executor:
        numbers: dict[Future[B], int] = {}
        begun = 0
        while True:
            for item in islice(remaining, in_flight_max * 2 - len(numbers)):
                numbers[executor.submit(action, item)] = begun
                begun += 1
            if not numbers:
                break
            done, _ = wait(numbers, return_when=FIRST_COMPLETED)
            for future in done:
                results[numbers.pop(future)] = future.result()
    yield from (results[number] for number in range(begun))


def _codec() -> Any:
    import pyarrow as pa

    return pa.Codec(CODEC, compression_level=CODEC_LEVEL)


def _digest(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()


def _write_at(file: int, view: memoryview, offset: int) -> None:
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written
