-- A new key that the model gives twice does not enter.

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

-- now (allow: keys)
INSERT INTO salesforce.contact VALUES ('c4', 'Moss'), ('c4', 'Moss'), ('c5', 'Moss');

-- outbox
-- op      | reason | base | key | new       | old
-- entered | data   | 0    | c5  | city=Moss |
-- size 3 -> 4
-- quarantined 2
