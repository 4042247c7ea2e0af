-- A member that left and comes back enters again, on the version of its exit, so that the second
-- entry has another messageId than the first.

-- include city_audience

-- include three_contacts

-- then
DELETE FROM salesforce.contact WHERE id = 'c1';

-- now
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo');

-- outbox
-- op      | reason | base | key | new       | old
-- entered | data   | 2    | c1  | city=Oslo |
-- size 2 -> 3
