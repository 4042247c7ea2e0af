/* ---
description: Live accounts, one row each
--- */
-- A row that Salesforce deleted stays in the landed table with is_deleted. It is left out here,
-- in staging, so that every model above sees live rows only: the members it made leave.
SELECT
    id AS account_id,
    name AS account_name,
    type AS account_type,
    industry,
    number_of_employees AS employees,
    website,
    billing_country
FROM salesforce.account
WHERE is_deleted IS NOT TRUE
