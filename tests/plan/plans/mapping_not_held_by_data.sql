-- With on_mapping_change hold, changes of the data are sent while the header is unchanged.

-- include city_audience

-- include three_contacts

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
on_mapping_change: hold
--- */
SELECT id, city FROM salesforce.contact

-- now
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c3';

-- outbox
-- op      | reason | base | key | new       | old
-- changed | data   | 1    | c3  | city=Moss | city=NULL
-- size 3 -> 3
