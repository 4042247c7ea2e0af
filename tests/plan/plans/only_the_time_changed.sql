-- A timestamp or a message id that changes alone is not sent; it is sent along with other changes.

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}, timestamp: seen, message_id: mail}
--- */
SELECT id, city, seen, mail FROM salesforce.contact

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT, seen TIMESTAMP, mail TEXT);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', '2026-01-01', 'm1'), ('c2', 'Moss', '2026-01-01', 'm2'), ('c3', 'Bodø', NULL, NULL);

-- now
UPDATE salesforce.contact SET seen = '2026-02-02 02:02:02', mail = 'm9' WHERE id <> 'c3';
UPDATE salesforce.contact SET city = 'Hamar' WHERE id = 'c2';

-- outbox
-- op      | reason | base | key | new                                                 | old
-- changed | data   | 1    | c2  | city=Hamar seen=2026-02-02T02:02:02.000000Z mail=m9 | city=Moss seen=2026-01-01T00:00:00.000000Z mail=m2
-- size 3 -> 3
