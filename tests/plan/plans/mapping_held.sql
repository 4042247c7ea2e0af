-- With on_mapping_change hold, the changes of an edited header are planned as they would be sent,
-- and held.

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

-- now
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c3';

-- outbox
-- size 3 -> 3
-- held by mapping: 0 in, 3 changed, 0 out
