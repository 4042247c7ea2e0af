-- name: start_watch
-- Saves the start of a process of `run --watch`.
INSERT INTO watches (
  watch_id, host, process, every_seconds, started_at, cycles, idle_cycles, failed_cycles
)
VALUES (:watch_id, :host, :process, :every_seconds, :now, 0, 0, 0)

-- name: save_cycles
-- Saves how many cycles a process has had, and its last one.
UPDATE watches
SET last_cycle_at = :last_cycle_at, cycles = :cycles, idle_cycles = :idle_cycles,
    failed_cycles = :failed_cycles, error = :error
WHERE watch_id = :watch_id

-- name: end_watch
-- Saves the end of a process.
UPDATE watches SET ended_at = :now WHERE watch_id = :watch_id

-- name: latest_watch
-- The process that started last.
SELECT watch_id, host, process, every_seconds, started_at, last_cycle_at, ended_at, cycles, idle_cycles,
       failed_cycles, error
FROM watches
ORDER BY started_at DESC
LIMIT 1

-- name: purge_watches
-- Deletes processes that ended long ago, or whose last cycle was long ago.
DELETE FROM watches WHERE COALESCE(ended_at, last_cycle_at, started_at) < :before
