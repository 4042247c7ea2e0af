"""Read-only reports from the ledger: history, one person, the tracking plan draft."""
