"""REST resources that write records: one record, or collections of up to 200."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from tailrace.testing.http.messages import Request, Response
from tailrace.testing.org.describe import Field, SObject
from tailrace.testing.salesforce.bulk import json_body
from tailrace.testing.salesforce.refusals import Refused, not_found, wrong_method
from tailrace.testing.salesforce.write_settings import WriteOptions
from tailrace.testing.salesforce.write_values import RowRefused, from_json
from tailrace.testing.salesforce.writer import Saved, Writer

COLLECTION_ROWS_MAX = 200
UPDATE_ONLY_VERSION_MIN = 61.0
_ROLLED_BACK = (
    "Record rolled back because not all records were valid and the request was using AllOrNone"
    " header"
)


class RecordWrites:
    """`/sobjects/…` and `/composite/sobjects/…` with POST, PATCH and DELETE."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    def sobject(self, request: Request, version: str, steps: list[str]) -> Response:
        """`/sobjects/{object}[/{id} | /{field}/{value}]`; `steps` follows `sobjects`."""
        spec = self.writer.spec(steps[0])
        options = WriteOptions.of_headers(request.headers)
        with self.writer.org.lock:
            try:
                if len(steps) == 1 and request.method == "POST":
                    saved = self.writer.insert(
                        spec, self._values(spec, json_body(request)), options
                    )
                    return Response.of_json(_result(saved, upsert=False), 201)
                if len(steps) == 2 and request.method == "PATCH":
                    values = self._values(spec, json_body(request))
                    self.writer.update(spec, steps[1], values, options)
                    return Response(status=204)
                if len(steps) == 2 and request.method == "DELETE":
                    self.writer.delete(spec, steps[1], options)
                    return Response(status=204)
                if len(steps) == 3:
                    return self._by_key(request, version, spec, steps[1], unquote(steps[2]))
            except RowRefused as refusal:
                raise _refused(refusal) from None
        raise wrong_method(request.method, "GET,HEAD")

    def collection(self, request: Request, steps: list[str]) -> Response:
        """`/composite/sobjects[/{object}/{field}]`; `steps` follows `sobjects`."""
        options = WriteOptions.of_headers(request.headers)
        if request.method == "DELETE" and not steps:
            return self._delete_all(request, options)
        if request.method not in ("POST", "PATCH") or (request.method == "POST" and steps):
            raise wrong_method(request.method, "DELETE,PATCH,POST")
        if len(steps) not in (0, 2):
            raise not_found()
        body = json_body(request)
        records, all_or_none = _collection(body)
        with self.writer.org.lock:
            if steps:
                spec = self.writer.spec(steps[0])
                key = self.writer.key_field(spec, steps[1])
                rows = [self._upsert(spec, key, record, options) for record in records]
                _check_types(records, spec)
                self._mark_repeated(rows, key, records)
            elif request.method == "POST":
                rows = [self._insert(record, options) for record in records]
            else:
                rows = [self._update(record, options) for record in records]
            return self._run(records, rows, all_or_none, upsert=bool(steps))

    def _upsert(
        self, spec: SObject, key: Field, record: Mapping[str, Any], options: WriteOptions
    ) -> Callable[[], Saved]:
        others = {name: value for name, value in record.items() if name.lower() != key.name.lower()}
        raw = next((record[name] for name in record if name.lower() == key.name.lower()), None)
        if any(name.lower() == "id" for name in others):
            raise Refused(400, "INVALID_FIELD", "The Id field should not be specified")
        values = self._values_or_error(spec, others)
        key_value = from_json(key, raw) if raw is not None else None
        return lambda: self.writer.upsert(spec, key, key_value, values(), options)

    def _insert(self, record: Mapping[str, Any], options: WriteOptions) -> Callable[[], Saved]:
        spec = self._spec_of(record)
        if any(name.lower() == "id" for name in record):
            raise Refused(400, "INVALID_FIELD", "cannot specify Id in an insert call")
        values = self._values_or_error(spec, record)
        return lambda: self.writer.insert(spec, values(), options)

    def _update(self, record: Mapping[str, Any], options: WriteOptions) -> Callable[[], Saved]:
        spec = self._spec_of(record)
        record_id = next((record[name] for name in record if name.lower() == "id"), None)
        others = {name: value for name, value in record.items() if name.lower() != "id"}
        values = self._values_or_error(spec, others)

        def update() -> Saved:
            if not isinstance(record_id, str):
                raise RowRefused("MISSING_ARGUMENT", "Id not specified in an update call", "Id")
            return self.writer.update(spec, record_id, values(), options)

        return update

    def _delete_all(self, request: Request, options: WriteOptions) -> Response:
        ids = [item for item in request.query.get("ids", "").split(",") if item]
        if not ids or len(ids) > COLLECTION_ROWS_MAX:
            raise _too_many()
        all_or_none = request.query.get("allOrNone", "false").lower() == "true"
        with self.writer.org.lock:
            rows = [self._delete(record_id, options) for record_id in ids]
            records = [{"attributes": {"type": ""}} for _ in ids]
            return self._run(records, rows, all_or_none, upsert=False)

    def _delete(self, record_id: str, options: WriteOptions) -> Callable[[], Saved]:
        def delete() -> Saved:
            prefix = record_id[:3]
            org = self.writer.org
            spec = next((spec for spec in org.objects() if spec.key_prefix == prefix), None)
            if spec is None:
                raise RowRefused("MALFORMED_ID", f"malformed id {record_id}", "Id")
            return self.writer.delete(spec, record_id, options)

        return delete

    def _run(
        self,
        records: Sequence[Mapping[str, Any]],
        rows: Sequence[Callable[[], Saved]],
        all_or_none: bool,
        *,
        upsert: bool,
    ) -> Response:
        """Run the rows in order; one result per row, in the same order."""
        results: list[dict[str, Any]] = []
        with self.writer.all_or_none(all_or_none) as roll_back:
            for record, row in zip(records, rows, strict=True):
                try:
                    self._check_trigger(record, len(records))
                    results.append(_result(row(), upsert=upsert))
                except RowRefused as refusal:
                    results.append(_failure(refusal))
                    roll_back()
        if all_or_none and not all(result["success"] for result in results):
            rolled_back = _failure(RowRefused("ALL_OR_NONE_OPERATION_ROLLED_BACK", _ROLLED_BACK))
            results = [rolled_back if result["success"] else result for result in results]
        return Response.of_json(results)

    def _check_trigger(self, record: Mapping[str, Any], rows: int) -> None:
        name = str(record.get("attributes", {}).get("type", ""))
        target = self.writer.org.find(name)
        if target is not None:
            self.writer.check_trigger(target.spec, rows)

    def _mark_repeated(
        self, rows: list[Callable[[], Saved]], key: Field, records: list[Mapping[str, Any]]
    ) -> None:
        """The second row with the same external id in a request is refused."""
        seen: set[str] = set()
        for index, record in enumerate(records):
            value = str(record.get(key.name))
            if value.lower() in seen:
                rows[index] = _refusing(
                    RowRefused(
                        "DUPLICATE_EXTERNAL_ID",
                        f"Duplicate external id specified: {value}",
                        key.name,
                    )
                )
            seen.add(value.lower())

    def _by_key(
        self, request: Request, version: str, spec: SObject, name: str, text: str
    ) -> Response:
        """`/sobjects/{object}/{field}/{value}`: upsert or delete by an external id."""
        options = WriteOptions.of_headers(request.headers)
        key = self.writer.key_field(spec, name)
        ids = self.writer.matches(spec, key, text)
        if len(ids) > 1:
            root = f"/services/data/v{version}/sobjects/{spec.name}/"
            return Response.of_json([root + record_id for record_id in ids], 300)
        if request.method == "DELETE":
            if not ids:
                raise not_found()
            self.writer.delete(spec, ids[0], options)
            return Response(status=204)
        if request.method not in ("PATCH", "POST"):
            raise wrong_method(request.method, "DELETE,GET,HEAD,PATCH")
        body = json_body(request)
        if any(field.lower() in (key.name.lower(), "id") for field in body):
            message = f"The {key.name} field should not be specified in the sobject data."
            raise Refused(400, "INVALID_FIELD", message)
        if request.query.get("updateOnly", "").lower() == "true":
            if float(version) < UPDATE_ONLY_VERSION_MIN:
                raise Refused(400, "INVALID_QUERY_PARAMETER", "updateOnly is not supported")
            if not ids:
                raise not_found()
        value = from_json(key, text) if key.type not in ("double", "int") else float(text)
        saved = self.writer.upsert(spec, key, value, self._values(spec, body), options)
        return Response.of_json(_result(saved, upsert=True), 201 if saved.created else 200)

    def _spec_of(self, record: Mapping[str, Any]) -> SObject:
        attributes = record.get("attributes")
        if not isinstance(attributes, dict) or not attributes.get("type"):
            raise Refused(400, "INVALID_FIELD", "The attributes of a record need a type")
        return self.writer.spec(str(attributes["type"]))

    def _values_or_error(
        self, spec: SObject, record: Mapping[str, Any]
    ) -> Callable[[], dict[str, Any]]:
        """Read the values now, so that a malformed request is refused before any row is written;
        a row's own error is raised when the row is run."""
        try:
            values = self._values(spec, record)
        except RowRefused as refusal:
            return _refusing(refusal)
        return lambda: values

    def _values(self, spec: SObject, record: Mapping[str, Any]) -> dict[str, Any]:
        """Field -> value as the org stores it.

        Raises:
            Refused: A field does not exist, or a value has the wrong JSON type.
            RowRefused: A value breaks a rule.
        """
        values: dict[str, Any] = {}
        refusal: RowRefused | None = None
        for name, value in record.items():
            if name == "attributes":
                continue
            lookup = spec.find_lookup(name) if isinstance(value, dict) else None
            field = lookup or spec.find(name)
            if field is None:
                message = f"No such column '{name}' on sobject of type {spec.name}"
                raise Refused(400, "INVALID_FIELD", message)
            try:
                values[field.name] = (
                    self._parent(spec, lookup, value) if lookup else from_json(field, value)
                )
            except RowRefused as error:
                # Go on: a wrong type in a later field refuses the request as a whole.
                refusal = refusal or error
        if refusal is not None:
            raise refusal
        return values

    def _parent(self, spec: SObject, lookup: Field, value: Mapping[str, Any]) -> str:
        keys = [name for name in value if name != "attributes"]
        if len(keys) != 1:
            raise Refused(400, "INVALID_FIELD", f"{lookup.name}: one external id is needed")
        return self.writer.parent_id(spec, lookup, keys[0], value[keys[0]])


def _collection(body: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], bool]:
    unknown = [name for name in body if name not in ("records", "allOrNone")]
    if unknown:
        raise Refused(400, "JSON_PARSER_ERROR", f'Unrecognized field "{unknown[0]}"')
    records = body.get("records")
    all_or_none = body.get("allOrNone", False)
    if not isinstance(records, list) or not all(isinstance(row, dict) for row in records):
        raise Refused(400, "JSON_PARSER_ERROR", "records must be a list of objects")
    if not isinstance(all_or_none, bool):
        raise Refused(400, "JSON_PARSER_ERROR", "allOrNone must be a boolean")
    if len(records) > COLLECTION_ROWS_MAX:
        raise _too_many()
    return records, all_or_none


def _check_types(records: list[Mapping[str, Any]], spec: SObject) -> None:
    for record in records:
        attributes = record.get("attributes")
        kind = attributes.get("type") if isinstance(attributes, dict) else None
        if str(kind).lower() != spec.name.lower():
            raise Refused(400, "INVALID_INPUT", f"attributes.type must be {spec.name}")


def _result(saved: Saved, *, upsert: bool) -> dict[str, Any]:
    errors = []
    if saved.event is not None:
        # Salesforce reports a published event as a success with an entry in `errors`.
        queued = {"statusCode": "OPERATION_ENQUEUED", "message": saved.event, "fields": []}
        errors.append(queued)
    result: dict[str, Any] = {"id": saved.id, "success": True, "errors": errors}
    return result | {"created": saved.created} if upsert else result


def _failure(refusal: RowRefused) -> dict[str, Any]:
    error = {
        "statusCode": refusal.code,
        "message": refusal.message,
        "fields": list(refusal.fields),
    }
    return {"success": False, "errors": [error]}


def _refused(refusal: RowRefused) -> Refused:
    status = 404 if refusal.code in ("ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY") else 400
    if refusal.fields:
        status = 400
    return Refused(status, refusal.code, refusal.message, fields=refusal.fields)


def _refusing(refusal: RowRefused) -> Callable[[], Any]:
    def refuse() -> Any:
        raise refusal

    return refuse


def _too_many() -> Refused:
    message = f"record limit reached. cannot submit more than {COLLECTION_ROWS_MAX} records"
    return Refused(400, "EXCEEDED_ID_LIMIT", message)
