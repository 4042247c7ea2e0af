"""Finds audiences whose SQL reads a field that they write: each run would change the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from tailrace.audience.audience import Audience
from tailrace.errors import HeaderInvalid
from tailrace.models.lineage import columns_read, fields_read
from tailrace.models.loader import BrokenModel, Model, Models, landed_name

# The fields that an audience writes: object -> field -> its path in the header.
WrittenFields = Callable[[Audience], Mapping[str, Mapping[str, str]]]


def without_loops(models: Models, written_fields: WrittenFields) -> Models:
    """The models with audiences that have a loop among the broken ones.

    Args:
        models: All models of a project.
        written_fields: The fields that an audience writes and that its SQL must not read.
    """
    broken = dict(models.broken)
    for model in models.audiences():
        errors = tuple(_loops(models, model, written_fields))
        if errors:
            broken[model.name] = BrokenModel(
                name=model.name, errors=errors, model=model, audience=model.audience
            )
    if len(broken) == len(models.broken):
        return models
    by_name = {name: model for name, model in models.by_name.items() if name not in broken}
    return replace(models, by_name=by_name, broken=broken)


def _loops(models: Models, model: Model, written_fields: WrittenFields) -> Iterator[HeaderInvalid]:
    for audience in model.audience.syncs() if model.audience else ():
        for sobject, fields in written_fields(audience).items():
            table = landed_name(sobject)
            if table not in models.objects_read(model.name):
                continue
            read = _columns_read(models, model, audience, table, fields)
            for field, path in fields.items():
                if landed_name(field) in read:
                    yield HeaderInvalid(
                        f"{sobject}.{field} is written by {audience.name}, and its SQL reads it",
                        hint="Each run would change what the next one reads. Leave the field out, "
                        "or allow it with loop: allow.",
                        file=audience.file,
                        line=audience.line(path),
                    )


def _columns_read(
    models: Models, model: Model, audience: Audience, table: str, fields: Mapping[str, str]
) -> frozenset[str]:
    """The columns of a landed table that decide the audience's rows and values."""
    # The other columns of the table are not known offline; those that the SQL names are enough.
    names = {landed: {*named} for landed, named in columns_read(models).items()}
    names.setdefault(table, set()).update(map(landed_name, fields))
    suppress = (audience.suppress_when,) if audience.suppress_when else ()
    read = fields_read(
        models,
        model.name,
        columns=tuple(dict.fromkeys((*audience.key, *audience.mapped_columns, *suppress))),
        landed={landed: sorted(columns) for landed, columns in names.items()},
    )
    return read.get(table, frozenset())
