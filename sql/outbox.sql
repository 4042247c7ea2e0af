-- name: shared_users
-- The users who have several transitions in a plan.
SELECT EACH_COLUMN(identity, t._)
FROM transitions AS t
GROUP BY EACH_COLUMN(identity, t._)
HAVING COUNT(*) > 1

-- name: of_shared_users
-- The transitions of these users. Only the users are kept in memory, not their rows.
SELECT t.*
FROM transitions AS t
WHERE EXISTS (SELECT 1 FROM users AS u WHERE EVERY_COLUMN(identity, u._ = t._))

-- name: of_single_users
-- The transitions of all other users, and those without a user.
SELECT t.*
FROM transitions AS t
WHERE NOT EXISTS (SELECT 1 FROM users AS u WHERE EVERY_COLUMN(identity, u._ = t._))

-- name: enqueue
-- Saves the transitions of a plan, numbered so that those of a user are adjacent and exits come first.
-- A user whose membership moves to another row is then a member in the end. Only changes have
-- previous values: a plan without them saves none.
INSERT INTO outbox (
  run_seq, seq, op, reason, base_v, _blind, _send, _stays, _at, _since, keys, columns, old__previous
)
SELECT
  :run,
  ROW_NUMBER() OVER (
    ORDER BY EACH_COLUMN(identity, t._), CASE WHEN t.op = 'exited' THEN 0 ELSE 1 END,
      EACH_COLUMN(keys, t._)
  ),
  t.op, t.reason, t.base_v, t._blind, t._send, COALESCE(t._stays, FALSE), t._at, t._since,
  EACH_COLUMN(keys, t._), EACH_COLUMN(columns, t._), EACH_COLUMN(previous, t.old___)
FROM transitions AS t

-- name: enqueue_distinct
-- Saves transitions of distinct users, in any order, after the existing ones.
-- Sorting them would take most of the time and memory of a first delivery.
INSERT INTO outbox (
  run_seq, seq, op, reason, base_v, _blind, _send, _stays, _at, _since, keys, columns, old__previous
)
SELECT
  :run, :after + ROW_NUMBER() OVER (),
  t.op, t.reason, t.base_v, t._blind, t._send, COALESCE(t._stays, FALSE), t._at, t._since,
  EACH_COLUMN(keys, t._), EACH_COLUMN(columns, t._), EACH_COLUMN(previous, t.old___)
FROM transitions AS t

-- name: enqueue_distinct_sorted
-- The same in the order of some columns, for a receiver that locks what several rows refer to.
INSERT INTO outbox (
  run_seq, seq, op, reason, base_v, _blind, _send, _stays, _at, _since, keys, columns, old__previous
)
SELECT
  :run, :after + ROW_NUMBER() OVER (ORDER BY EACH_COLUMN(sort_columns, t._)),
  t.op, t.reason, t.base_v, t._blind, t._send, COALESCE(t._stays, FALSE), t._at, t._since,
  EACH_COLUMN(keys, t._), EACH_COLUMN(columns, t._), EACH_COLUMN(previous, t.old___)
FROM transitions AS t

-- name: count_indexes
-- The number of indexes of a table of PostgreSQL.
SELECT COUNT(*) FROM pg_catalog.pg_indexes WHERE schemaname = :dataset AND tablename = :table

-- name: create_index
-- Lets the transitions of a run be read in order, page by page, without reading the whole outbox.
CREATE INDEX ON outbox (run_seq, seq)

-- name: count_run
-- A sync, and the number of transitions of a run in its outbox.
SELECT CAST(:sync_key AS TEXT) AS sync_key, COUNT(*) AS saved FROM outbox AS o WHERE o.run_seq = :run

-- name: counts_of_run
-- The numbers of transitions of a run in several outboxes.
SELECT z.sync_key, z.saved FROM each_count AS z

-- name: seq_range
-- The first and last number of a run's transitions, and how many there are.
SELECT MIN(o.seq), MAX(o.seq), COUNT(*) FROM outbox AS o WHERE o.run_seq = :run

-- name: seq_ranges
-- The same of each part of a run's transitions, where more numbers than a limit are missing between two.
SELECT MIN(p.seq) AS first_seq, MAX(p.seq) AS last_seq
FROM (
  SELECT
    n.seq,
    SUM(CASE WHEN n.seq - n.previous > :gap THEN 1 ELSE 0 END)
      OVER (ORDER BY n.seq ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS part
  FROM (
    SELECT o.seq, LAG(o.seq) OVER (ORDER BY o.seq) AS previous FROM outbox AS o WHERE o.run_seq = :run
  ) AS n
) AS p
GROUP BY p.part
ORDER BY first_seq

-- name: has_changed
-- Whether a run has changed members, whose old values are needed.
SELECT COUNT(*) > 0 FROM outbox AS o WHERE o.run_seq = :run AND o.op = 'changed'

-- name: page
-- The next transitions of a run in order; optionally only those with the listed numbers. Times that
-- drivers cannot represent (infinity, years outside 1 to 9999) are NULL; their labels are listed last.
SELECT
  o.seq, o.op, o.reason, o.base_v, o._blind, o._send, o._stays, o._at,
  EACH_COLUMN(keys, o._),
  EACH_COLUMN(columns, o._),
  EACH_COLUMN(dates, CASE WHEN o._ BETWEEN DATE '0001-01-01' AND DATE '9999-12-31' THEN o._ END),
  EACH_COLUMN(timestamps, CASE
    WHEN CAST(o._ AS TIMESTAMP)
      BETWEEN TIMESTAMP '0001-01-01 00:00:00' AND TIMESTAMP '9999-12-31 23:59:59.999999'
    THEN o._
  END),
  EACH_COLUMN(old_columns, o.old___),
  EACH_COLUMN(old_dates, CASE
    WHEN o.old___ BETWEEN DATE '0001-01-01' AND DATE '9999-12-31' THEN o.old___
  END),
  EACH_COLUMN(old_timestamps, CASE
    WHEN CAST(o.old___ AS TIMESTAMP)
      BETWEEN TIMESTAMP '0001-01-01 00:00:00' AND TIMESTAMP '9999-12-31 23:59:59.999999'
    THEN o.old___
  END),
  CONCAT(
    '',
    EACH_COLUMN(key_dates, CASE
      WHEN NOT o._ BETWEEN DATE '0001-01-01' AND DATE '9999-12-31' THEN '_LABEL' ELSE ''
    END),
    EACH_COLUMN(key_timestamps, CASE
      WHEN NOT CAST(o._ AS TIMESTAMP)
        BETWEEN TIMESTAMP '0001-01-01 00:00:00' AND TIMESTAMP '9999-12-31 23:59:59.999999'
      THEN '_LABEL' ELSE ''
    END),
    EACH_COLUMN(dates, CASE
      WHEN NOT o._ BETWEEN DATE '0001-01-01' AND DATE '9999-12-31' THEN '_LABEL' ELSE ''
    END),
    EACH_COLUMN(timestamps, CASE
      WHEN NOT CAST(o._ AS TIMESTAMP)
        BETWEEN TIMESTAMP '0001-01-01 00:00:00' AND TIMESTAMP '9999-12-31 23:59:59.999999'
      THEN '_LABEL' ELSE ''
    END),
    EACH_COLUMN(old_dates, CASE
      WHEN NOT o.old___ BETWEEN DATE '0001-01-01' AND DATE '9999-12-31' THEN '_LABEL' ELSE ''
    END),
    EACH_COLUMN(old_timestamps, CASE
      WHEN NOT CAST(o.old___ AS TIMESTAMP)
        BETWEEN TIMESTAMP '0001-01-01 00:00:00' AND TIMESTAMP '9999-12-31 23:59:59.999999'
      THEN '_LABEL' ELSE ''
    END)
  ) AS _out_of_range
FROM outbox AS o
WHERE o.run_seq = :run AND o.seq >= :first_seq AND o.seq <= :last_seq
  AND (:every OR STRPOS(:seqs, CONCAT(',', CAST(o.seq AS TEXT), ',')) > 0)
ORDER BY o.seq

-- name: placed_page
-- The transitions of a run in one outbox, with its place among those that are rendered together and
-- the texts of its messages that the others do not have.
SELECT
  CAST(:place AS BIGINT) AS _place, EACH_COLUMN(texts_of_page, '_LABEL'),
  o.run_seq, o.seq, o.op, o.reason, o.base_v, o._send, o._at, o._blind, o._stays,
  EACH_COLUMN(held, o._)
FROM outbox AS o
WHERE o.run_seq = :run

-- name: rendered_page
-- The next transitions of a run with their rendered messages, of up to three kinds. A value whose JSON
-- may differ from the encoder's is NULL, and the mapper writes the messages of that row. Of several
-- outboxes that are read together, each row has the place of its own and the texts of its messages.
WITH page AS (
  SELECT
    o.seq, o.op, o.reason, o.base_v, o._send, o._at, o._blind, o._stays, o._ AS _user,
    EACH_COLUMN(places, o._), EACH_COLUMN(texts_of_page, o._),
    EACH_COLUMN(texts, COALESCE(TO_JSON(o._), 'null')),
    EACH_COLUMN(booleans, COALESCE(CAST(o._ AS VARCHAR), 'null')),
    EACH_COLUMN(wholes, CASE
      WHEN o._ IS NULL THEN 'null'
      WHEN o._ BETWEEN -9007199254740991 AND 9007199254740991 THEN CAST(o._ AS VARCHAR)
      ELSE CONCAT('"', o._, '"')
    END),
    EACH_COLUMN(doubles, CASE
      WHEN o._ IS NULL THEN 'null'
      WHEN ABS(o._) BETWEEN 0.001 AND 1e15 OR (o._ = 0 AND NOT SIGNBIT(o._))
      THEN TO_JSON(CAST(o._ AS DOUBLE))
    END),
    EACH_COLUMN(decimals, CASE
      WHEN o._ IS NULL THEN 'null'
      WHEN LENGTH(CAST(o._ AS VARCHAR)) <= 15 AND (o._ = 0 OR ABS(CAST(o._ AS DOUBLE)) >= 0.001)
      THEN TO_JSON(CAST(o._ AS DOUBLE))
    END),
    EACH_COLUMN(dates, CASE
      WHEN o._ IS NULL THEN 'null'
      WHEN o._ BETWEEN DATE '1000-01-01' AND DATE '9999-12-31' THEN CONCAT('"', o._, '"')
    END),
    EACH_COLUMN(moments, CASE
      WHEN o._ IS NULL THEN 'null'
      WHEN EPOCH_US(o._) BETWEEN EPOCH_US(TIMESTAMP '1000-01-01')
        AND EPOCH_US(TIMESTAMP '9999-12-31')
      THEN CONCAT('"', REPLACE(
        STRFTIME(MAKE_TIMESTAMP(EPOCH_US(o._)), '%Y-%m-%dT%H:%M:%S.%f'), '.000000', ''
      ), 'Z"')
    END),
    EACH_COLUMN(uuids, CASE WHEN o._ IS NULL THEN 'null' ELSE CONCAT('"', o._, '"') END)
  FROM outbox AS o
  WHERE o.run_seq = :run AND o.seq >= :first_seq AND o.seq <= :last_seq
), written AS (
  SELECT
    p.seq, p.op, EACH_COLUMN(places, p._),
    NOT p._send OR (
      p._at IS NULL AND NOT p._blind AND NOT p._stays
      AND LEFT(p._user, 1) BETWEEN '!' AND '~'
      AND EVERY_COLUMN(held, p._ IS NOT NULL)
      AND EVERY_COLUMN(group_id, p._ = 'null' OR SUBSTRING(p._, 2, 1) BETWEEN '0' AND 'Z')
      AND (p.op = 'exited' OR EVERY_COLUMN(moment, p._ <> 'null'))
      AND (p.op <> 'changed' OR NOT ANY_COLUMN(ids_held, p._ <> p.old___))
      -- Control characters: DuckDB and the encoder write hexadecimal digits in different cases.
      AND NOT ANY_COLUMN(texts, CONTAINS(p._, '\u00'))
    ) AS _usual,
    p._user,
    CONCAT('[', p.base_v, EACH_COLUMN(keys, CONCAT(',', p._)), ']') AS _frame,
    CASE
      WHEN NOT p._send THEN NULL
      WHEN p.op = 'exited' THEN CONCAT('', EACH_COLUMN(left_text, CONCAT('_LABEL', p._))) || :left_end
      WHEN p.op = 'entered' OR ANY_COLUMN(traits_held, p._ <> p.old___)
      THEN CONCAT('', EACH_COLUMN(identify_text, CONCAT('_LABEL', p._))) || :identify_end
    END AS _identify,
    CASE
      WHEN NOT p._send OR p.op = 'exited' OR ANY_COLUMN(group_id, p._ = 'null') THEN NULL
      WHEN p.op = 'entered' OR ANY_COLUMN(group_held, p._ <> p.old___)
      THEN CONCAT('', EACH_COLUMN(group_text, CONCAT('_LABEL', p._))) || :group_end
    END AS _group,
    CASE
      WHEN NOT p._send THEN NULL
      WHEN p.op = 'exited'
      THEN CONCAT('', EACH_COLUMN(exited_text, CONCAT('_LABEL', p._))) || :exited_end
      WHEN p.op = 'entered' AND (p.reason <> 'initial' OR :initial)
      THEN CONCAT('', EACH_COLUMN(entered_text, CONCAT('_LABEL', p._))) || :entered_end
      WHEN p.op = 'changed' AND ANY_COLUMN(track_held, p._ <> p.old___)
      THEN CONCAT(
        EACH_COLUMN(changed_text, CONCAT('_LABEL', p._)), :previous_start,
        CONCAT_WS(',', NULL, EACH_COLUMN(
          previous_text, CASE WHEN p._ <> p.old___ THEN CONCAT('_LABEL', p.old___) END
        ))
      ) || :changed_end
    END AS _track
  FROM page AS p
)
SELECT
  w.seq,
  w._usual
    AND COALESCE(STRLEN(w._identify), 0) <= :bytes_max
    AND COALESCE(STRLEN(w._group), 0) <= :bytes_max
    AND COALESCE(STRLEN(w._track), 0) <= :bytes_max,
  w.op,
  w._user,
  ENCODE(w._frame),
  ENCODE(w._identify),
  ENCODE(w._group),
  ENCODE(w._track),
  EACH_COLUMN(places, w._)
FROM written AS w

-- name: rendered_page (postgres)
-- The same in PostgreSQL's words. Its json has the encoder's escapes, and times in ISO 8601 whatever
-- the session's settings are. OFFSET keeps each value from being written once for each of its uses.
SELECT
  w.seq,
  w._usual
    AND GREATEST(
      LENGTH(CONVERT_TO(w._frame, 'UTF8')), LENGTH(CONVERT_TO(w._identify, 'UTF8')),
      LENGTH(CONVERT_TO(w._group, 'UTF8')), LENGTH(CONVERT_TO(w._track, 'UTF8'))
    ) <= :bytes_max AS _usual,
  w.op, w._user, w._frame, w._identify, w._group, w._track
FROM (
  SELECT
    p.seq, p.op,
    NOT p._send OR (
      p._at IS NULL AND NOT p._blind AND NOT p._stays
      AND p._user COLLATE "C" >= '!' AND p._user COLLATE "C" < CHR(127)
      AND STRPOS(p._user, CHR(30)) = 0
      AND EVERY_COLUMN(held, p._ IS NOT NULL)
      AND EVERY_COLUMN(
        group_id, p._ = 'null' OR p._ COLLATE "C" >= '"0' AND p._ COLLATE "C" < '"['
      )
      AND (p.op = 'exited' OR EVERY_COLUMN(moment, p._ <> 'null'))
      AND (p.op <> 'changed' OR NOT ANY_COLUMN(ids_held, p._ <> p.old___))
    ) AS _usual,
    p._user,
    CONCAT('[', p.base_v, EACH_COLUMN(keys, CONCAT(',', p._)), ']') AS _frame,
    CASE
      WHEN NOT p._send THEN NULL
      WHEN p.op = 'exited' THEN CONCAT('', EACH_COLUMN(left_text, CONCAT('_LABEL', p._))) || :left_end
      WHEN p.op = 'entered' OR ANY_COLUMN(traits_held, p._ <> p.old___)
      THEN CONCAT('', EACH_COLUMN(identify_text, CONCAT('_LABEL', p._))) || :identify_end
    END AS _identify,
    CASE
      WHEN NOT p._send OR p.op = 'exited' OR ANY_COLUMN(group_id, p._ = 'null') THEN NULL
      WHEN p.op = 'entered' OR ANY_COLUMN(group_held, p._ <> p.old___)
      THEN CONCAT('', EACH_COLUMN(group_text, CONCAT('_LABEL', p._))) || :group_end
    END AS _group,
    CASE
      WHEN NOT p._send THEN NULL
      WHEN p.op = 'exited'
      THEN CONCAT('', EACH_COLUMN(exited_text, CONCAT('_LABEL', p._))) || :exited_end
      WHEN p.op = 'entered' AND (p.reason <> 'initial' OR :initial)
      THEN CONCAT('', EACH_COLUMN(entered_text, CONCAT('_LABEL', p._))) || :entered_end
      WHEN p.op = 'changed' AND ANY_COLUMN(track_held, p._ <> p.old___)
      THEN CONCAT(
        EACH_COLUMN(changed_text, CONCAT('_LABEL', p._)), :previous_start,
        CONCAT_WS(',', NULL, EACH_COLUMN(
          previous_text, CASE WHEN p._ <> p.old___ THEN CONCAT('_LABEL', p.old___) END
        ))
      ) || :changed_end
    END AS _track
  FROM (
    SELECT
      o.seq, o.op, o.reason, o.base_v, o._send, o._at, o._blind, o._stays, o._ AS _user,
      EACH_COLUMN(texts, COALESCE(CAST(TO_JSON(o._) AS TEXT), 'null')),
      EACH_COLUMN(booleans, COALESCE(CAST(o._ AS TEXT), 'null')),
      EACH_COLUMN(wholes, CASE
        WHEN o._ IS NULL THEN 'null'
        WHEN o._ BETWEEN -9007199254740991 AND 9007199254740991 THEN CAST(o._ AS TEXT)
        WHEN CAST(o._ AS TEXT) NOT IN ('NaN', 'Infinity', '-Infinity') THEN CONCAT('"', o._, '"')
      END),
      EACH_COLUMN(doubles, CASE
        WHEN o._ IS NULL THEN 'null'
        -- Beyond these ends, and beyond 1e6 in four bytes, there would be an exponent.
        WHEN ABS(o._) >= 0.001 AND ABS(o._) < CASE PG_COLUMN_SIZE(o._)
          WHEN 4 THEN CAST(1e6 AS DOUBLE PRECISION) ELSE CAST(1e15 AS DOUBLE PRECISION)
        END
        THEN CONCAT(o._, CASE WHEN o._ = TRUNC(o._) THEN '.0' END)
        WHEN CAST(o._ AS TEXT) = '0' THEN '0.0'
      END),
      EACH_COLUMN(decimals, CASE
        WHEN o._ IS NULL THEN 'null'
        WHEN SCALE(o._) IS NULL OR LENGTH(CAST(o._ AS TEXT)) > 15 OR (ABS(o._) < 0.001 AND o._ <> 0)
        THEN NULL
        WHEN SCALE(o._) = 0 THEN CAST(o._ AS TEXT)
        ELSE CONCAT(RTRIM(CAST(o._ AS TEXT), '0'), CASE WHEN o._ = TRUNC(o._) THEN '0' END)
      END),
      EACH_COLUMN(dates, CASE
        WHEN o._ IS NULL THEN 'null'
        WHEN o._ BETWEEN DATE '1000-01-01' AND DATE '9999-12-31' THEN CAST(TO_JSON(o._) AS TEXT)
      END),
      EACH_COLUMN(moments, CASE
        WHEN o._ IS NULL THEN 'null'
        WHEN o._ BETWEEN TIMESTAMP '1000-01-01' AND TIMESTAMP '9999-12-31'
        THEN CONCAT('"', REPLACE(
          TO_CHAR(CAST(o._ AS TIMESTAMP), 'YYYY-MM-DD"T"HH24:MI:SS.US'), '.000000', ''
        ), 'Z"')
      END),
      EACH_COLUMN(uuids, CASE WHEN o._ IS NULL THEN 'null' ELSE CONCAT('"', o._, '"') END)
    FROM outbox AS o
    WHERE o.run_seq = :run AND o.seq >= :first_seq AND o.seq <= :last_seq
    OFFSET 0
  ) AS p
  OFFSET 0
) AS w
ORDER BY w.seq

-- name: joined_page
-- A rendered page as one row: each column's values, joined by a character that JSON escapes. Values of
-- a row that the mapper writes are left out, however long they are.
SELECT
  STRING_AGG(CAST(r.seq AS TEXT), ','),
  STRING_AGG(CASE WHEN r._usual THEN '1' ELSE '' END, ','),
  STRING_AGG(r.op, ','),
  STRING_AGG(CASE WHEN r._usual THEN r._user ELSE '' END, CHR(30)),
  STRING_AGG(CASE WHEN r._usual THEN r._frame ELSE '' END, CHR(30)),
  STRING_AGG(CASE WHEN r._usual THEN COALESCE(r._identify, '') ELSE '' END, CHR(30)),
  STRING_AGG(CASE WHEN r._usual THEN COALESCE(r._group, '') ELSE '' END, CHR(30)),
  STRING_AGG(CASE WHEN r._usual THEN COALESCE(r._track, '') ELSE '' END, CHR(30))
FROM rendered AS r

-- name: job_page
-- The next transitions of a run as lines of a CSV file, each with its key. A row that a field may refuse,
-- or whose cells may differ from those of its record, is not rendered; the mapper makes its record.
WITH page AS (
  SELECT
    o.seq, o._send,
    NOT o._send OR (
      o.op <> 'exited' AND NOT o._stays
      AND (o.op = 'entered' OR o._blind OR (
        EVERY_COLUMN(matched, AS_SENT(o._) IS NOT DISTINCT FROM AS_SENT(o.old___))
        AND ANY_COLUMN(compared, AS_SENT(o._) IS DISTINCT FROM AS_SENT(o.old___))
      ))
      AND EVERY_COLUMN(required, o._ IS NOT NULL
        AND LOWER(CAST(o._ AS VARCHAR)) NOT IN ('', 'nan', 'inf', '-inf', 'infinity', '-infinity'))
      -- A character beyond U+FFFF counts twice; in ASCII there is none.
      AND EVERY_COLUMN(long_texts, o._ IS NULL OR 2 * LENGTH(o._) <= CAST('_LABEL' AS BIGINT)
        OR STRLEN(o._) <= CAST('_LABEL' AS BIGINT))
      AND EVERY_COLUMN(picklists, COALESCE(o._, '') = ''
        OR STRPOS('_LABEL', CONCAT('|', o._, '|')) > 0)
      AND EVERY_COLUMN(numbers, o._ IS NULL
        OR ABS(CAST(o._ AS DOUBLE)) < CAST('_LABEL' AS DOUBLE))
      AND EVERY_COLUMN(days, o._ IS NULL OR o._ BETWEEN DATE '1700-01-01' AND DATE '4000-12-31')
      AND EVERY_COLUMN(moments, o._ IS NULL OR CAST(o._ AS TIMESTAMP)
        BETWEEN TIMESTAMP '1700-01-02 00:00:00' AND TIMESTAMP '4000-12-30 00:00:00')
    ) AS _usual,
    EACH_COLUMN(key_column, CAST(o._PAIR AS VARCHAR)),
    EACH_COLUMN(text_cells, CASE
      WHEN COALESCE(o._PAIR, '') = '' THEN '_LABEL'
      WHEN CONTAINS(o._PAIR, ',') OR CONTAINS(o._PAIR, '"')
        OR CONTAINS(o._PAIR, CHR(10)) OR CONTAINS(o._PAIR, CHR(13))
      THEN CONCAT('"', REPLACE(o._PAIR, '"', '""'), '"')
      WHEN o._PAIR <> '#N/A' THEN o._PAIR
    END),
    EACH_COLUMN(plain_cells, COALESCE(CAST(o._PAIR AS VARCHAR), '_LABEL')),
    EACH_COLUMN(double_cells, CASE
      WHEN o._PAIR IS NULL OR NOT ISFINITE(CAST(o._PAIR AS DOUBLE)) THEN '_LABEL'
      WHEN ABS(o._PAIR) BETWEEN 0.001 AND 1e15 OR o._PAIR = 0
      THEN CAST(TO_JSON(CAST(o._PAIR AS DOUBLE)) AS VARCHAR)
    END),
    EACH_COLUMN(midnight_cells, COALESCE(CAST(o._PAIR AS VARCHAR) || 'T00:00:00.000Z', '_LABEL')),
    EACH_COLUMN(moment_cells, CASE
      WHEN o._PAIR IS NULL THEN '_LABEL'
      WHEN EPOCH_US(o._PAIR) BETWEEN EPOCH_US(TIMESTAMP '1700-01-01')
        AND EPOCH_US(TIMESTAMP '4001-01-01')
      THEN STRFTIME(MAKE_TIMESTAMP(EPOCH_US(o._PAIR)), '%Y-%m-%dT%H:%M:%S.%g') || 'Z'
    END)
  FROM outbox AS o
  WHERE o.run_seq = :run AND o.seq >= :first_seq AND o.seq <= :last_seq
)
SELECT
  p.seq,
  NOT p._send OR (p._usual AND EVERY_COLUMN(cells, p._ IS NOT NULL)),
  EACH_COLUMN(key_column, p._),
  CASE
    WHEN p._send THEN ENCODE(CONCAT('', EACH_COLUMN(cells, CONCAT('_LABEL', p._))) || :line_end)
  END
FROM page AS p
