/* ---
audience: emailable_contacts
description: Contacts with an address that mail reaches and who want it, as traits only
owner: crm@example.com
tags: [crm]
key: contact_id
user_id: contact_id
identify:
  traits:
    email: {column: email, normalize: email}
    first_name: first_name
    last_name: last_name
    title: title
  membership_trait: can_be_emailed
context: {active: false}
integrations: {All: true, Salesforce: false}
--- */
SELECT contact_id, email, first_name, last_name, title
FROM contacts
WHERE can_be_emailed AND email IS NOT NULL
