-- Changes that on_mapping_change holds are sent once they are allowed.

-- include city_audience

-- include three_contacts

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {town: city}}
on_mapping_change: hold
--- */
SELECT id, city FROM salesforce.contact

-- now (allow: mapping)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c3';

-- outbox
-- op      | reason  | base | key | new         | old
-- changed | mapping | 1    | c1  | city=Oslo   |
-- changed | mapping | 1    | c2  | city=Bergen |
-- changed | data    | 1    | c3  | city=Moss   |
-- size 3 -> 3
