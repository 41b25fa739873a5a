"""The settings of the project."""

SECRET_KEY = "an example has nothing to hide"
ALLOWED_HOSTS = ["127.0.0.1", "[::1]", ".localhost"]
ROOT_URLCONF = "pages.urls"
MIDDLEWARE = ["django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
