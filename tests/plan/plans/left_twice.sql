-- The second exit of a member is based on the version of its second entry.

-- include city_audience

-- include three_contacts

-- then
DELETE FROM salesforce.contact WHERE id = 'c1';

-- then
INSERT INTO salesforce.contact VALUES ('c1', 'Moss');

-- now
DELETE FROM salesforce.contact WHERE id = 'c1';

-- outbox
-- op     | reason | base | key | new       | old
-- exited | data   | 3    | c1  | city=Moss |
-- size 3 -> 2
