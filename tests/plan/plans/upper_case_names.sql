-- Column names are compared without their case.

-- audience
/* ---
key: ID
user_id: Id
track: {changed: Changed, properties: {City: CITY}}
--- */
SELECT Id, CITY FROM salesforce.Contact

-- include three_contacts

-- now
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c1';

-- outbox
-- op      | reason | base | key | new       | old
-- changed | data   | 1    | c1  | city=Moss | city=Oslo
-- size 3 -> 3
