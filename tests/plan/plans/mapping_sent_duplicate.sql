-- A member with a duplicate key is not sent again because of an edited mapping.

-- include city_audience

-- include three_contacts

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {town: city}}
--- */
SELECT id, city FROM salesforce.contact

-- now (on_mapping_change: send, allow: keys)
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo');

-- outbox
-- op      | reason  | base | key | new         | old
-- changed | mapping | 1    | c2  | city=Bergen |
-- changed | mapping | 1    | c3  | city=NULL   |
-- size 3 -> 3
-- quarantined 2
