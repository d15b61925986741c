"""A project as `django-admin startproject` makes one, with less of it."""

import os
import tempfile
from pathlib import Path

from apps import contract

BASE_DIR = Path(__file__).resolve().parent
SECRET_KEY = contract.SECRET
DEBUG = bool(os.environ.get("GATEWAY_TEST_DEBUG"))
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "apps.django_site.urls"
WSGI_APPLICATION = "apps.django_site.wsgi.application"
INSTALLED_APPS = [
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "gateway.django",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR.parent / "templates"],
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
SESSION_ENGINE = "django.contrib.sessions.backends.file"
SESSION_FILE_PATH = os.environ.get("GATEWAY_TEST_SESSIONS", tempfile.gettempdir())
FILE_UPLOAD_MAX_MEMORY_SIZE = 1 << 16
STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
USE_TZ = True
TIME_ZONE = "UTC"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "loggers": {"django.request": {"handlers": ["stderr"], "level": "ERROR", "propagate": False}},
}
