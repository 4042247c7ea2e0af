"""Asks in one call whether an object has rows that have not landed.

The question is asked of the rows themselves. `/updated` knows no deletions and rounds to minutes,
and an extract has to ask it anyway for the end of its window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from tailrace.dataclass import dataclass
from tailrace.salesforce.answers import (
    as_count,
    as_mapping,
    as_records,
    as_timestamp,
    readable_answers,
)
from tailrace.salesforce.client import Api
from tailrace.salesforce.extract.soql import Window, select


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked about an object.

    Attributes:
        object: Its API name.
        cursor: The field that says when a row changed; None if it has none.
        watermark: The time up to which it has landed.
    """

    object: str
    cursor: str | None
    watermark: datetime | None


@dataclass(frozen=True, kw_only=True)
class Changed:
    """The rows of an object that changed since its watermark, deleted rows included.

    Attributes:
        rows: How many there are. Of an object without a cursor, how many rows it has.
        newest: When the last of them changed.
    """

    rows: int
    newest: datetime | None

    def is_news(self, landed: Changed | None) -> bool:
        """Whether there are rows that had not landed when `landed` was the answer.

        A watermark does not pass a minute that has not ended, nor a transaction that is open. So
        rows that have landed are in the answer until then.
        """
        if landed is None:
            return self.rows > 0
        is_newer = self.newest is not None and (
            landed.newest is None or self.newest > landed.newest
        )
        return is_newer or self.rows > landed.rows


def ask_for_news(
    api: Api, questions: Sequence[Question], *, in_flight_max: int
) -> Mapping[str, Changed]:
    """The answers of Salesforce, by object. Each question is one call.

    Raises:
        TailraceError: An object cannot be asked about.
    """
    with ThreadPoolExecutor(in_flight_max) as pool:
        answers = list(pool.map(lambda question: _ask(api, question), questions))
    return {question.object: answer for question, answer in zip(questions, answers, strict=True)}


def _ask(api: Api, question: Question) -> Changed:
    window = Window(question.watermark, None)
    with readable_answers(question.object):
        if question.cursor is None:
            soql = select(["count()"], question.object, cursor=None, window=Window(None, None))
            answer = as_mapping(api.get("queryAll", q=soql), "a count")
            return Changed(rows=as_count(answer.get("totalSize"), "totalSize"), newest=None)
        columns = ["Id", question.cursor]
        soql = select(columns, question.object, cursor=question.cursor, window=window)
        soql = f"{soql} ORDER BY {question.cursor} DESC"
        answer = as_mapping(api.get("queryAll", q=soql), "a query")
        records = as_records(answer.get("records"), "records")
        newest = as_timestamp(records[0].get(question.cursor), question.cursor) if records else None
        rows = as_count(answer.get("totalSize"), "totalSize")
        return Changed(rows=rows, newest=newest)
