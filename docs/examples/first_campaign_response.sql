/* ---
audience: first_campaign_response
description: Contacts who have responded to a campaign, from the day of their first response
key: contact_id
user_id: contact_id
track:
  entered: First Campaign Response
  exited: false
  timestamp: first_responded_at
  initial: skip
  properties: {responses: responses}
identify:
  traits: {campaign_responses: responses}
--- */
SELECT
    contact_id,
    CAST(MIN(first_responded_date) AS TIMESTAMP) AS first_responded_at,
    COUNT(*) AS responses
FROM salesforce.campaign_member
WHERE has_responded AND contact_id IS NOT NULL AND is_deleted IS NOT TRUE
GROUP BY contact_id
