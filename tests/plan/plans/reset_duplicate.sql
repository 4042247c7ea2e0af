-- A reset does not let a bad key in.

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

-- now (intent: resend, allow: keys)
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo'), (NULL, 'x');

-- outbox
-- op      | reason  | base | key | new         | old
-- entered | initial | -2   | c2  | city=Bergen |
-- entered | initial | -2   | c3  | city=NULL   |
-- size 3 -> 3
-- quarantined 3
