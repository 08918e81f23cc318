"""The settings: fields, groups, validation, and the pages generated from them."""
