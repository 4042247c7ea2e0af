-- A reset that sends lets everybody enter anew, under a version that nobody has seen; who left
-- still exits.

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

-- now (intent: resend)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c1';
DELETE FROM salesforce.contact WHERE id = 'c2';
INSERT INTO salesforce.contact VALUES ('c4', 'Bodø');

-- outbox
-- op      | reason  | base | key | new         | old
-- entered | initial | -2   | c1  | city=Moss   |
-- exited  | data    | 1    | c2  | city=Bergen |
-- entered | initial | -2   | c3  | city=NULL   |
-- entered | initial | -2   | c4  | city=Bodø   |
-- size 3 -> 3
