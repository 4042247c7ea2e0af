-- Who was a member at a moment. Of each key the best there is to go by: what was last settled until
-- then, else what was settled next, else, where the outbox was purged, the members of today.
SELECT EACH_COLUMN(keys, w._)
FROM (
  SELECT
    EACH_COLUMN(keys, e._), e._was_member,
    ROW_NUMBER() OVER (PARTITION BY EACH_COLUMN(keys, e._) ORDER BY e._evidence, e._distance) AS _place
  FROM (
    SELECT EACH_COLUMN(keys, o._), o.op <> 'exited' AS _was_member, 1 AS _evidence, -o.run_seq AS _distance
    FROM told AS o
    WHERE o._acked_at <= :moment
    UNION ALL
    SELECT
      EACH_COLUMN(keys, o._),
      -- A reset tells members as entering who have been there since.
      o.op <> 'entered' OR (o._blind AND o._since <= :moment),
      2, o.run_seq
    FROM told AS o
    WHERE o._acked_at > :moment
    UNION ALL
    SELECT EACH_COLUMN(keys, s._), NOT s._gone AND s._since <= :moment, 3, 0
    FROM snapshot AS s
  ) AS e
) AS w
WHERE w._place = 1 AND w._was_member
ORDER BY EACH_COLUMN(keys, w._)
