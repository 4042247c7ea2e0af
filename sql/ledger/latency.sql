-- name: last_acknowledged
-- When the last changes of each sync were acknowledged in a run.
SELECT k.sync_key, MAX(k.acked_at)
FROM acks AS k
WHERE k.run_seq = :run
GROUP BY k.sync_key

-- name: windows_of_run
-- The end of the window of each object that landed rows in a run, and of its window before. An
-- object that was loaded for the first time has none: its records were modified at any time before.
SELECT e.table_name, e.window_end, MAX(p.window_end)
FROM extracts AS e
JOIN extracts AS p ON p.table_name = e.table_name AND p.run_seq < e.run_seq AND p.complete
WHERE e.run_seq = :run AND e.complete AND e.rows_landed > 0 AND e.window_start IS NOT NULL
GROUP BY e.table_name, e.window_end
ORDER BY e.table_name

-- name: record_latencies
-- The seconds from the modification of each record that is new in a window to an acknowledgement.
-- Clocks that differ may give a negative time.
SELECT GREATEST(EXTRACT(EPOCH FROM (:acknowledged_at - o._)), 0) AS _seconds
FROM landed AS o
WHERE o._ > :window_start AND o._ <= :window_end

-- name: all_latencies
-- The latencies of two sets of records.
SELECT f._seconds FROM first AS f
UNION ALL
SELECT s._seconds FROM second AS s

-- name: latency
-- How many records were measured, and the seconds that 50 % and 95 % of them took at most.
SELECT COUNT(*), QUANTILE_CONT(l._seconds, 0.5), QUANTILE_CONT(l._seconds, 0.95)
FROM latencies AS l

-- name: latency (spark)
-- How many records were measured, and the seconds that 50 % and 95 % of them took at most.
SELECT COUNT(*), PERCENTILE(l._seconds, 0.5), PERCENTILE(l._seconds, 0.95)
FROM latencies AS l

-- name: latency (mariadb)
-- The same; a percentile is a window function there.
SELECT COUNT(*), MAX(p._p50), MAX(p._p95)
FROM (
  SELECT
    PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY l._seconds) OVER () AS _p50,
    PERCENTILE_CONT(0.95) WITHIN GROUP (ORDER BY l._seconds) OVER () AS _p95
  FROM latencies AS l
) AS p
