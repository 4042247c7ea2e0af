/* ---
description: Live campaign memberships of contacts, one row each
--- */
-- Live rows only: see accounts.sql. Leads have no contact_id, and are left out.
SELECT
    id AS campaign_member_id,
    campaign_id,
    contact_id,
    has_responded,
    first_responded_date AS responded_on
FROM salesforce.campaign_member
WHERE is_deleted IS NOT TRUE AND contact_id IS NOT NULL
