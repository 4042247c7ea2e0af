-- An audience without rows is planned without a transition, and so is the run after it.

-- include city_audience

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT);

-- now

-- outbox
-- size 0 -> 0
