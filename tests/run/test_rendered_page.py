"""The numbers of a streamed page are those of its rows."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tailrace.run.rendered_page import RenderedPage


@pytest.mark.parametrize("numbers", [[], [7, 8, 9], [7, 9, 10], [7, 9, 8, 10]])
def test_rows_that_were_moved_or_deleted_keep_their_numbers(numbers: list[int]) -> None:
    """A tool may have deleted rows of the outbox, or written them in another order."""
    texts = pa.array(["a"] * len(numbers), pa.string())
    columns = [pa.array(numbers, pa.int64()), *([texts] * 7)]
    names = [str(place) for place in range(len(columns))]
    page = RenderedPage.of_arrow(pa.RecordBatch.from_arrays(columns, names=names))
    assert numbers == [*page.seqs]
    assert isinstance(page.seqs, range) == (numbers in ([], [7, 8, 9]))
