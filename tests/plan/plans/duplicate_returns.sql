-- A former member whose key now occurs twice does not enter.

-- include city_audience

-- include three_contacts

-- then
DELETE FROM salesforce.contact WHERE id = 'c1';

-- now (allow: keys)
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo'), ('c1', 'Moss');

-- outbox
-- size 2 -> 2
-- quarantined 2
