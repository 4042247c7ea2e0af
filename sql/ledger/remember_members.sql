-- Writes what the receiver now holds; who left stays as a tombstone with the last-known values.
INSERT INTO snapshot (keys, columns, _v, _since, _gone)
SELECT EACH_COLUMN(keys, a._), EACH_COLUMN(columns, a._), :run, a._since, a.op = 'exited'
FROM settled AS a
