"""The process that sends OpenLineage events: the only module that imports `openlineage`.

A process of its own can be ended at the time limit, and the client's logs stay away from the run's.
The client configures itself from the environment (`OPENLINEAGE_URL`, `OPENLINEAGE_CONFIG`,
`OPENLINEAGE_API_KEY` ...). Standard input has a JSON list of events in the shape of `events.Event`,
which become the client's classes here. The exit code is 0 if all events were sent.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Mapping
from typing import Any

PRODUCER = "tailrace"


def main() -> int:
    """Send the events of standard input, in order."""
    from openlineage.client import OpenLineageClient, set_producer

    logging.disable(logging.CRITICAL)
    set_producer(PRODUCER)
    client = OpenLineageClient()
    for entry in json.load(sys.stdin):
        client.emit(_event(entry))
    client.close()
    return 0


def _event(entry: Mapping[str, Any]) -> Any:
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.facet_v2 import error_message_run, job_type_job, processing_engine_run

    run_facets: dict[str, Any] = {
        "processing_engine": processing_engine_run.ProcessingEngineRunFacet(
            version=entry["version"], name="Tailrace"
        )
    }
    if entry["parent"]:
        run_facets["parent"] = _parent(entry["parent"], entry["root"])
    if entry["error"]:
        run_facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
            message=entry["error"], programmingLanguage="python"
        )
    kind = job_type_job.JobTypeJobFacet(
        processingType="BATCH", integration="TAILRACE", jobType=entry["kind"]
    )
    job = Job(namespace=entry["namespace"], name=entry["name"], facets={"jobType": kind})
    return RunEvent(
        eventType=RunState[entry["type"]],
        eventTime=entry["time"],
        run=Run(runId=entry["run_id"], facets=run_facets),
        job=job,
        inputs=[_input(dataset) for dataset in entry["inputs"]],
        outputs=[_output(dataset) for dataset in entry["outputs"]],
    )


def _parent(parent: Mapping[str, str], root: Mapping[str, str] | None) -> Any:
    from openlineage.client.facet_v2 import parent_run

    top = root or parent
    return parent_run.ParentRunFacet(
        run=parent_run.Run(runId=parent["run_id"]),
        job=parent_run.Job(namespace=parent["namespace"], name=parent["name"]),
        root=parent_run.Root(
            run=parent_run.RootRun(runId=top["run_id"]),
            job=parent_run.RootJob(namespace=top["namespace"], name=top["name"]),
        ),
    )


def _schema(fields: Iterable[str]) -> dict[str, Any]:
    from openlineage.client.facet_v2 import schema_dataset

    named = [schema_dataset.SchemaDatasetFacetFields(name=name) for name in fields]
    return {"schema": schema_dataset.SchemaDatasetFacet(fields=named)} if named else {}


def _input(dataset: Mapping[str, Any]) -> Any:
    from openlineage.client.event_v2 import InputDataset

    return InputDataset(
        namespace=dataset["namespace"], name=dataset["name"], facets=_schema(dataset["fields"])
    )


def _output(dataset: Mapping[str, Any]) -> Any:
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import column_lineage_dataset, output_statistics_output_dataset

    facets = _schema(dataset["columns"])
    fields = {
        name: column_lineage_dataset.Fields(inputFields=[_source(source) for source in sources])
        for name, sources in dataset["columns"].items()
        if sources
    }
    if fields:
        facets["columnLineage"] = column_lineage_dataset.ColumnLineageDatasetFacet(
            fields=fields, dataset=[_source(source) for source in dataset["filters"]]
        )
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        rowCount=dataset["rows"]
    )
    return OutputDataset(
        namespace=dataset["namespace"],
        name=dataset["name"],
        facets=facets,
        outputFacets={"outputStatistics": statistics} if dataset["rows"] is not None else {},
    )


def _source(source: Mapping[str, Any]) -> Any:
    from openlineage.client.facet_v2 import column_lineage_dataset

    transformation = column_lineage_dataset.Transformation(
        type=source["type"], subtype=source["subtype"], masking=source["masking"]
    )
    return column_lineage_dataset.InputField(
        namespace=source["namespace"],
        name=source["name"],
        field=source["field"],
        transformations=[transformation],
    )


if __name__ == "__main__":
    sys.exit(main())
