"""Read-only questions to the ledger: history, one person, the tracking plan draft."""
