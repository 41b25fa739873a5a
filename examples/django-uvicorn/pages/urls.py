"""The URLs of the project."""

from django.urls import path

from pages import views

urlpatterns = [
    path("", views.index, name="index"),
    path("where", views.where, name="where"),
]
