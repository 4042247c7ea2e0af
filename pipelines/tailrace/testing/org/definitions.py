"""The FieldDefinition object: properties of fields that describe does not contain.

Descriptions, compliance categories and sensitivity are only here. A query must filter on objects;
field-level security does not apply.
"""

from __future__ import annotations

from tailrace.testing.org.describe import Field, SObject, label_of
from tailrace.testing.org.rows import Rows
from tailrace.testing.org.store import OrgStore

NAME = "FieldDefinition"
_ENTITY = "EntityDefinition.QualifiedApiName"

FIELD_DEFINITION = SObject(
    name=NAME,
    key_prefix="000",
    replicateable=False,
    bulk=False,
    needs_filter=("EntityDefinitionId", _ENTITY, "DurableId"),
    fields=(
        Field(name="Id", type="string", nillable=False),
        Field(name="DurableId", type="string"),
        Field(name="QualifiedApiName", type="string", length=70, nillable=False),
        Field(name="EntityDefinitionId", type="string"),
        Field(name=_ENTITY, type="string"),
        Field(name="Label", type="string"),
        Field(name="DataType", type="string"),
        Field(name="Description", type="textarea", length=1_000),
        Field(name="InlineHelpText", type="textarea", length=510),
        Field(name="IsCalculated", type="boolean", nillable=False),
        Field(name="BusinessStatus", type="picklist", values=("Active", "DeprecateCandidate")),
        Field(name="ComplianceGroup", type="multipicklist", values=("PII", "HIPAA", "GDPR")),
        Field(name="SecurityClassification", type="picklist", values=("Public", "Restricted")),
    ),
)


def definitions(org: OrgStore) -> Rows:
    """Every field of every object as a row."""
    rows = Rows(FIELD_DEFINITION)
    for spec in org.objects():
        for field in spec.fields:
            rows.put(
                {
                    "Id": f"{spec.name}.{field.name}",
                    "DurableId": f"{spec.name}.{field.name}",
                    "QualifiedApiName": field.name,
                    "EntityDefinitionId": spec.name,
                    _ENTITY: spec.name,
                    "Label": field.label or label_of(field.name),
                    "DataType": field.type,
                    "Description": field.description,
                    "InlineHelpText": field.help,
                    "IsCalculated": field.calculated,
                    "ComplianceGroup": field.compliance,
                    "SecurityClassification": field.sensitivity,
                }
            )
    return rows
