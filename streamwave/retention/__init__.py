"""Removal of expired recordings and of leftovers."""
