"""Django on libgateway: put "gateway.django" into INSTALLED_APPS, and

    python manage.py rungateway

serves the project as `runserver` does, with reload on a change of the code; with --workers it serves as in
production: supervised processes, no reload.  See `manage.py help rungateway`.
"""
