"""The application of `make demo`: nothing but the standard library, and nothing that knows mod_passenger."""

import hashlib
import html
import os
import platform
import pwd
import sys
import time
from urllib.parse import parse_qsl

STARTED = time.time()
LARGEST = 16 << 20
count = 0

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="{base}plug.svg">
<link rel="stylesheet" href="{base}style.css">
<header><a href="{base}" aria-label="To the first page"><svg viewBox="0 0 56 56" width="56" height="56">
<rect width="56" height="56" rx="14"/><path d="M21 11v9M35 11v9M15 20h26v6a13 13 0 0 1-26 0zM28 39v7"/></svg></a>
<div><h1>{title}</h1><p>{lead}</p></div></header>
<main>
"""

HOME = """
<section><h2>This process</h2>
<table>{facts}</table>
<p class="note">Reload, and watch the count. <code>touch tmp/restart.txt</code> in the application's folder gives the next request a new
process; kill this one, and another takes its place.</p></section>
<section><h2>A form</h2>
<form method="post" action="{base}form">
<label>A word <input name="word" value="d&eacute;j&agrave; vu &lt;b&gt;"></label>
<label>A few lines <textarea name="lines" rows="3">one
two</textarea></label>
<button>Send it</button></form></section>
<section><h2>A file</h2>
<form method="post" action="{base}upload" enctype="multipart/form-data">
<label>Up to 16 MiB <input type="file" name="file"></label>
<label>A remark <input name="remark"></label>
<button>Upload it</button></form></section>
<section><h2>Other responses</h2>
<ul>
<li><a href="{base}stream">A page that comes in pieces</a>, each as soon as it is made
<li><a href="{base}error">A page that fails</a>: the traceback is in Apache's error log, not in the response
<li><a href="{base}nowhere">A page that is not there</a>
<li><a href="{base}style.css">The style sheet</a>, a file in <code>public/</code>: Apache serves it without asking the application
</ul></section>
<section><h2>This request</h2>
<table>{request}</table></section>
"""


def escape(value):
    """Text for a page. What a server decoded as Latin-1 is shown as the UTF-8 that it probably is."""
    text = str(value)
    try:
        text = text.encode('latin-1').decode('utf-8')
    except UnicodeError:
        pass
    return html.escape(text)


def table(pairs):
    return ''.join('<tr><th>%s<td>%s' % (escape(name), escape(value)) for name, value in pairs)


def duration(seconds):
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return '%d h %d min' % (hours, minutes) if hours else '%d min %d s' % (minutes, seconds) if minutes else '%d s' % seconds


def user_name():
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return os.geteuid()


def resident_memory():
    with open('/proc/self/statm') as statm:
        return '%.1f MiB' % (int(statm.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / (1 << 20))


def facts(environ):
    yield 'Process', os.getpid()
    yield 'Generation', os.environ.get('PASSENGER_GENERATION', 'unknown')
    yield 'Requests it has answered', count
    yield 'Up for', duration(time.time() - STARTED)
    yield 'Resident memory', resident_memory()
    yield 'Runs as', user_name()
    yield 'Python', '%s (%s)' % (platform.python_version(), sys.executable)
    yield 'Environment', os.environ.get('PASSENGER_APP_ENV', 'unknown')
    yield 'IN_PASSENGER', os.environ.get('IN_PASSENGER', 'not set')
    yield 'Folder', os.getcwd()
    yield 'Web server', environ.get('SERVER_SOFTWARE', 'unknown')


def request_lines(environ):
    for name in sorted(environ):
        if isinstance(environ[name], str) and (name.startswith('HTTP_') or name in (
                'REQUEST_METHOD', 'REQUEST_URI', 'SCRIPT_NAME', 'PATH_INFO', 'QUERY_STRING', 'REMOTE_ADDR', 'REMOTE_PORT', 'SERVER_PROTOCOL')):
            yield name, environ[name]


class Page:
    """What every page needs to know about its request."""

    def __init__(self, environ, start_response):
        self.environ = environ
        self.start_response = start_response
        self.base = escape(environ.get('SCRIPT_NAME', '') + '/')

    def begin(self, title, lead, status='200 OK'):
        self.start_response(status, [
            ('Content-Type', 'text/html; charset=utf-8'), ('Cache-Control', 'no-store'),
            ('Content-Security-Policy', "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'")])
        return PAGE.format(title=title, lead=lead, base=self.base)

    def whole(self, title, lead, body, status='200 OK'):
        return [(self.begin(title, lead, status) + body + '</main>\n').encode()]

    def back(self):
        return '<p><a href="%s">Back</a></p>' % self.base

    def body(self):
        """The body of the request, or None if it is too large."""
        body = self.environ['wsgi.input'].read(LARGEST + 1)
        return None if len(body) > LARGEST else body


def home(page):
    lead = 'Apache reached a Python application through <strong>mod_passenger</strong>, and this page is what it said.'
    return page.whole('It runs.', lead, HOME.format(
        base=page.base, facts=table(facts(page.environ)), request=table(request_lines(page.environ))))


def form(page):
    body = page.body()
    if body is None:
        return too_large(page)
    fields = parse_qsl(body.decode('latin-1'), keep_blank_values=True, encoding='utf-8', errors='replace')
    rows = ''.join('<tr><th>%s<td><pre>%s</pre>' % (html.escape(name), html.escape(value)) for name, value in fields)
    return page.whole('It arrived.', '%s with %d bytes.' % (escape(page.environ['REQUEST_METHOD']), len(body)),
                      '<section><table>%s</table>%s</section>' % (rows, page.back()))


def parts_of(body, content_type):
    """The parts of a multipart body, as (headers, content)."""
    boundary = b''
    for parameter in content_type.split(';')[1:]:
        name, _, value = parameter.strip().partition('=')
        if name.lower() == 'boundary':
            boundary = b'--' + value.strip('"').encode('latin-1')
    if not boundary:
        return
    for part in (b'\r\n' + body).split(b'\r\n' + boundary)[1:-1]:
        head, _, content = part.partition(b'\r\n\r\n')
        yield head.decode('utf-8', 'replace').strip(), content


def upload(page):
    body = page.body()
    if body is None:
        return too_large(page)
    rows = ''
    for head, content in parts_of(body, page.environ.get('CONTENT_TYPE', '')):
        rows += '<tr><th><pre>%s</pre><td>%d bytes<br><small>SHA-256 %s</small><pre>%s</pre>' % (
            html.escape(head), len(content), hashlib.sha256(content).hexdigest(),
            html.escape(content[:200].decode('utf-8', 'replace')))
    return page.whole('It arrived.', '%d bytes in all.' % len(body), '<section><table>%s</table>%s</section>' % (rows, page.back()))


def too_large(page):
    return page.whole('Too much.', 'This page takes up to %d MiB.' % (LARGEST >> 20), page.back(), '413 Content Too Large')


def stream(page):
    def pieces():
        yield page.begin('In pieces', 'Ten lines, one every 300 ms. Each is sent when it is made.').encode()
        yield b'<section><ol>\n'
        started = time.time()
        for _ in range(10):
            time.sleep(0.3)
            yield b'<li>after %d ms\n' % ((time.time() - started) * 1000)
        yield ('</ol>%s</section></main>\n' % page.back()).encode()
    return pieces()


def error(page):
    raise RuntimeError('the demo was asked to fail')


def missing(page):
    return page.whole('Nothing here.', 'The application does not know <code>%s</code>.' % escape(page.environ['PATH_INFO']),
                      page.back(), '404 Not Found')


def only_post(page):
    return page.whole('Not so.', 'This address wants a POST, from the form.', page.back(), '405 Method Not Allowed')


PAGES = {'': home, '/': home, '/form': form, '/upload': upload, '/stream': stream, '/error': error}


def application(environ, start_response):
    global count
    count += 1
    page = Page(environ, start_response)
    make = PAGES.get(environ.get('PATH_INFO', ''), missing)
    if make in (form, upload) and environ['REQUEST_METHOD'] != 'POST':
        make = only_post
    return make(page)
