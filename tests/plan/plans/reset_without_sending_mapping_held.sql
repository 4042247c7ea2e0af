-- A reset without sending records every member and ignores the header's policy for mapping changes.

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

-- now (intent: accept)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c3';

-- outbox
-- op      | reason | base | key | new       | old       | note
-- changed | data   | 1    | c3  | city=Moss | city=NULL | recorded
-- size 3 -> 3
