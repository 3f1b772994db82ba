# What Node.js promises to applications about requests and responses, end to end.
use strict;
use warnings;
use lib 't/lib';
use Digest::SHA qw(sha1_hex);
use IO::Uncompress::Gunzip qw(gunzip);
use Test::More;
use Harness;

plan skip_all => 'there is no node' unless $ENV{NODE} || grep { -x "$_/node" } qw(/usr/local/bin /usr/bin /bin);
my $node = $ENV{NODE} ? "PassengerNodejs $ENV{NODE}\n" : '';
# The shapes are the core's and Node's; what differs between MPMs is tried in t/43loader-node.t.
my $h = Harness->new;
my $app = $h->copy_app('node-shapes');
$h->start(conf => "${node}DocumentRoot $app/public\nPassengerBufferUpload off\nLimitRequestFields 300\n");
for my $part (qw(targets request_fields request_bodies expectations statuses response_fields response_bodies streams ends lives)) {
    subtest $part => sub { no strict 'refs'; &$part() };
}
$h->finish;
done_testing;

sub chunked { join('', map { sprintf "%x\r\n%s\r\n", length, $_ } @_) . "0\r\n\r\n" }
sub events { join ', ', @{ $h->get('/events')->json } }

# What has come of a response so far.
sub so_far { my ($c) = @_; $c->_more(time + 1); $c->{in} }

sub targets {
    my %target = (
        plain => '/a/b', query => '/a?b=c&d', 'empty query' => '/a?', 'two question marks' => '/a?b?c', encoded => '/a%20b/%C3%A9', 'encoded percent' => '/a%25b',
        'double slashes' => '/a//b', plus => '/a+b?c+d', semicolon => '/a;b=c', 'upper and lower' => '/A%3aB%3A', brackets => '/a?b[]=1&c[d]=2', tilde => '/~a/*!$(),',
    );
    for my $name (sort keys %target) { is $h->get($target{$name})->json->{url}, $target{$name}, "$name: $target{$name}" }
    like $h->get('/é?é')->json->{url} // '', qr{^/%C3%A9\?}i, 'bytes that HTTP has not in targets are escaped';
    my $r = $h->request("GET http://other.example/a?b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    like $r, qr{"url":"/a\?b"}, 'an absolute target';
    like $r, qr{"host":"other\.example"}, '... says which host';
    for my $method (qw(GET POST PUT PATCH DELETE OPTIONS PROPFIND REPORT PURGE)) { is $h->ask($method, '/m')->json->{method}, $method, "method $method" }
    like $h->request("CONNECT x:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), qr{^HTTP/1\.1 4\d\d}, 'CONNECT is none';
    my $one = $h->request("GET /a HTTP/1.0\r\nHost: x\r\n\r\n");
    like $one, qr{"version":"1\.1"}, 'HTTP/1.0 is raised to 1.1';
    unlike $one, qr/Transfer-Encoding/i, '... and gets no chunks';
}

sub request_fields {
    my $seen = sub { $h->get('/', @_)->json };
    my $text = $h->request("GET / HTTP/1.1\r\nHost: x\r\nX-Twice: one\r\nX-Twice: two\r\nCookie: a=1\r\nCookie: b=2\r\nAccept: text/html\r\nAccept: text/plain\r\nConnection: close\r\n\r\n");
    like $text, qr/"x-twice":"one, two"/, 'fields that come twice are joined';
    like $text, qr/"cookie":"a=1[;,] b=2"/, '... cookies too';
    like $text, qr/"accept":"text\/html, ?text\/plain"/, '... and lists';
    is $seen->('X-Empty' => '')->{headers}{'x-empty'}, '', 'an empty field';
    is $seen->('User-Agent' => 'a "quoted" (b; c) \\ d')->{headers}{'user-agent'}, 'a "quoted" (b; c) \\ d', 'punctuation';
    is $seen->('X-Blanks' => '  a  b  ')->{headers}{'x-blanks'}, 'a  b', 'blanks around a value are not part of it';
    is $seen->('X-Utf' => 'é')->{headers}{'x-utf'}, "\xc3\x83\xc2\xa9", 'bytes above ASCII are latin-1, as Node.js takes them';
    is $seen->(Authorization => 'Bearer abc.def')->{headers}{authorization}, 'Bearer abc.def', 'Authorization';
    is $seen->(Host => 'shop.example:8080')->{headers}{host}, 'shop.example:8080', 'a host with its port';
    is $seen->('If-None-Match' => 'W/"x"')->{headers}{'if-none-match'}, 'W/"x"', 'conditional requests are the application\'s';
    is $h->get('/chunks', Range => 'bytes=4-6')->body, 'two', '... but parts of a response that has no other answer are cut by Apache';
    is length $seen->('X-Long' => 'y' x 8000)->{headers}{'x-long'}, 8000, 'eight thousand bytes in one field';
    my $many = $seen->(map { ("X-N-$_" => $_) } 1 .. 150);
    is scalar(grep { /^x-n-/ } keys %{ $many->{headers} }), 150, 'a hundred and fifty fields';
    is $h->get('/', map { ("X-L-$_" => 'z' x 5000) } 1 .. 4)->status, 400, 'more than Node.js takes is answered by its handler of that';
    is $h->get('/')->status, 200, '... and no end';
    like events(), qr/HPE_HEADER_OVERFLOW/, '... which it has noticed';
}

sub request_bodies {
    is $h->post('/', '')->json->{length}, 0, 'no byte';
    is $h->post('/', join '', map { chr } 0 .. 63)->json->{hex}, join('', map { sprintf '%02x', $_ } 0 .. 63), 'all bytes are the same';
    is $h->ask('GET', '/', body => 'abc')->json->{length}, 3, 'GET with a body';
    is $h->ask('DELETE', '/', body => 'abc')->json->{length}, 3, 'DELETE too';
    my $r = $h->post('/', chunked('a', 'bc', 'def'), 'Transfer-Encoding' => 'chunked')->json;
    is $r->{hex}, '616263646566', 'chunks';
    ok $r->{complete}, '... complete';
    is $h->post('/pushed', 'x' x 2_000_000)->json->{n}, 2_000_000, 'a stream that is paused';
    is sha1_hex($h->post('/pipe', 'y' x 100_000)->body), sha1_hex('y' x 100_000), 'piped back';
    is $h->post('/unread', 'x' x 500_000)->body, "not read\n", 'one that is not read';
    is $h->get('/')->json->{length}, 0, '... does not reach the next request';
    is $h->post('/pipe', chunked(('piece') x 50), 'Transfer-Encoding' => 'chunked')->body, 'piece' x 50, 'piped back in chunks';
}

# 100-continue is between client and Apache, so an application that waits for the question is not asked.
sub expectations {
    my $c = $h->client;
    $c->write_request('POST', '/continue', Expect => '100-continue', 'Content-Length' => 3);
    $c->send('abc');
    my $r = $c->read_response('POST');
    is $r->status, 200, 'Expect: 100-continue';
    ok !$r->json->{continued}, '... was answered before';
    is $h->post('/', 'abc', Expect => 'something-else')->status, 417, 'another expectation is none';
    is $h->get('/processing')->body, "done\n", '102 and 100 before the response';
}

sub statuses {
    for my $s (200, 201, 202, 204, 205, 206, 226, 300, 302, 303, 307, 308, 400, 401, 402, 404, 405, 409, 410, 418, 422, 425, 429, 451, 500, 501, 503, 507, 599) {
        is $h->get("/status?s=$s")->status, $s, "status $s";
    }
    is $h->get('/status?s=204&b=text')->body, '', '204 has no body';
    my $r = $h->get('/status?s=304&l=12');
    is $r->status . $r->body, '304', '304 neither';
    like $h->get('/reason')->head, qr{^HTTP/1\.1 299 Something else\r}, 'a reason of its own';
    is $h->get('/status?s=404&b=mine')->body, 'mine', 'an error\'s body is the application\'s';
    is $h->get('/status?s=500&b=mine')->body, 'mine', '... whatever the error';
}

sub response_fields {
    is_deeply [ $h->get('/cookies')->headers('Set-Cookie') ], [ 'a=1; Path=/', 'b=2; HttpOnly', 'c=3' ], 'cookies in their order';
    my $r = $h->get('/fields');
    is_deeply [ $r->headers('X-Twice') ], [qw(one two)], 'fields that are sent twice';
    is_deeply [ $r->headers('Link') ], [ '</a>; rel=x', '</b>; rel=y' ], '... and links';
    is $r->header('X-Empty'), '', 'an empty one';
    like $r->head, qr/^x-lower: l\r/m, 'the case of names is kept';
    like $r->head, qr/^X-Latin: caf\xe9\r/m, '... and bytes above ASCII';
    ok $r->header('Date'), 'a date';
    ok !defined $h->get('/chunks')->header('Keep-Alive') || $h->get('/chunks')->header('Keep-Alive') !~ /timeout=(?:4|72)\d*\b/, 'nothing of the inner hop';
    is length(join '', map { $h->get('/large_fields')->header("X-Large-$_") } 0 .. 1), 2000, 'sixty thousand bytes of fields';
    is $h->get('/injected')->json->{code}, 'ERR_INVALID_CHAR', 'no line ends in values';
}

sub response_bodies {
    is $h->get('/chunks')->body, "one two three\n", 'chunks';
    is $h->get('/binary')->body, join('', map { chr } 0 .. 255), 'all bytes';
    my $r = $h->get('/gzip', 'Accept-Encoding' => 'gzip');
    gunzip(\$r->body, \my $plain);
    is $plain, "packed\n", 'packed by the application';
    is $r->header('Content-Encoding'), 'gzip', '... which is told';
    $r = $h->ask('HEAD', '/head');
    is $r->header('Content-Length') . $r->body, '1000', 'HEAD has the length and no body';
    is $h->ask('HEAD', '/chunks')->body, '', '... or none';
    is $h->get('/trailers')->body, "body\n", 'trailers end here';
    is $h->get('/cork')->body, "cork\n" x 100, 'many small writes';
    is length $h->get('/backpressure')->body, (8 << 20) + length 'waited true', 'eight MiB';
    like $h->get('/backpressure')->body, qr/waited (?:true|false)$/, '... to the end';
}

sub streams {
    my $c = $h->client;
    $c->write_request('GET', '/flush');
    wait_for { events() eq 'flushed' } 'a head without a body', 10;
    is $h->get('/go')->body, "gone\n", 'another request meanwhile';
    is $c->read_response('GET')->body, "later\n", 'a head before its body';
    $c = $h->client;
    $c->write_request('GET', '/events_stream');
    soon { so_far($c) =~ /data: first\n\n/ } 'the first event comes at once', 10;
    is $h->get('/go')->body, "gone\n", '... before there is another';
    soon { so_far($c) =~ /data: second\n\n/ } '... and the second', 10;
    is $h->get('/slowly')->body, "tick\n" x 5, 'a slow response';
    is $h->get('/timeout')->body, "timed out\n", 'a time limit of the application\'s';
}

sub ends {
    $h->allow_log(qr/PSG015[0126]/, qr/PSG0688/);
    ok !$h->get($_)->complete, "$_ looks broken" for qw(/short /cut);
    is $h->get('/reset')->status, 502, 'no answer is a 502';
    is $h->get('/')->status, 200, '... and the process serves on';
    my $c = $h->client;
    $c->send(join '', map { "GET /p$_ HTTP/1.1\r\nHost: x\r\n\r\n" } 1 .. 8);
    is_deeply [ map { $c->read_response('GET')->json->{url} } 1 .. 8 ], [ map { "/p$_" } 1 .. 8 ], 'eight pipelined requests';
    $c = $h->client;
    $c->send("POST /pipe HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /next HTTP/1.1\r\nHost: x\r\n\r\n");
    is $c->read_response('POST')->body, 'abc', 'a body, and a request behind it';
    is $c->read_response('GET')->json->{url}, '/next', '... which is another';
}

# What frameworks count on.
sub lives {
    is $h->post('/watched', 'abc')->body, "watched\n", 'one that is watched';
    my @all;
    wait_for { push @all, @{ $h->get('/events')->json }; @all >= 4 } 'its events', 10;
    is join(', ', sort @all), 'request close, request end, response close, response finish', 'a request that is answered';
    is gone('GET', sub { $_[0]->write_request('GET', '/waits') }), 'request ECONNRESET, request aborted, request close, response close unfinished', 'a client that leaves before the end';
    my $begin = sub { $_[0]->write_request('POST', '/waits', 'Content-Length' => 3_000_000); $_[0]->send('x' x 1_500_000) };
    like gone('POST', $begin), qr/request aborted, request close, response close unfinished$/, '... or in the middle of its body';
}

# The events after a client has left.
sub gone {
    my ($method, $begin) = @_;
    my $c = $h->client;
    $begin->($c);
    wait_for { ($h->get('/events')->json->[0] // '') eq 'begun' } 'it to be there', 10;
    $c->close;
    my @all;
    wait_for { push @all, @{ $h->get('/events')->json }; grep { /^response close/ } @all } 'it to notice', 10;
    return join ', ', sort @all;
}
