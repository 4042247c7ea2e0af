"""What was planned and delivered, kept in the warehouse: runs, outbox, snapshots, lock."""
