-- The old SQL is also run at the current time.

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
--- */
SELECT id, city FROM salesforce.contact WHERE seen >= CURRENT_DATE - INTERVAL 7 DAY

-- before (at: 2026-03-10)
CREATE TABLE salesforce.contact (id TEXT, city TEXT, seen TIMESTAMP);
INSERT INTO salesforce.contact VALUES ('aged', 'Oslo', '2026-03-03'), ('narrowed', 'Moss', '2026-03-05'), ('fresh', 'Bodø', '2026-03-10');

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
--- */
SELECT id, city FROM salesforce.contact WHERE seen >= CURRENT_DATE - INTERVAL 5 DAY

-- now (at: 2026-03-11)

-- outbox
-- op     | reason     | base | key      | new       | old
-- exited | data       | 1    | aged     | city=Oslo |
-- exited | definition | 1    | narrowed | city=Moss |
-- size 3 -> 1
