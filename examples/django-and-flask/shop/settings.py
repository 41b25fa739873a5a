"""The settings of the Django project; the mount names this module in DJANGO_SETTINGS_MODULE."""

SECRET_KEY = "an example has nothing to hide"
ALLOWED_HOSTS = ["127.0.0.1", "[::1]", ".localhost"]
ROOT_URLCONF = "shop.urls"
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"  # the basket is in the cookie: no database to set up
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
