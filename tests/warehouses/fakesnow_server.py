"""Runs fakesnow's server with what dlt needs and it lacks. It runs with fakesnow's packages alone.

* dlt sends several statements in one request; fakesnow runs the first one only.
* dlt writes a stage, and how columns match, as a text; fakesnow reads them without quotes only.
* dlt names options of files that fakesnow does not know; it works as if they were set.
* fakesnow matches columns by name in Parquet files only, so files of JSON are stored as Parquet.
* fakesnow sends a timestamp without a time zone that is NULL as the first of January 1970.
* fakesnow answers a statement that it cannot run with status 500, which Snowflake's driver repeats
  for minutes. Here it is an error of the statement.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import fakesnow.arrow
import pyarrow as pa
import pyarrow.json as pa_json
import pyarrow.parquet as pq
import uvicorn
from fakesnow.server import app
from sqlglot.dialects.snowflake import Snowflake
from sqlglot.tokens import TokenType

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
# A stage, such as '@"SALESFORCE"."%CONTACT"/"1795797413.68"'.
STAGE = re.compile(r"'@([^']*)'")
# Options of a file format that fakesnow does not know, with the value that it works by.
DEFAULT_OPTION = re.compile(
    r", (BINARY_FORMAT = 'BASE64'|BINARY_AS_TEXT = FALSE|USE_LOGICAL_TYPE = TRUE)"
)
MATCH_BY = re.compile(r"(MATCH_BY_COLUMN_NAME=)'(\w+)'")
JSON_LINES = re.compile(r"/fs_bucket/.*\.jsonl(\.gz)?")
ORIGINAL = fakesnow.arrow.timestamp_to_sf_struct
GZIP = b"\x1f\x8b"
QUERIES = "/queries/v1/query-request"


def timestamps(values: pa.ChunkedArray) -> pa.StructArray:
    """Timestamps as Snowflake sends them, each NULL one as a whole."""
    whole = values.combine_chunks()
    sent = ORIGINAL(whole.fill_null(0))
    mask = whole.is_null()
    return pa.StructArray.from_arrays(sent.flatten(), fields=list(sent.type), mask=mask)


def statements(sql: str) -> list[str]:
    """The statements of a text that are separated by semicolons."""
    parts, start = [], 0
    for token in Snowflake().tokenize(sql):
        if token.token_type is TokenType.SEMICOLON:
            parts.append(sql[start : token.start])
            start = token.end + 1
    return [_with_plain_stage(part) for part in (*parts, sql[start:]) if part.strip()]


def _with_plain_stage(sql: str) -> str:
    if not sql.lstrip().upper().startswith(("PUT", "COPY", "REMOVE")):
        return sql
    sql = STAGE.sub(lambda stage: "@" + stage[1].replace('"', ""), sql)
    sql = DEFAULT_OPTION.sub("", MATCH_BY.sub(r"\1\2", sql))
    return sql.replace("(TYPE = 'JSON')", "(TYPE = 'PARQUET')")


async def statement_by_statement(scope: Message, receive: Receive, send: Send) -> None:
    """An ASGI application around fakesnow's, which answers with the last of several results."""
    if scope["type"] == "http" and JSON_LINES.fullmatch(scope["path"]):
        await app(scope, _once(_as_parquet(await _body(receive))), send)
        return
    if scope["type"] != "http" or scope["path"] != QUERIES:
        await app(scope, receive, send)
        return
    body = await _body(receive)
    headers = dict(scope["headers"])
    if headers.pop(b"content-encoding", b"") == b"gzip":
        body = gzip.decompress(body)
    headers.pop(b"content-length", None)
    request = json.loads(body)
    answer: list[Message] = []
    scope = {**scope, "headers": [*headers.items()]}
    for text in statements(request["sqlText"]):
        answer = await _answer(scope, request | {"sqlText": text})
        if not json.loads(answer[1]["body"])["success"]:
            break
    for message in answer:
        await send(message)


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


def _once(body: bytes) -> Receive:
    """The body of a request in one message."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else {"type": "http.disconnect"}

    return receive


def _as_parquet(lines: bytes) -> bytes:
    if lines.startswith(GZIP):
        lines = gzip.decompress(lines)
    output = io.BytesIO()
    pq.write_table(pa_json.read_json(io.BytesIO(lines)), output)
    return output.getvalue()


async def _answer(scope: Message, request: Message) -> list[Message]:
    """The head and the body of the answer to one statement."""
    answer: list[Message] = []

    async def send(message: Message) -> None:
        answer.append(message)

    try:
        await app(scope, _once(json.dumps(request).encode()), send)
    except Exception as error:
        answer = _refusal(f"{type(error).__name__}: {error}")
    if answer[0]["status"] == 500:
        answer = _refusal(json.loads(answer[1]["body"])["message"])
    head, *rest = answer
    return [head, {"type": "http.response.body", "body": b"".join(part["body"] for part in rest)}]


def _refusal(message: str) -> list[Message]:
    content = {
        "data": {"errorCode": "009999", "sqlState": "99999"},
        "code": "009999",
        "message": f"fakesnow cannot run it: {message}",
        "success": False,
    }
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    return [
        {"type": "http.response.start", "status": 200, "headers": headers},
        {"type": "http.response.body", "body": body},
    ]


if __name__ == "__main__":
    fakesnow.arrow.timestamp_to_sf_struct = timestamps
    uvicorn.run(statement_by_statement, host="127.0.0.1", port=int(sys.argv[1]), log_level="info")
