-- name: rendered_page
-- The next transitions of a run with their rendered messages. A value whose JSON may differ from the
-- encoder's is NULL, and the mapper writes the messages of that row.
WITH page AS (
  SELECT
    o.seq, o.op, o.reason, o.base_v, o._send, o._at, o._blind, o._stays, o._ AS _user,
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
    p.seq, p.op,
    NOT p._send OR (
      p._at IS NULL AND NOT p._blind AND NOT p._stays
      AND LEFT(p._user, 1) BETWEEN '!' AND '~'
      AND EVERY_COLUMN(held, p._ IS NOT NULL)
      AND EVERY_COLUMN(group_id, p._ = 'null' OR SUBSTRING(p._, 2, 1) BETWEEN '0' AND 'Z')
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
  FROM page AS p
)
SELECT
  w.seq,
  w._usual
    AND GREATEST(STRLEN(w._identify), STRLEN(w._group), STRLEN(w._track), 0) <= :bytes_max
    -- Control characters: DuckDB and the encoder write hexadecimal digits in different cases.
    AND NOT CONTAINS(CONCAT(w._frame, w._identify, w._group, w._track), '\u00'),
  w.op,
  w._user,
  ENCODE(w._frame),
  ENCODE(w._identify),
  ENCODE(w._group),
  ENCODE(w._track)
FROM written AS w
