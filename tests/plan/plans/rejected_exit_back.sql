-- A member that returns before its rejected exit was accepted never left.

-- include city_audience

-- include three_contacts

-- then (rejected: c1)
DELETE FROM salesforce.contact WHERE id = 'c1';

-- now
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo');

-- outbox
-- size 3 -> 3
