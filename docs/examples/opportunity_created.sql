/* ---
events: opportunity_created
description: An opportunity with a contact was created
key: opportunity_id
event: Opportunity Created
timestamp: created_at
user_id: contact_id
properties: {opportunity_id: opportunity_id, amount: amount, type: opportunity_type}
--- */
SELECT
    id AS opportunity_id,
    contact_id,
    created_date AS created_at,
    amount,
    type AS opportunity_type
FROM salesforce.opportunity
WHERE contact_id IS NOT NULL
