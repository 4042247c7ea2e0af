/* ---
audience: lapsed_customers
description: Contacts of accounts that last bought over six months ago
owner: winback@example.com
tags: [marketing, winback]
key: contact_id
user_id: contact_id
payload: engage
track:
  properties: {last_won_on: last_won_on, deals_won: deals_won}
identify:
  traits: {first_name: first_name, country: mailing_country}
context: {active: false}
integrations: {All: true, Salesforce: false}
consent:
  suppress_when: has_opted_out_of_email
  categories: {marketing: can_be_emailed}
guards: {max_exited: 50%}
--- */
SELECT
    contacts.contact_id,
    contacts.first_name,
    contacts.mailing_country,
    contacts.has_opted_out_of_email,
    contacts.can_be_emailed,
    account_sales.last_won_on,
    account_sales.deals_won
FROM contacts
JOIN accounts ON accounts.account_id = contacts.account_id
JOIN account_sales ON account_sales.account_id = accounts.account_id
WHERE account_sales.last_won_on < current_date - INTERVAL 6 MONTH
