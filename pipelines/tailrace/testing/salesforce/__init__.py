"""A simulator of the Salesforce REST and Bulk APIs."""
