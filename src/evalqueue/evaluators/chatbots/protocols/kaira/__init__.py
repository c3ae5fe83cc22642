"""The protocols of the Kaira API, versions 1 and 2."""
