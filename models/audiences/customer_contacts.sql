/* ---
audience: customer_contacts
description: Contacts of accounts that bought in the last two years, with their account as a group
owner: lifecycle@example.com
tags: [lifecycle, daily]
key: contact_id
user_id: contact_id
track:
  entered: Became Customer
  changed: false
  exited: Customer Ended
  properties: {account_id: account_id, customer_since: customer_since}
identify:
  traits: {first_name: first_name, last_name: last_name, title: title}
group:
  group_id: account_id
  traits:
    name: account_name
    industry: industry
    employees: employees
    website: website
    country: {column: billing_country, drop_if_null: true}
    deals_won: deals_won
context: {active: false}
integrations: {All: true, Salesforce: false}
--- */
SELECT
    contacts.contact_id,
    contacts.first_name,
    contacts.last_name,
    contacts.title,
    accounts.account_id,
    accounts.account_name,
    accounts.industry,
    accounts.employees,
    accounts.website,
    accounts.billing_country,
    account_sales.customer_since,
    account_sales.deals_won
FROM contacts
JOIN accounts ON accounts.account_id = contacts.account_id
JOIN account_sales ON account_sales.account_id = accounts.account_id
WHERE account_sales.last_won_on > current_date - INTERVAL 2 YEAR
