-- A range of transitions is settled: one row a batch, never a row an event.
INSERT INTO acks (run_seq, audience, first_seq, last_seq, calls, acked_at)
VALUES (:run, :audience, :first_seq, :last_seq, :calls, :now)
