-- Two texts for the same instant are one value.

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {seen: seen, day: day}}
--- */
SELECT id, seen, day FROM salesforce.contact

-- before
CREATE TABLE salesforce.contact (id TEXT, seen TIMESTAMPTZ, day DATE);
INSERT INTO salesforce.contact VALUES ('c1', '2026-03-29 01:30:00+00', '2026-03-29'), ('c2', '2026-03-29 01:30:00+00', '2026-03-29'), ('c3', '1969-12-31 23:59:59.999999+00', '0001-01-01');

-- now
UPDATE salesforce.contact SET seen = '2026-03-29 03:30:00+02' WHERE id = 'c1';
UPDATE salesforce.contact SET seen = '2026-03-29 03:30:00.000001+02', day = '2026-03-30' WHERE id = 'c2';

-- outbox
-- op      | reason | base | key | new                                             | old
-- changed | data   | 1    | c2  | day=2026-03-30 seen=2026-03-29T01:30:00.000001Z | day=2026-03-29 seen=2026-03-29T01:30:00.000000Z
-- size 3 -> 3
