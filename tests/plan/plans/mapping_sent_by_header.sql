-- With on_mapping_change send in the header, an edited mapping is sent to all members.

-- include city_audience

-- include three_contacts

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {town: city}}
on_mapping_change: send
--- */
SELECT id, city FROM salesforce.contact

-- now
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c3';

-- outbox
-- op      | reason  | base | key | new         | old
-- changed | mapping | 1    | c1  | city=Oslo   |
-- changed | mapping | 1    | c2  | city=Bergen |
-- changed | data    | 1    | c3  | city=Moss   |
-- size 3 -> 3
