/* ---
audience: enterprise_contacts
description: Contacts of accounts with more than 1,000 employees, in the shape of Segment Engage
key: contact_id
user_id: contact_id
external_ids: {salesforce_contact_id: contact_id}
payload: engage
track: true
identify:
  membership_trait: enterprise_contacts
--- */
SELECT contact.id AS contact_id
FROM salesforce.contact AS contact
JOIN salesforce.account AS account ON account.id = contact.account_id
WHERE
    account.number_of_employees > 1000
    AND contact.is_deleted IS NOT TRUE
    AND account.is_deleted IS NOT TRUE
