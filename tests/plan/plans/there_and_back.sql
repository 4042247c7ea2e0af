-- A value that changes and reverts is two changes, each on the version of the previous one.

-- include city_audience

-- include three_contacts

-- then
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c1';

-- now
UPDATE salesforce.contact SET city = 'Oslo' WHERE id = 'c1';

-- outbox
-- op      | reason | base | key | new       | old
-- changed | data   | 2    | c1  | city=Oslo | city=Moss
-- size 3 -> 3
