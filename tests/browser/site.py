"""A small Django site with a login form, CSRF protection and things to make: what recordings are made of.

Usage: site.py FOLDER. Prints "http://127.0.0.1:PORT" once it serves. The user is alice, her password in-wonderland-42.
"""

import os
import sys
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.template import RequestContext, Template
from django.urls import path

folder = sys.argv[1]
settings.configure(
    DEBUG=False,
    SECRET_KEY="only-for-tests",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.join(folder, "site.sqlite3")}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    LOGIN_URL="/accounts/login/",
    LOGIN_REDIRECT_URL="/notes/",
)
django.setup()

from django.contrib.auth.decorators import login_required  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.contrib.auth.views import LoginView  # noqa: E402

PAGE = """<!doctype html><title>{title} - Notes</title><link rel=stylesheet href=/static/style.css>
<script src=/static/app.js></script><h1>{title}</h1>"""
NOTES = {}


def page(request, title, body, **context):
    text = PAGE.format(title=title) + body
    return HttpResponse(Template(text).render(RequestContext(request, context)))


class Login(LoginView):
    def render_to_response(self, context, **kwargs):
        form = "<form method=post>{% csrf_token %}{{ form.as_p }}<input type=hidden name=next value='{{ next }}'>"
        return page(self.request, "Sign in", form + "<button>Sign in</button></form>", **context)


@login_required
def notes(request):
    if request.method == "POST":
        number = 48211 + len(NOTES)
        NOTES[number] = request.POST["text"]
        return redirect(f"/notes/{number}/")
    form = "<form method=post>{% csrf_token %}<input name=text><button>Save</button></form>"
    return page(request, "Your notes", form)


@login_required
def note(request, number):
    if number not in NOTES:
        return HttpResponse("no such note", status=404)
    button = """<button onclick="fetch('/api/notes/{{ n }}/star', {method: 'POST', headers: {'Content-Type':
      'application/json', 'X-CSRFToken': '{{ csrf_token }}'}, body: JSON.stringify({note: {{ n }}, on: true})})
      .then(r => r.json()).then(r => document.title = r.state)" id=star>Star</button>"""
    return page(request, "A note", "<p class=text>{{ text }}</p>" + button, text=NOTES[number], n=number)


@login_required
def star(request, number):
    return JsonResponse({"state": "starred", "note": {"id": number}})


def static(request, name):
    return HttpResponse("/* nothing */", content_type="text/css" if name.endswith("css") else "text/javascript")


urlpatterns = [
    path("", lambda request: redirect("/notes/")),
    path("accounts/login/", Login.as_view()),
    path("notes/", notes),
    path("notes/<int:number>/", note),
    path("api/notes/<int:number>/star", star),
    path("static/<str:name>", static),
    path("favicon.ico", lambda request: HttpResponse(status=404)),
]


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


call_command("migrate", verbosity=0)
User.objects.create_user("alice", password="in-wonderland-42")
server = make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=Quiet)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
