/* ---
audience: vip_contacts
description: Contacts whose account won more than 50k in the last year
owner: growth@example.com
tags: [marketing, daily]
key: contact_id
user_id: contact_id
external_ids: {salesforce_contact_id: contact_id}
track:
  properties: {ltv: ltv_usd, account_name: account_name}
identify:
  traits:
    email: {column: email, hash: sha256}
    first_name: first_name
    ltv: ltv_usd
  membership_trait: vip_contacts
context: {active: false}
integrations: {All: true, Salesforce: false}
consent: {suppress_when: has_opted_out_of_email}
guards: {min_rows: 1, max_exited: 40%}
--- */
SELECT
    contacts.contact_id,
    contacts.email,
    contacts.first_name,
    contacts.has_opted_out_of_email,
    accounts.account_name,
    account_sales.won_last_year AS ltv_usd
FROM contacts
JOIN accounts ON accounts.account_id = contacts.account_id
JOIN account_sales ON account_sales.account_id = accounts.account_id
WHERE account_sales.won_last_year > 50000
