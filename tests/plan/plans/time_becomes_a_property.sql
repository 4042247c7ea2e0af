-- A time column that is mapped as a property for the first time counts as a new column, although it
-- was recorded before: it changes no member, and changes count from the next run on.

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}, timestamp: seen}
--- */
SELECT id, city, seen FROM salesforce.contact

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT, seen TIMESTAMP);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', '2026-01-01'), ('c2', 'Moss', '2026-01-01');

-- then
UPDATE salesforce.contact SET seen = '2026-01-02';

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city, seen: seen}, timestamp: seen}
--- */
SELECT id, city, seen FROM salesforce.contact

-- now
UPDATE salesforce.contact SET city = 'Hamar' WHERE id = 'c2';

-- outbox
-- op      | reason | base | key | new                                         | old
-- changed | data   | 1    | c2  | city=Hamar seen=2026-01-02T00:00:00.000000Z | city=Moss seen=2026-01-02T00:00:00.000000Z
-- size 2 -> 2

-- now
UPDATE salesforce.contact SET seen = '2026-01-03' WHERE id = 'c1';

-- outbox
-- op      | reason | base | key | new                                        | old
-- changed | data   | 1    | c1  | city=Oslo seen=2026-01-03T00:00:00.000000Z | city=Oslo seen=2026-01-02T00:00:00.000000Z
-- size 2 -> 2
