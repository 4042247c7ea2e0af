-- A member whose exit is unconfirmed and that returns enters again, although the ledger still has
-- it as a member.

-- include city_audience

-- include three_contacts

-- then (unconfirmed: c1)
DELETE FROM salesforce.contact WHERE id = 'c1';

-- now
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo');

-- outbox
-- op      | reason | base | key | new       | old
-- entered | data   | -2   | c1  | city=Oslo |
-- size 3 -> 3
