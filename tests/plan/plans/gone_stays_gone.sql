-- A member that exited does not exit again, however often the run repeats.

-- include city_audience

-- include three_contacts

-- then
DELETE FROM salesforce.contact WHERE id = 'c1';

-- then

-- now

-- outbox
-- size 2 -> 2
