-- With bad keys allowed once, a member whose key occurs twice stays unchanged, and the other
-- changes are sent.

-- include city_audience

-- include three_contacts

-- now (allow: keys)
INSERT INTO salesforce.contact VALUES ('c1', 'Moss');
DELETE FROM salesforce.contact WHERE id = 'c2';

-- outbox
-- op     | reason | base | key | new         | old
-- exited | data   | 1    | c2  | city=Bergen |
-- size 3 -> 2
-- quarantined 2
