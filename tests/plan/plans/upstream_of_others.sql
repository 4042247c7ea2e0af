-- An incomplete object that the audience does not read does not hold it.

-- include city_audience

-- include three_contacts

-- now (upstream: Account)
DELETE FROM salesforce.contact WHERE id = 'c1';

-- outbox
-- op     | reason | base | key | new       | old
-- exited | data   | 1    | c1  | city=Oslo |
-- size 3 -> 2
