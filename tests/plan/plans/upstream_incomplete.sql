-- Exits while an object did not land whole are put down to upstream, and hold the audience.

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
--- */
SELECT id, city FROM salesforce.contact

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo'), ('c2', 'Bergen'), ('c3', NULL);

-- now (upstream: Contact)
DELETE FROM salesforce.contact WHERE id = 'c1';
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c2';

-- outbox
-- size 3 -> 2
-- held by upstream: 0 in, 1 changed, 1 out
