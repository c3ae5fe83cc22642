"""SQL: tables, functions and triggers, named statements. No Python lives here."""
