# Flask, Django and Starlette as Debian packages them: unmodified applications, each behind a virtual host; Django also as ASGI, and from a preloader.
use strict;
use warnings;
use lib 't/lib';
use Digest::SHA qw(sha1_hex);
use Test::More;
use Harness;

my $flask = <<'END';
import hashlib
from flask import Flask, abort, jsonify, redirect, request, session, url_for

app = Flask(__name__)
app.secret_key = "for tests"

@app.route("/")
def index():
    return "<p>Flask, as %s" % request.host

@app.route("/form", methods=["POST"])
def form():
    return jsonify(request.form.to_dict())

@app.route("/upload", methods=["POST"])
def upload():
    file = request.files["file"]
    return jsonify(name=file.filename, sha1=hashlib.sha1(file.read()).hexdigest())

@app.route("/login/<name>")
def login(name):
    session["name"] = name
    return redirect(url_for("me"))

@app.route("/me")
def me():
    return session.get("name", "nobody")

@app.route("/stream")
def stream():
    return app.response_class(("line %d\n" % i for i in range(100)), mimetype="text/plain")

@app.route("/teapot")
def teapot():
    abort(418)

@app.route("/error")
def error():
    raise RuntimeError("flask was told to fail")
END

my $django_settings = <<'END';
import os
BASE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SECRET_KEY = "for tests"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "site1.urls"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"]
MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware", "django.middleware.common.CommonMiddleware",
              "django.middleware.csrf.CsrfViewMiddleware"]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.join(BASE_DIR, "db", "db.sqlite3")}}
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [os.path.join(BASE_DIR, "templates")]}]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGGING = {"version": 1, "disable_existing_loggers": False, "handlers": {"stderr": {"class": "logging.StreamHandler"}}, "root": {"handlers": ["stderr"]}}
END
my $django_urls = <<'END';
import hashlib
from django.db import connection
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.views.decorators.csrf import csrf_exempt

def index(request):
    return render(request, "index.html", {"host": request.get_host(), "url": reverse("me")})

@csrf_exempt
def form(request):
    return JsonResponse(request.POST.dict())

@csrf_exempt
def upload(request):
    file = request.FILES["file"]
    return JsonResponse({"name": file.name, "sha1": hashlib.sha1(file.read()).hexdigest()})

def guarded(request):
    return HttpResponse("not without a token")

def login(request, name):
    request.session["name"] = name
    return redirect("me")

def me(request):
    return HttpResponse(request.session.get("name", "nobody"))

def stream(request):
    return StreamingHttpResponse(("line %d\n" % i for i in range(100)), content_type="text/plain")

def database(request):
    with connection.cursor() as cursor:
        cursor.execute("select 6 * 7")
        return HttpResponse(str(cursor.fetchone()[0]))

def error(request):
    raise RuntimeError("django was told to fail")

urlpatterns = [path("", index), path("form", form), path("upload", upload), path("guarded", guarded), path("login/<name>", login),
               path("me", me, name="me"), path("stream", stream), path("database", database), path("error", error)]
END
my $django_wsgi = <<'END';
import os
from django.core.wsgi import get_wsgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site1.settings")
application = get_wsgi_application()
END

my $starlette = <<'END';
import hashlib
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from starlette.routing import Route

async def index(request):
    return PlainTextResponse("Starlette, as %s, %s" % (request.url, request.client.host))

async def upload(request):
    sha1 = hashlib.sha1()
    async for block in request.stream():
        sha1.update(block)
    return JSONResponse({"sha1": sha1.hexdigest()})

async def login(request):
    request.session["name"] = request.path_params["name"]
    return RedirectResponse(request.url_for("me"))

def me(request):
    return PlainTextResponse(request.session.get("name", "nobody"))

async def lines():
    for i in range(100):
        yield "line %d\n" % i

async def stream(request):
    return StreamingResponse(lines())

async def file(request):
    return FileResponse(__file__)

async def background(request):
    return PlainTextResponse("at once", background=BackgroundTask(print, "in the background"))

async def error(request):
    raise RuntimeError("starlette was told to fail")

async def begin():
    print("begun")

async def end():
    print("ended")

app = Starlette(
    routes=[Route("/", index), Route("/upload", upload, methods=["POST"]), Route("/login/{name}", login), Route("/me", me, name="me"),
            Route("/stream", stream), Route("/file", file), Route("/background", background), Route("/error", error)],
    middleware=[Middleware(SessionMiddleware, secret_key="for tests")], on_startup=[begin], on_shutdown=[end])
END
(my $django_asgi = $django_wsgi) =~ s/wsgi/asgi/g;

for my $mpm (Harness->mpms) {
    my $h = Harness->new(mpm => $mpm);
    my %root = (
        flask => $h->make_app('flask', { 'shop.py' => $flask, 'passenger_wsgi.py' => "from shop import app as application\n", 'public/style.css' => 'css' }),
        django => $h->make_app('django', {
            'site1/__init__.py' => '', 'site1/settings.py' => $django_settings, 'site1/urls.py' => $django_urls, 'site1/wsgi.py' => $django_wsgi,
            'templates/index.html' => '<p>Django, as {{ host }}, {{ url }}', 'db/empty' => '', 'public/style.css' => 'css',
            'passenger_wsgi.py' => "from site1.wsgi import application\n",
        }),
    );
    $root{$_} = "$h->{root}/apps/$_" for qw(django-asgi starlette);
    $h->make_app('starlette', { 'passenger_wsgi.py' => $starlette });
    $h->make_app('django-asgi', {
        'site1/__init__.py' => '', 'site1/settings.py' => $django_settings, 'site1/urls.py' => $django_urls, 'site1/asgi.py' => $django_asgi,
        'templates/index.html' => '<p>Django, as {{ host }}, {{ url }}', 'db/empty' => '', 'public/style.css' => 'css',
        'passenger_wsgi.py' => "from site1.asgi import application\n",
    });
    # The same from a preloader, which has imported all of Django before it forks. Of that nothing is Apache's: one MPM.
    my @smart = $mpm eq (Harness->mpms)[0] ? qw(django django-asgi) : ();
    for my $name (@smart) {
        $root{"smart-$name"} = "$root{$name}-smart";
        system('cp', '-a', $root{$name}, $root{"smart-$name"}) == 0 or die 'cp';
    }
    my $conf = join '', "PassengerMaxPoolSize 20\n", map { <<"END" . ($_ =~ /^smart/ ? "    PassengerSpawnMethod smart\n    PassengerMinInstances 2\n</VirtualHost>\n" : "</VirtualHost>\n") } sort keys %root;
<VirtualHost *>
    ServerName $_
    DocumentRoot $root{$_}/public
    PassengerPython /usr/bin/python3
    Alias /below/$_ $root{$_}/public
    <Location /below/$_>
        PassengerBaseURI /below/$_
        PassengerAppRoot $root{$_}
    </Location>
END
    $h->start(conf => $conf);
    $h->allow_log(qr/App \d+/);
    for my $name (grep { $_ ne 'starlette' } sort keys %root) {
        subtest "$mpm: $name" => sub { pages($h, $name, '') };
        subtest "$mpm: $name below a path" => sub { pages($h, $name, "/below/$name") };
    }
    for my $name (map { "smart-$_" } @smart) {
        soon { 3 == grep { $_->{cwd} eq $root{$name} && $_->{ppid} == $h->watchdog } $h->processes } "$name: a preloader and two processes", 20;
        is scalar(() = $h->log_text =~ /PSG1300: .* of \Q$root{$name}\E: /g), 1, '... of one start';
        is $h->get('/database', Host => $name)->body, 42, "$name: its database";
    }
    is $h->get('/database', Host => 'django')->body, 42, "$mpm: Django's database";
    is $h->post('/guarded', 'a=b', Host => 'django', 'Content-Type' => 'application/x-www-form-urlencoded')->status, 403, "$mpm: Django's CSRF check";
    is $h->get('/teapot', Host => 'flask')->status, 418, "$mpm: Flask's abort";
    subtest "$mpm: starlette" => sub { starlette_pages($h) };
    is $h->get('/below/starlette/', Host => 'starlette')->body, 'Starlette, as http://starlette/below/starlette/, 127.0.0.1', "$mpm: Starlette below a path";
    is $h->get('/below/starlette/login/eve', Host => 'starlette')->header('Location'), 'http://starlette/below/starlette/me', "$mpm: ... redirects to itself";
    is $h->get('/database', Host => 'django-asgi')->body, 42, "$mpm: Django's database from ASGI";
    spew("$root{starlette}/tmp/restart.txt", '');
    soon { $h->get('/', Host => 'starlette'); $h->log_text =~ /output: ended\n/ } "$mpm: Starlette's end";
}
done_testing;

sub starlette_pages {
    my ($h) = @_;
    my @to = (Host => 'starlette');
    is $h->get('/', @to)->body, 'Starlette, as http://starlette/, 127.0.0.1', 'a page that knows its URL';
    soon { $h->log_text =~ /output: begun$/m } 'it was started';
    my $content = join '', map { chr($_ * 31 % 256) } 1 .. 1_000_000;
    is $h->post('/upload', $content, @to)->json->{sha1}, sha1_hex($content), 'an upload';
    is $h->post('/upload', sprintf("%x\r\n%s\r\n0\r\n\r\n", length $content, $content), @to, 'Transfer-Encoding' => 'chunked')->json->{sha1}, sha1_hex($content),
        '... of unknown length';
    my $r = $h->get('/login/eve', @to);
    is $r->header('Location'), 'http://starlette/me', 'a redirect';
    my ($cookie) = ($r->header('Set-Cookie') // '') =~ /^([^;]+)/;
    is $h->get('/me', @to, Cookie => $cookie)->body, 'eve', 'a session, in a thread';
    $r = $h->get('/stream', @to);
    ok $r->complete && $r->body =~ /\Aline 0\n.*line 99\n\z/s, 'a streamed page';
    is $h->get('/file', @to)->body, $starlette, 'a file';
    is $h->get('/background', @to)->body, 'at once', 'a task in the background';
    soon { $h->log_text =~ /output: in the background/ } '... is done';
    is $h->get('/none', @to)->status, 404, "the framework's 404";
    is $h->get('/error', @to)->status, 500, "the framework's 500";
    soon { $h->log_text =~ /App \d+ output: .*RuntimeError: starlette was told to fail/ } '... with its traceback in the log';
    is $h->ask('HEAD', '/', @to)->status, 200, 'HEAD';
}

sub pages {
    my ($h, $name, $base) = @_;
    my @to = (Host => $name);
    $name =~ s/-asgi|smart-//g;
    my $r = $h->get("$base/", @to);
    is $r->status, 200, 'a page' or diag $r->body, $h->log_text;
    like $r->body, qr/\Q$name\E/i, '... that knows its host';
    like $r->body, qr{\Q$base\E/me}, '... and its own URLs' if $name eq 'django';

    $r = $h->post("$base/form", 'name=J%C3%BCrgen&b=2', @to, 'Content-Type' => 'application/x-www-form-urlencoded');
    is $r->json->{name}, "J\x{fc}rgen", 'a form';
    is $r->json->{b}, 2, '... with two fields';

    my $content = join '', map { chr($_ * 31 % 256) } 1 .. 300_000;
    my $body = "--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a b.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n$content\r\n--xyz--\r\n";
    $r = $h->post("$base/upload", $body, @to, 'Content-Type' => 'multipart/form-data; boundary=xyz');
    is $r->json->{sha1}, sha1_hex($content), 'a file upload';
    is $r->json->{name}, 'a b.bin', '... with its name';

    $r = $h->get("$base/login/eve", @to);
    like $r->header('Location'), qr{\Q$base\E/me$}, 'a redirect';
    my ($cookie) = ($r->header('Set-Cookie') // '') =~ /^([^;]+)/;
    is $h->get("$base/me", @to, Cookie => $cookie)->body, 'eve', 'a session';
    is $h->get("$base/me", @to)->body, 'nobody', '... of one visitor only';

    $r = $h->get("$base/stream", @to);
    ok $r->complete && $r->body =~ /\Aline 0\n.*line 99\n\z/s, 'a streamed page';
    is $h->get("$base/style.css", @to)->body, 'css', 'a static file';
    is $h->get("$base/none", @to)->status, 404, 'the framework\'s 404';
    $r = $h->get("$base/error", @to);
    is $r->status, 500, 'the framework\'s 500';
    unlike $r->body, qr/Traceback|RuntimeError/, '... that tells nothing';
    soon { $h->log_text =~ /App \d+ output: .*RuntimeError: $name was told to fail/ } '... with its traceback in the log';
    my $head = $h->ask('HEAD', "$base/", @to);
    is $head->status, 200, 'HEAD';
}
