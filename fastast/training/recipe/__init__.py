"""Recipes: their parts, their files, and what checks them."""
