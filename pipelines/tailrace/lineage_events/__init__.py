"""OpenLineage events of runs: which datasets a run read and wrote, column by column."""
