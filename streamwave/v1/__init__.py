"""Generated from proto/ by ``make proto``. A package, so that import-linter sees what is in it."""
