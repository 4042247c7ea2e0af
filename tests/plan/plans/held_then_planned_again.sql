-- Held changes are planned again from the ledger, together with later changes.

-- include city_audience

-- include three_contacts

-- then (upstream: Contact)
DELETE FROM salesforce.contact WHERE id = 'c1';

-- now (allow: upstream)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c2';

-- outbox
-- op      | reason   | base | key | new       | old
-- exited  | upstream | 1    | c1  | city=Oslo |
-- changed | data     | 1    | c2  | city=Moss | city=Bergen
-- size 3 -> 2
