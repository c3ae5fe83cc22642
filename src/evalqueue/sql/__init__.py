"""The cellar: migrations, named queries, functions and triggers. No Python lives here."""
