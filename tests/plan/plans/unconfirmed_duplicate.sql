-- An unconfirmed key that is a duplicate now waits until it is fixed: no key has two changes in one
-- plan.

-- include city_audience

-- include three_contacts

-- then (unconfirmed: c1)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c1';

-- then (allow: keys)
UPDATE salesforce.contact SET city = 'Oslo' WHERE id = 'c1';
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo');

-- now (allow: keys)
INSERT INTO salesforce.contact VALUES ('c4', 'Oslo');

-- outbox
-- op      | reason | base | key | new       | old
-- entered | data   | 0    | c4  | city=Oslo |
-- size 3 -> 4
-- quarantined 2
