-- A member whose entry is unconfirmed and whose row is missing exits, with the values that were
-- sent last.

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
