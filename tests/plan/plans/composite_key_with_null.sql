-- A key with a NULL part is a bad key: it is left out and holds the audience, and the member with
-- the same other part does not change.

-- audience
/* ---
key: [campaign_id, contact_id]
user_id: contact_id
track: {changed: Changed, properties: {status: status, campaign: campaign_id}}
--- */
SELECT campaign_id, contact_id, status FROM salesforce.campaign_member

-- before
CREATE TABLE salesforce.campaign_member (campaign_id TEXT, contact_id TEXT, status TEXT);
INSERT INTO salesforce.campaign_member VALUES ('a', 'c1', 'Sent'), ('b', 'c2', 'Sent');

-- now
INSERT INTO salesforce.campaign_member VALUES (NULL, 'c1', 'Sent'), ('c', NULL, 'Sent'), ('c', 'c3', 'Sent');

-- outbox
-- size 2 -> 3
-- held by keys: 1 in, 0 changed, 0 out
-- quarantined 2
