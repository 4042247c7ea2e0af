/* ---
events: opportunity_stage_changed
description: An opportunity moved to another stage; needs OpportunityFieldHistory under objects
key: change_id
event: Opportunity Stage Changed
timestamp: changed_at
user_id: contact_id
properties: {opportunity_id: opportunity_id, from: stage_before, to: stage}
--- */
SELECT
    history.id AS change_id,
    history.opportunity_id,
    opportunity.contact_id,
    history.created_date AS changed_at,
    history.old_value AS stage_before,
    history.new_value AS stage
FROM salesforce.opportunity_field_history AS history
JOIN salesforce.opportunity ON opportunity.id = history.opportunity_id
WHERE history.field = 'StageName' AND opportunity.contact_id IS NOT NULL
