"""Files that only their owner can read, and that are replaced as a whole."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def replace_private_file(
    file: Path, content: bytes, *, unfinished: str = "", durable: bool = False
) -> None:
    """Write a file whose readers see the old content or the new one.

    Args:
        file: Its path. Its folder exists.
        content: All of its bytes.
        unfinished: The suffix of the temporary file, by which a killed write's file is found.
        durable: Wait until the content is on the disk.

    Raises:
        OSError: The file cannot be written. The temporary file is deleted.
    """
    # mkstemp creates a file that only its owner can read.
    descriptor, name = tempfile.mkstemp(prefix=f"{file.name}.", suffix=unfinished, dir=file.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as written:
            written.write(content)
            if durable:
                written.flush()
                os.fsync(written.fileno())
        temporary.replace(file)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
