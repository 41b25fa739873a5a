"""A Django project of two pages."""
