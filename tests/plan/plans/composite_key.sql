-- A key of two columns is one key: its parts are never concatenated ambiguously, and a user with
-- two memberships is two members.

-- audience
/* ---
key: [campaign_id, contact_id]
user_id: contact_id
track: {changed: Changed, properties: {status: status, campaign: campaign_id}}
--- */
SELECT campaign_id, contact_id, status FROM salesforce.campaign_member

-- before
CREATE TABLE salesforce.campaign_member (campaign_id TEXT, contact_id TEXT, status TEXT);
INSERT INTO salesforce.campaign_member VALUES ('a', 'bc', 'Sent'), ('ab', 'c', 'Sent'), ('b', 'c', 'Sent');

-- now
UPDATE salesforce.campaign_member SET status = 'Responded' WHERE campaign_id = 'ab';
DELETE FROM salesforce.campaign_member WHERE campaign_id = 'b';
INSERT INTO salesforce.campaign_member VALUES ('a', 'c', 'Sent');

-- outbox
-- op      | reason | base | key  | new              | old         | note
-- exited  | data   | 1    | b c  | status=Sent      |             | stays
-- entered | data   | 0    | a c  | status=Sent      |             |
-- changed | data   | 1    | ab c | status=Responded | status=Sent |
-- size 3 -> 3
