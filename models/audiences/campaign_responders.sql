/* ---
audience: campaign_responders
description: Contacts who responded to a campaign in the last 90 days, with their latest response
owner: campaigns@example.com
tags: [marketing, campaigns]
key: contact_id
user_id: contact_id
track:
  entered: Campaign Responded
  changed: Campaign Responded Again
  exited: Campaign Response Faded
  properties:
    campaign_name: campaign_name
    campaign_type: campaign_type
    responded_on: responded_on
    responses: responses
    source: {value: Salesforce}
context: {active: false}
integrations: {All: true, Salesforce: false}
consent: {suppress_when: has_opted_out_of_email}
--- */
WITH responses AS (
    SELECT
        campaign_members.contact_id,
        campaign_members.responded_on,
        campaigns.campaign_name,
        campaigns.campaign_type,
        COUNT(*) OVER (PARTITION BY campaign_members.contact_id) AS responses,
        ROW_NUMBER() OVER (
            PARTITION BY campaign_members.contact_id
            ORDER BY campaign_members.responded_on DESC, campaign_members.campaign_member_id
        ) AS recency
    FROM campaign_members
    JOIN campaigns ON campaigns.campaign_id = campaign_members.campaign_id
    WHERE
        campaign_members.has_responded
        AND campaign_members.responded_on > current_date - INTERVAL 90 DAY
)

SELECT
    contacts.contact_id,
    contacts.has_opted_out_of_email,
    responses.campaign_name,
    responses.campaign_type,
    responses.responded_on,
    responses.responses
FROM contacts
JOIN responses ON responses.contact_id = contacts.contact_id
WHERE responses.recency = 1
