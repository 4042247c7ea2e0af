"""A private file is replaced as a whole, and a failed write leaves nothing behind."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tailrace.config.private_file import replace_private_file


def test_only_the_owner_can_read_it_whatever_the_old_file_allowed(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    file.write_bytes(b"old")
    file.chmod(0o644)

    replace_private_file(file, b"new", durable=True)

    assert file.read_bytes() == b"new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_failed_write_keeps_the_old_file_and_deletes_the_temporary_one(tmp_path: Path) -> None:
    folder = tmp_path / "record.json"
    (folder / "in_it").mkdir(parents=True)

    with pytest.raises(OSError, match=r"record\.json"):
        replace_private_file(folder, b"new")

    assert list(tmp_path.iterdir()) == [folder]
