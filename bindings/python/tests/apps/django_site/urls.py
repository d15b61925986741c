"""The views of contract.py."""

import json

from django.http import FileResponse, HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import render
from django.urls import path, reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from apps import contract


@require_safe
def index(request):
    context = {"title": contract.TITLE, "name": request.GET.get("name"), "items": contract.ITEMS}
    return render(request, "page.html", context)


def login(request):
    if request.method == "POST":
        request.session["user"] = request.POST["user"]
        return HttpResponseRedirect(reverse("me"), status=303)
    token = f'<input type="hidden" name="csrfmiddlewaretoken" value="{get_token(request)}">'
    return HttpResponse(f'<form method="post"><input name="user">{token}</form>')


def me(request):
    if "user" not in request.session:
        return HttpResponse(status=403)
    return HttpResponse(request.session["user"], content_type="text/plain")


@csrf_exempt
@require_POST
def logout(request):
    request.session.flush()
    return HttpResponseRedirect(reverse("index"), status=303)


@csrf_exempt
def upload(request):
    file = request.FILES["file"]
    return JsonResponse(contract.described(request.POST["title"], file.name, file.read()))


@csrf_exempt
def as_json(request):
    return JsonResponse({**json.loads(request.body), "seen": True})


def stream(request):
    return StreamingHttpResponse(contract.Lines(int(request.GET["n"])), content_type="text/plain")


def file(request):
    return FileResponse(open(contract.FILE, "rb"), content_type="application/octet-stream")


def fail(request):
    raise LookupError("failed on purpose")


def show_path(request, path):
    return HttpResponse(path, content_type="text/plain")


def where(request):
    return HttpResponse(request.build_absolute_uri(reverse("index")), content_type="text/plain")


def missing(request, exception=None):
    return HttpResponse("<h1>No such page</h1>", status=404)


def failed(request):
    return HttpResponse("<h1>Sorry</h1>", status=500)


urlpatterns = [
    path("", index, name="index"),
    path("login", login),
    path("me", me, name="me"),
    path("logout", logout),
    path("upload", upload),
    path("json", as_json),
    path("stream", stream),
    path("file", file),
    path("fail", fail),
    path("path/<path:path>", show_path),
    path("where", where),
]
handler404, handler500 = missing, failed
