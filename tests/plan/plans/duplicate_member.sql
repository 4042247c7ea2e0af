-- A member whose key occurs twice is neither changed nor exited; the audience is held.

-- include city_audience

-- include three_contacts

-- now
INSERT INTO salesforce.contact VALUES ('c1', 'Moss');
DELETE FROM salesforce.contact WHERE id = 'c2';

-- outbox
-- size 3 -> 2
-- held by keys: 0 in, 0 changed, 1 out
-- quarantined 2
