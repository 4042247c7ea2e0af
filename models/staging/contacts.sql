/* ---
description: Live contacts, one row each
--- */
-- Live rows only: see accounts.sql.
SELECT
    id AS contact_id,
    account_id,
    first_name,
    last_name,
    email,
    title,
    mailing_country,
    has_opted_out_of_email,
    NOT has_opted_out_of_email AND NOT is_email_bounced AS can_be_emailed
FROM salesforce.contact
WHERE is_deleted IS NOT TRUE
