-- A member whose suppress_when column is true exits, or does not enter. NULL is not true.

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
consent: {suppress_when: opted_out}
--- */
SELECT id, city, opted_out FROM salesforce.contact

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT, opted_out BOOLEAN);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', FALSE), ('c2', 'Moss', NULL), ('c3', 'Bodø', TRUE), ('c4', 'Hamar', FALSE);

-- now
UPDATE salesforce.contact SET opted_out = TRUE, city = 'Moss' WHERE id = 'c1';
UPDATE salesforce.contact SET opted_out = FALSE WHERE id = 'c3';
UPDATE salesforce.contact SET opted_out = NULL WHERE id = 'c4';
INSERT INTO salesforce.contact VALUES ('c5', 'Oslo', TRUE);

-- outbox
-- op      | reason | base | key | new       | old
-- exited  | data   | 1    | c1  | city=Oslo |
-- entered | data   | 0    | c3  | city=Bodø |
-- size 3 -> 3
