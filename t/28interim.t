# What applications say before their response (1xx): 103 Early Hints from each language reach clients that can use them, over HTTP/1.1 and HTTP/2, and
# nobody else; a flood is bounded. event: parked requests; prefork: the thread waits. (Streams of HTTP/2 wait in threads on every MPM.)
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Harness;

my $ok = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
my $link = '</a.css>; rel=preload; as=style';
my $hint = "HTTP/1.1 103 Early Hints\r\nLink: $link\r\n\r\n";

my %files = (
    wsgi => { 'passenger_wsgi.py' => <<'END' },
def application(environ, start_response):
    hint = environ['wsgi.early_hints']
    hint([('Link', '</a.css>; rel=preload; as=style'), ('Content-Length', '5')])
    refused = 0
    for bad in ('x\r\nInjected: 1', 'x\n'):
        try:
            hint([('Link', bad)])
        except ValueError:
            refused += 1
    start_response('200 OK', [('Content-Type', 'text/plain'), ('X-Own', 'mine')])
    yield b'refused %d' % refused
    hint([('Link', 'too late')])
END
    asgi => { 'passenger_wsgi.py' => <<'END' },
async def application(scope, receive, send):
    assert scope['extensions']['http.response.early_hint'] == {}
    await send({'type': 'http.response.early_hint', 'links': [b'</a.css>; rel=preload; as=style', b'</b.js>; rel=preload']})
    refused = 0
    try:
        await send({'type': 'http.response.early_hint', 'links': [b'x\r\nInjected: 1']})
    except ValueError:
        refused += 1
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'x-own', b'mine')]})
    try:
        await send({'type': 'http.response.early_hint', 'links': [b'too late']})
    except RuntimeError:
        refused += 1
    await send({'type': 'http.response.body', 'body': b'refused %d' % refused})
END
    rack => { 'config.ru' => <<'END' },
run lambda { |env|
  hint = env['rack.early_hints'] or next [200, { 'content-type' => 'text/plain' }, ['none']]
  hint.call('Link' => "</a.css>; rel=preload; as=style\n</b.js>; rel=preload")
  hint.call('link' => ['</c.js>; rel=preload'])
  refused = 0
  begin
    hint.call('Link' => "x\rInjected: 1")
  rescue ArgumentError
    refused += 1
  end
  [200, { 'content-type' => 'text/plain', 'x-own' => 'mine' }, Enumerator.new { |y| y << "refused #{refused}"; hint.call('Link' => 'too late') }]
}
END
    node => { 'app.js' => <<'END' },
require('http').createServer((request, response) => {
    response.writeEarlyHints({ link: ['</a.css>; rel=preload; as=style', '</b.js>; rel=preload'] });
    response.setHeader('X-Own', 'mine');
    response.end('refused 0');
}).listen(0);
END
);

for my $mpm ($ENV{MPM} ? Harness->mpms : qw(event prefork)) {
    my $h = Harness->new(mpm => $mpm, modules => [$mpm eq 'prefork' ? () : 'http2', 'include']);
    my $raw = $h->copy_app('raw');
    spew("$raw/public/page.shtml", "before <!--#include virtual=\"/inside?times=3&send=" . escape($hint) . '&send=' . escape($ok) . "\" --> after\n");
    my %root = map { $_ => $h->make_app($_, $files{$_}) } keys %files;
    my $h2 = $mpm eq 'prefork' ? '' : "Protocols h2c http/1.1\n";
    $h->start(conf => "${h2}AddOutputFilter INCLUDES .shtml\nHeader always set X-Always 1\n<Directory $raw/public>\nOptions +Includes\n</Directory>\nSetEnvIf User-Agent old proxy-interim-response=Suppress\n"
        . join '', map { "<VirtualHost *>\nServerName $_\nDocumentRoot $root{$_}/public\n</VirtualHost>\n" } 'raw', 'quiet', sort keys %root)
        if ($root{raw} = $root{quiet} = $raw);
    languages($h);
    bytes($h);
    http2($h) if $h2;
}
done_testing;

sub escape { my ($bytes) = @_; $bytes =~ s/([^A-Za-z0-9.,:\/-])/sprintf '%%%02X', ord $1/ger }

sub raw {
    my ($h, $orders, $method, %field) = @_;
    my $query = join '&', map { my ($name, $value) = split /=/, $_, 2; defined $value ? "$name=" . escape($value) : $name } @$orders;
    return $h->ask($method // 'GET', "/raw?$query", Host => 'raw', %field);
}

sub links { my ($r) = @_; [ map { [ $_->headers('Link') ] } @{ $r->{interim} } ] }

sub languages {
    my ($h) = @_;
    my %want = (
        wsgi => [[$link]], asgi => [[$link, '</b.js>; rel=preload']], rack => [[$link, '</b.js>; rel=preload'], ['</c.js>; rel=preload']],
        node => [["$link, </b.js>; rel=preload"]],
    );
    my %refused = (wsgi => 2, asgi => 2, rack => 1, node => 0);
    for my $app (sort keys %want) {
        for my $fields ([], ['Sec-Fetch-Mode' => 'navigate']) {
            my $c = $h->client;
            for my $time (1, 2) {
                my $r = $c->ask('GET', '/', Host => $app, @$fields);
                is $r->status, 200, "$h->{mpm}, $app: answers";
                # Of a Rack application browsers alone ask: Rails hints by itself, and clients of APIs may take 103 for the response.
                my $asked = $app ne 'rack' || @$fields;
                is_deeply links($r), $asked ? $want{$app} : [], '... after its hints';
                is $r->body, $asked ? "refused $refused{$app}" : 'none', '... and nothing else';
                is $r->header('X-Own'), $asked ? 'mine' : undef, '... with fields of its own';
                is $r->header('X-Always'), 1, "... and the server's";
                ok !grep({ $_->header('X-Own') || $_->header('X-Always') || $_->header('Content-Length') || $_->header('Injected') } @{ $r->{interim} }), '... which hints have not';
            }
        }
        my $r = $h->request("GET / HTTP/1.0\r\nHost: $app\r\nSec-Fetch-Mode: navigate\r\n\r\n");
        like $r, qr{^HTTP/1\.1 200 .*\r\n\r\nrefused $refused{$app}$}s, '... in HTTP/1.0 without hints';
        is_deeply links($h->get('/', Host => $app, 'User-Agent' => 'old', 'Sec-Fetch-Mode' => 'navigate')), [], '... which proxy-interim-response can forbid';
    }
}

sub bytes {
    my ($h) = @_;
    my $r = raw($h, ["send=$hint$ok"]);
    is_deeply [ map { [$_->status, $_->{reason}, $_->{fields}] } @{ $r->{interim} } ], [[103, 'Early Hints', [['Link', $link]]]], 'together with the response';
    is $r->body, 'hello', '... which follows';
    my $c = $h->client;
    $c->write_request('GET', '/?' . join('&', 'send=' . escape($hint), 'wait=1', 'send=' . escape($ok)), Host => 'raw');
    my $first = $c->read_response('GET', interim => 1);
    is $first->status, 103, 'at once, not with the response';
    is $c->read_response('GET')->body, 'hello', '... which comes later';
    $r = raw($h, ["send=HTTP/1.1 103 Early Hints\r\nConnection: close, X-Hop\r\nTransfer-Encoding: chunked\r\n!~Secret: 1\r\nLink: $link\r\n\r\n$ok"], 'GET', Connection => 'keep-alive');
    is_deeply [ map { $_->{fields} } @{ $r->{interim} } ], [[['Link', $link]]], 'without what is not for the client';
    $r = raw($h, ["send=HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 104 Upload Resumption Supported\r\nUpload-Offset: 5\r\n\r\n$ok"]);
    is_deeply [ map { "$_->{status} $_->{reason}" } @{ $r->{interim} } ], ['102 Processing', '104 Upload Resumption Supported'], 'others too, but 100';
    is $r->body, 'hello', '... before the response';
    is raw($h, ["send=HTTP/1.1 103 Early Hints\r\nA: b\rc\r\n\r\n$ok"])->status, 502, 'garbage is none';
    is raw($h, ["send=$hint", 'close'])->status, 502, 'nothing behind it';
    $h->allow_log($_) for qw(PSG0150 PSG0151 PSG0152 PSG0156);
    is raw($h, ['send=HTTP/1.1 200 OK' . "\r\nContent-Length: " . length("$hint") . "\r\n\r\n$hint"])->body, $hint, 'in a body it is a body';

    # With a body: one 100 at most, and the hint in whichever place.
    $c = $h->client;
    $c->write_request('POST', '/?send=' . escape("HTTP/1.1 100 Continue\r\n\r\n$hint$ok"), Host => 'raw', Expect => '100-continue', 'Content-Length' => 5);
    is $c->read_response('POST', interim => 1)->status, 100, 'Expect: go on';
    $c->send('12345');
    $r = $c->read_response('POST');
    is_deeply [ map { $_->status } @{ $r->{interim} } ], [103], '... once';
    is $r->body, 'hello', '... and the response';
    $r = raw($h, ['noread', "send=$hint", 'wait=0.2', "send=$ok", 'close'], 'POST', body => 'x' x 3_000_000);
    is_deeply links($r), [[$link]], 'while a body comes';
    is $r->body, 'hello', '... which is not waited for';

    # Subrequests are in the middle of a body.
    $r = $h->get('/page.shtml', Host => 'raw');
    is_deeply $r->{interim}, [], 'none in a page';
    is $r->body, "before hello after\n", '... nor in its text';

    # Floods: 64 KiB reach the client, an end is put to the rest.
    my $large = "HTTP/1.1 103 Early Hints\r\nLink: " . 'x' x 1000 . "\r\n\r\n";
    $r = raw($h, ['times=100', "send=$large", "send=$ok"]);
    cmp_ok scalar @{ $r->{interim} }, '<=', 65, 'many: some of them';
    cmp_ok scalar @{ $r->{interim} }, '>=', 50, '... not few';
    is $r->body, 'hello', '... and the response';
    is raw($h, ['times=100000', "send=$large"])->status, 502, 'without end: no response';
    $h->expect_log(qr/PSG0150: .*interim responses \(1xx\) without end/);
    my $idle = $h->client;
    $idle->write_request('GET', '/?times=60&send=' . escape($large) . '&send=' . escape($ok), Host => 'raw');
    is $h->get('/', Host => 'raw')->status, 200, 'who reads nothing keeps nobody';
    is $idle->read_response('GET')->body, 'hello', '... and has it all there';
}

# mod_http2 passes 103 on where H2EarlyHints is on.
sub http2 {
    my ($h) = @_;
    my $query = '/?send=' . escape("$hint$ok");
    my $ask = sub { my $out = `curl -s -i --max-time 20 --http2-prior-knowledge -H 'Host: raw' 'http://127.0.0.1:$h->{port}$query'`; $out =~ s/\r//gr };
    like $ask->(), qr{\AHTTP/2 200 \n.*\n\nhello\z}s, 'HTTP/2: not unless it is asked for';
    $h->reconfigure("H2EarlyHints on\n$h->{conf}");
    $h->graceful;
    like $ask->(), qr{\AHTTP/2 103 \nlink: \Q$link\E\n\nHTTP/2 200 \n.*\n\nhello\z}s, '... by H2EarlyHints';
}
