-- Who perhaps entered and is gone exits, with what was last tried.

-- include city_audience

-- include three_contacts

-- then (unconfirmed: c4)
INSERT INTO salesforce.contact VALUES ('c4', 'Moss');

-- now
DELETE FROM salesforce.contact WHERE id = 'c4';

-- outbox
-- op     | reason | base | key | new       | old
-- exited | data   | -2   | c4  | city=Moss |
-- size 3 -> 3
