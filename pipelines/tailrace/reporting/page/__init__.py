"""The page: what a project's runs did, as one HTML file, or live on this machine."""
