"""The ids of the records that a job updates by an external id.

Only an upsert takes an external id, and an upsert would create records. An update job needs the
column Id, so that the ids are asked for before the upload, and results are matched by them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from tailrace.destinations.ingest import JobResult
from tailrace.destinations.salesforce.batch_writer import NO_RECORD, SEVERAL
from tailrace.destinations.salesforce.describe import NUMBER_TYPES, WritableField
from tailrace.destinations.salesforce.job_lines import csv_line
from tailrace.destinations.salesforce.records import COLLECTION_ROWS_MAX, Records, fold

ID_CHARACTERS = 15


class JobIds:
    """Replaces keys by ids in the file of a job, and ids by keys in its results.

    Args:
        key: The external id field that the header matches.
    """

    def __init__(self, records: Records, key: WritableField) -> None:
        self._records = records
        self._key = key
        # The ids of a job that another run uploaded are asked for again.
        self._keys: dict[str, str] = {}
        self._refused: dict[str, str] = {}

    def write(self, file: Path, with_ids: Path) -> None:
        """Copy a CSV file with Id in place of the key, without the rows that have no one record."""
        self._refused.clear()
        with (
            file.open(encoding="utf-8", newline="") as source,
            with_ids.open("wb") as target,
        ):
            reader = csv.reader(source)
            header = next(reader)
            place = header.index(self._key.name)
            target.write(csv_line([*header[:place], "Id", *header[place + 1 :]]))
            while rows := list(islice(reader, COLLECTION_ROWS_MAX)):
                ids = self._ids([row[place] for row in rows])
                target.writelines(
                    csv_line([*row[:place], record_id, *row[place + 1 :]])
                    for row, record_id in zip(rows, ids, strict=True)
                    if record_id
                )

    def refused(self) -> Iterator[JobResult]:
        """The rows of the last file that have no record, or several."""
        for key, reason in self._refused.items():
            yield JobResult(key=key, outcome="refused", reason=reason)

    def with_keys(self, results: Iterable[JobResult]) -> Iterator[JobResult]:
        """Results with the key of each row in place of the 15 characters of its id."""
        rest = iter(results)
        while some := list(islice(rest, COLLECTION_ROWS_MAX)):
            unknown = [result.key for result in some if result.key not in self._keys]
            if unknown:
                found = self._records.values_by_id(self._key.name, unknown)
                self._keys |= {record_id: self._folded(value) for record_id, value in found.items()}
            for result in some:
                if result.key in self._keys:
                    yield result._replace(key=self._keys[result.key])

    def _ids(self, cells: list[str]) -> list[str]:
        """The id of the record of each key; empty without exactly one."""
        numeric = self._key.type in NUMBER_TYPES
        values = [float(cell) if numeric else cell for cell in cells]
        sensitive = self._key.case_sensitive
        found = self._records.ids_by_key(self._key.name, values, case_sensitive=sensitive)
        ids: list[str] = []
        for value in values:
            key = self._folded(value)
            records = found.get(key, [])
            if len(records) == 1:
                self._keys[records[0][:ID_CHARACTERS]] = key
            else:
                self._refused[key] = (SEVERAL if records else NO_RECORD).code
            ids.append(records[0] if len(records) == 1 else "")
        return ids

    def _folded(self, value: object) -> str:
        return fold(value, case_sensitive=self._key.case_sensitive)
