"""The URLs of the Django project, below wherever it is mounted."""

from django.urls import path

from shop import views

urlpatterns = [
    path("", views.index, name="index"),
    path("basket/", views.basket, name="basket"),
    path("where", views.where, name="where"),
]
