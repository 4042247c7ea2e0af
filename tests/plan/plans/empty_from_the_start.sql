-- An audience without rows is planned without a transition, and so is the run after it.

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
--- */
SELECT id, city FROM salesforce.contact

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT);

-- now

-- outbox
-- size 0 -> 0
