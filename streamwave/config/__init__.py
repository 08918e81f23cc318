"""The settings: their fields, groups and checks, and the pages that are written from them."""
