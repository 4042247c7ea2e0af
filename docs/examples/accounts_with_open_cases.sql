/* ---
audience: accounts_with_open_cases
description: Contacts together with their account, while the account has an open support case
key: [account_id, contact_id]
user_id: contact_id
track:
  entered: Support Case Opened
  exited: Support Cases Closed
  properties: {open_cases: open_cases, oldest_case_opened_at: oldest_case_opened_at}
group:
  group_id: account_id
  traits: {name: account_name, has_open_cases: {value: true}}
--- */
SELECT
    contact.id AS contact_id,
    contact.account_id,
    account.name AS account_name,
    COUNT(*) AS open_cases,
    MIN(c.created_date) AS oldest_case_opened_at
FROM salesforce.case AS c
JOIN salesforce.account AS account ON account.id = c.account_id
JOIN salesforce.contact AS contact ON contact.account_id = account.id
WHERE
    NOT c.is_closed
    AND c.is_deleted IS NOT TRUE
    AND account.is_deleted IS NOT TRUE
    AND contact.is_deleted IS NOT TRUE
GROUP BY ALL
