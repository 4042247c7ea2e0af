-- After a duplicate key is fixed, the member is unchanged and nothing is planned.

-- include city_audience

-- include three_contacts

-- then (allow: keys)
INSERT INTO salesforce.contact VALUES ('c1', 'Moss');

-- now
DELETE FROM salesforce.contact WHERE id = 'c1' AND city = 'Moss';

-- outbox
-- size 3 -> 3
