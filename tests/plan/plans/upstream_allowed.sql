-- Exits after an incomplete extract can be allowed once; their reason stays upstream.

-- include city_audience

-- include three_contacts

-- now (upstream: Contact, allow: upstream)
DELETE FROM salesforce.contact WHERE id = 'c1';
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c2';

-- outbox
-- op      | reason   | base | key | new       | old
-- exited  | upstream | 1    | c1  | city=Oslo |
-- changed | data     | 1    | c2  | city=Moss | city=Bergen
-- size 3 -> 2
