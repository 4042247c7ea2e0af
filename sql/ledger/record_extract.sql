-- What an extract landed of one object, and whether it is whole.
INSERT INTO extracts (
  run_seq, object, table_name, rows_landed, window_start, window_end, watermark, complete, empty,
  quarantined, vanished_fields, error, finished_at
)
VALUES (
  :run, :object, :table_name, :rows_landed, :window_start, :window_end, :watermark, :complete,
  :empty, :quarantined, :vanished_fields, :error, :now
)
