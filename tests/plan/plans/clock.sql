-- A member that ages out of a time window exits with the reason data: time passed, and no SQL was
-- edited.

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
--- */
SELECT id, city FROM salesforce.contact
WHERE seen >= CURRENT_DATE - INTERVAL 7 DAY AND seen < now()

-- before (at: 2026-03-10)
CREATE TABLE salesforce.contact (id TEXT, city TEXT, seen TIMESTAMPTZ);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', '2026-03-03 00:00:00+00'), ('c2', 'Moss', '2026-03-09 12:00:00+00'), ('c3', 'Bodø', '2026-03-10 12:00:00+00');

-- now (at: 2026-03-11)

-- outbox
-- op      | reason | base | key | new       | old
-- exited  | data   | 1    | c1  | city=Oslo |
-- entered | data   | 0    | c3  | city=Bodø |
-- size 2 -> 2
