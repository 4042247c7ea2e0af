-- A run begins.
INSERT INTO runs (run_seq, run_id, command, phase, started_at, versions, allowed, salesforce_calls)
VALUES (:run, :run_id, :command, 'planned', :now, :versions, :allowed, 0)
