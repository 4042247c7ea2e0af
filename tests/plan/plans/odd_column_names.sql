-- Columns may have names that are keywords of SQL or names in the plan's own statements.

-- audience
/* ---
key: place
user_id: place
track: {changed: Changed, properties: {a: order, b: times, c: First Name, d: values, e: old}}
--- */
SELECT id AS place, city AS "order", times, first_name AS "First Name", 1 AS "values", 2 AS old
FROM salesforce.contact

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT, times INTEGER, first_name TEXT);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', 1, 'Ann'), ('c2', 'Moss', 2, 'Bo');

-- now (allow: keys)
UPDATE salesforce.contact SET first_name = 'Anna', times = 3 WHERE id = 'c1';
INSERT INTO salesforce.contact VALUES ('c2', 'Moss', 2, 'Bo');

-- outbox
-- op      | reason | base | key | new                                               | old
-- changed | data   | 1    | c1  | order=Oslo times=3 first name=Anna values=1 old=2 | order=Oslo times=1 first name=Ann values=1 old=2
-- size 2 -> 2
-- quarantined 2
