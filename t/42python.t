# Python's two interfaces from end to end: what a client sends arrives, and what an application answers leaves, as PEP 3333 and the ASGI specification
# say. WSGI applications run under wsgiref.validate, also in threads and forked by a preloader; the ASGI one checks each scope and event itself, and
# whether what should fail fails. All answer one table of requests. One MPM: t/20request.t has what is Apache's.
use strict;
use warnings;
use lib 't/lib';
use Digest::SHA qw(sha1_hex);
use Test::More;
use Harness;

# Both answer with the same facts: method, path, mount point, query, the body's digest and length, and fields.
my $shared = <<'END_PYTHON';
import hashlib, json
def answer(how, facts):
    """(status, headers, blocks)"""
    text = json.dumps(facts).encode()
    plain = [('Content-Type', 'application/json')]
    length = [('Content-Length', str(len(text)))]
    return {
        'list': (200, plain, [text]), 'length': (200, plain + length, [text]), 'halves': (200, plain, [text[:10], b'', text[10:]]),
        'nocontent': (204, [], []), 'notmodified': (304, [('ETag', '"a"')], []), 'created': (201, plain + [('Location', '/new')], [text]),
        'cookies': (200, plain + [('Set-Cookie', 'a=1'), ('Set-Cookie', 'b=2')], [text]), 'latin': (200, plain + [('X-Latin', 'caf\xe9')], [text]),
        'teapot': (418, plain, [text]), 'failed': (503, plain + [('Retry-After', '7')], [text]), 'big': (200, plain, [b'x' * 1000000]),
        'empty': (200, plain + [('Content-Length', '0')], []), 'blocks': (200, plain, [b'y' * 1000] * 1000),
    }.get(how, (200, plain, [text]))
END_PYTHON
my $wsgi = $shared . <<'END_PYTHON';
from wsgiref.validate import validator
class Blocks:
    def __init__(self, blocks): self.blocks = iter(blocks)
    def __iter__(self): return self
    def __next__(self): return next(self.blocks)
    def close(self): print('closed')
def body(source, how):
    if how == 'line':
        return b''.join(iter(lambda: source.readline(), b''))
    if how == 'lines':
        return b''.join(source.readlines())
    if how == 'iter':
        return b''.join(source)
    return b''.join(iter(lambda: source.read(5000), b''))
@validator
def application(environ, start_response):
    got = body(environ['wsgi.input'], environ.get('HTTP_X_READ'))
    facts = {'method': environ['REQUEST_METHOD'], 'path': environ['PATH_INFO'], 'mount': environ['SCRIPT_NAME'], 'query': environ['QUERY_STRING'],
             'sha1': hashlib.sha1(got).hexdigest(), 'length': len(got), 'type': environ.get('CONTENT_TYPE') or None, 'one': environ.get('HTTP_X_ONE'),
             'scheme': environ['wsgi.url_scheme'], 'host': environ['HTTP_HOST'], 'cookie': environ.get('HTTP_COOKIE')}
    status, headers, blocks = answer(environ.get('HTTP_X_AS'), facts)
    if environ.get('HTTP_X_AS') == 'raise':
        raise ValueError('as it was told')
    start_response('%d Said' % status, headers)
    return Blocks(blocks)
END_PYTHON
my $asgi = $shared . <<'END_PYTHON';
def is_scope(scope):
    assert type(scope) is dict and scope['type'] == 'http' and scope['asgi']['version'] >= '3.0' and type(scope['asgi']['spec_version']) is str
    assert scope['http_version'] in ('1.0', '1.1') and scope['method'] == scope['method'].upper() and scope['scheme'] in ('http', 'https')
    assert type(scope['path']) is str and type(scope['raw_path']) is bytes and type(scope['query_string']) is bytes and type(scope['root_path']) is str
    assert scope['path'].startswith(scope['root_path']) and b'?' not in scope['raw_path']
    for name, value in scope['headers']:
        assert type(name) is bytes and type(value) is bytes and name == name.lower() and name
    for end in scope['client'], scope['server']:
        assert type(end[0]) is str and type(end[1]) is int
    assert type(scope['state']) is dict and scope['state']['begun'] == 1
async def body(receive):
    got = b''
    while True:
        event = await receive()
        assert event['type'] == 'http.request' and type(event.get('body', b'')) is bytes and type(event.get('more_body', False)) is bool
        got += event.get('body', b'')
        if not event.get('more_body', False):
            return got
async def refused(send, event):
    try:
        await send(event)
    except Exception:
        return
    raise AssertionError('taken: %r' % event)
async def application(scope, receive, send):
    if scope['type'] == 'lifespan':
        while True:
            event = await receive()
            if event['type'] == 'lifespan.startup':
                scope['state']['begun'] = 1
            await send({'type': event['type'] + '.complete'})
            if event['type'] == 'lifespan.shutdown':
                return
    is_scope(scope)
    got = await body(receive)
    field = dict(scope['headers'])
    text = lambda name: field[name].decode('latin-1') if name in field else None
    facts = {'method': scope['method'], 'path': scope['path'][len(scope['root_path']):], 'mount': scope['root_path'], 'query': scope['query_string'].decode(),
             'sha1': hashlib.sha1(got).hexdigest(), 'length': len(got), 'type': text(b'content-type'), 'one': text(b'x-one'), 'scheme': scope['scheme'],
             'host': text(b'host'), 'cookie': text(b'cookie')}
    how = text(b'x-as')
    if how == 'raise':
        raise ValueError('as it was told')
    status, headers, blocks = answer(how, facts)
    headers = [(name.lower().encode(), value.encode('latin-1')) for name, value in headers]
    await refused(send, {'type': 'http.response.body', 'body': b'too early'})
    await refused(send, {'type': 'http.response.unknown'})
    await send({'type': 'http.response.start', 'status': status, 'headers': headers})
    await refused(send, {'type': 'http.response.start', 'status': 500, 'headers': []})
    await refused(send, {'type': 'http.response.body', 'body': 'text'})
    for block in blocks:
        await send({'type': 'http.response.body', 'body': block, 'more_body': True})
    await send({'type': 'http.response.body', 'body': b''})
END_PYTHON

my $form = 'application/x-www-form-urlencoded';
my $binary = join '', map { chr($_ * 31 % 256) } 1 .. 300_000;
my $lines = join '', map { "line $_\n" } 1 .. 3000;
sub chunked { join('', map { sprintf "%x\r\n%s\r\n", length, $_ } @_) . "0\r\n\r\n" }

# name, method, path, [fields], body, what the application has seen, what the client has.
my @shapes = (
    ['GET', GET => '/', [], undef, { path => '/', query => '', length => 0, scheme => 'http' }],
    ['a query', GET => '/a?b=c&d=%20', [], undef, { path => '/a', query => 'b=c&d=%20' }],
    ['an empty query', GET => '/a?', [], undef, { path => '/a', query => '' }],
    ['a path in percents', GET => '/a%20b%25c', [], undef, { path => '/a b%c' }],
    ['a path with a plus', GET => '/a+b', [], undef, { path => '/a+b' }],
    ['a path with two slashes', GET => '/a//b', [], undef, { path => qr{^/a//?b$} }],
    ['a path that ends in a slash', GET => '/a/b/', [], undef, { path => '/a/b/' }],
    ['a mount point', GET => '/mount/x', [], undef, { mount => '/mount', path => '/x' }],
    ['a mount point itself', GET => '/mount', [], undef, { mount => '/mount', path => qr{^/?$} }],
    ['a long query', GET => '/?' . 'q' x 6000, [], undef, { query => 'q' x 6000 }],
    ['a field', GET => '/', ['X-One' => 'a b'], undef, { one => 'a b' }],
    ['a field of Latin-1', GET => '/', ['X-One' => "caf\xe9"], undef, { one => "caf\x{e9}" }],
    ['a large field', GET => '/', ['X-One' => 'o' x 7000], undef, { one => 'o' x 7000 }],
    ['cookies', GET => '/', [Cookie => 'a=1; b=2'], undef, { cookie => 'a=1; b=2' }],
    ['HEAD', HEAD => '/', ['X-As' => 'length'], undef, undef, { body => '' }],
    ['OPTIONS', OPTIONS => '/', [], undef, { method => 'OPTIONS' }],
    ['DELETE', DELETE => '/a', [], undef, { method => 'DELETE', length => 0 }],
    ['POST without a body', POST => '/', [], '', { length => 0 }],
    ['a form', POST => '/', ['Content-Type' => $form], 'a=b&c=d', { type => $form, length => 7 }],
    ['PUT', PUT => '/', ['Content-Type' => 'text/plain'], 'put', { method => 'PUT', sha1 => sha1_hex('put') }],
    ['PATCH', PATCH => '/', [], 'patch', { method => 'PATCH', length => 5 }],
    ['DELETE with a body', DELETE => '/', [], 'why', { length => 3 }],
    ['bytes', POST => '/', [], $binary, { sha1 => sha1_hex($binary) }],
    ['readline()', POST => '/', ['X-Read' => 'line'], $lines, { sha1 => sha1_hex($lines) }],
    ['readlines()', POST => '/', ['X-Read' => 'lines'], $lines, { sha1 => sha1_hex($lines) }],
    ['iteration', POST => '/', ['X-Read' => 'iter'], $lines, { sha1 => sha1_hex($lines) }],
    ['chunks', POST => '/', ['Transfer-Encoding' => 'chunked'], chunked('one', $binary), { sha1 => sha1_hex("one$binary") }],
    ['no chunk', POST => '/', ['Transfer-Encoding' => 'chunked'], chunked(), { length => 0 }],
    ['Expect', POST => '/', [Expect => '100-continue'], 'expected', { length => 8 }],
    ['a length', GET => '/', ['X-As' => 'length'], undef, { path => '/' }, { 'Content-Length' => qr/^\d+$/ }],
    ['blocks', GET => '/', ['X-As' => 'halves'], undef, { path => '/' }],
    ['204', GET => '/', ['X-As' => 'nocontent'], undef, undef, { status => 204, body => '' }],
    ['304', GET => '/', ['X-As' => 'notmodified'], undef, undef, { status => 304, body => '', ETag => '"a"' }],
    ['201', POST => '/', ['X-As' => 'created'], 'x', { length => 1 }, { status => 201, Location => qr{/new$} }],
    ['two cookies', GET => '/', ['X-As' => 'cookies'], undef, { path => '/' }, { head => qr/^Set-Cookie: a=1\r\n(?:.*\n)*?Set-Cookie: b=2\r$/mi }],
    ['Latin-1', GET => '/', ['X-As' => 'latin'], undef, { path => '/' }, { 'X-Latin' => "caf\xe9" }],
    ['418', GET => '/', ['X-As' => 'teapot'], undef, { path => '/' }, { status => 418 }],
    ['503', GET => '/', ['X-As' => 'failed'], undef, { path => '/' }, { status => 503, 'Retry-After' => 7 }],
    ['a megabyte', GET => '/', ['X-As' => 'big'], undef, undef, { body => 'x' x 1_000_000 }],
    ['a thousand blocks', GET => '/', ['X-As' => 'blocks'], undef, undef, { body => 'y' x 1_000_000 }],
    ['nothing', GET => '/', ['X-As' => 'empty'], undef, undef, { body => '', 'Content-Length' => 0 }],
    ['an exception', GET => '/', ['X-As' => 'raise'], undef, undef, { status => 500 }],
    ['one after it', GET => '/', [], undef, { path => '/' }],
);

my $h = Harness->new(mpm => (Harness->mpms)[0]);
my %kind = (
    wsgi => ['', $wsgi], threads => ["PassengerConcurrencyModel thread\nPassengerThreadCount 3\n", $wsgi], smart => ["PassengerSpawnMethod smart\n", $wsgi],
    asgi => ['', $asgi], 'smart-asgi' => ["PassengerSpawnMethod smart\n", $asgi],
);
my $conf = "PassengerMaxInstances 1\nPassengerMaxPoolSize 10\n";
for my $name (sort keys %kind) {
    my $app = $h->make_app($name, { 'passenger_wsgi.py' => $kind{$name}[1] });
    $conf .= <<"END_CONF";
<VirtualHost *>
    ServerName $name
    DocumentRoot $app/public
    $kind{$name}[0]
    Alias /mount $app/public
    <Location /mount>
        PassengerBaseURI /mount
        PassengerAppRoot $app
    </Location>
</VirtualHost>
END_CONF
}
$h->start(conf => $conf);
for my $name (sort keys %kind) {
    subtest $name => sub {
        my $kept = $h->client;
        for my $shape (@shapes) { check($shape, \$kept, $name) }
    };
}
unlike $h->log_text, qr/AssertionError|WSGIWarning|garbage collected/, 'wsgiref.validate finds no fault, nor do the checks of ASGI';
is scalar(() = $h->log_text =~ /output: closed$/mg), 3 * (@shapes - 1), 'close() was called for each response of WSGI, once';
undef $h;
done_testing;

sub check {
    my ($shape, $kept, $host) = @_;
    my ($name, $method, $path, $fields, $body, $seen, $has) = @$shape;
    my $r = $$kept->ask($method, $path, Host => $host, @$fields, defined $body ? (body => $body) : ());
    $$kept = $h->client if !$r->complete || ($r->header('Connection') // '') =~ /close/i;
    my %has = (status => 200, %{ $has // {} });
    is $r->status, delete $has{status}, "$name: status" or diag $r->head, $r->body, $h->log_text;
    for my $what (sort keys %has) {
        my $value = $what eq 'body' ? $r->body : $what eq 'head' ? $r->head : $r->header($what);
        ref $has{$what} ? like($value, $has{$what}, "... $what") : ok(defined $value && $value eq $has{$what}, "... $what");
    }
    my $facts = $seen && $r->json;
    for my $what (sort keys %{ $seen // {} }) {
        ref $seen->{$what} ? like($facts->{$what}, $seen->{$what}, "... $what") : is($facts->{$what}, $seen->{$what}, "... $what");
    }
    ok $r->complete, '... it is whole';
}
