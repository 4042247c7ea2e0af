"""The record of plans and deliveries in the warehouse: runs, outbox, snapshots, lock."""
