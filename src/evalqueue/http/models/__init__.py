"""The JSON of the API as pydantic models: what goes in and what comes out."""
