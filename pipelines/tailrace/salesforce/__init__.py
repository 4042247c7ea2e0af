"""The Salesforce client: login, requests and object descriptions."""
