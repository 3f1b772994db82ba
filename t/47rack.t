# Conformance of Ruby behind a real Apache: every shape of request and response, with Rack::Lint around the application, which finds fault with what the
# server gives it and with what it gives the server. t/42loader-ruby.t tries the loader alone, and Rack 3, which Debian does not have.
use strict;
use warnings;
use lib 't/lib';
use Digest::SHA qw(sha1_hex);
use Test::More;
use Harness;

plan skip_all => 'Ruby is not there' if system('ruby -e "require %q(rack)" 2>/dev/null') != 0;

my $source = <<'END';
require 'uri' # Rack::Lint wants it
require 'json'
require 'digest/sha1'
$closed = 0
class Body
  def initialize(*blocks) @blocks = blocks end
  def each; @blocks.each { |block| yield block.respond_to?(:call) ? block.call : block } end
  def close; $closed += 1 end
end
TEXT = { 'Content-Type' => 'text/plain' }.freeze
def text(*blocks) = [200, TEXT, blocks]

def facts(env)
  input = env['rack.input'].read
  env['rack.input'].rewind
  again = env['rack.input'].read
  seen = env.select { |name, value| value.is_a?(String) }
  seen['body'] = input.bytesize
  seen['sha1'] = Digest::SHA1.hexdigest(input)
  seen['again'] = input == again
  [200, { 'Content-Type' => 'application/json' }, [JSON.generate(seen.transform_values { |v| v.is_a?(String) ? v.dup.force_encoding('ISO-8859-1').encode('UTF-8') : v })]]
end

SHAPES = {
  '/204' => -> { [204, {}, []] },
  '/304' => -> { [304, { 'ETag' => '"x"' }, []] },
  '/404' => -> { [404, TEXT, ['own page']] },
  '/redirect' => -> { [302, { 'Location' => '/there', 'Content-Type' => 'text/html' }, []] },
  '/cookies' => -> { [200, TEXT.merge('Set-Cookie' => "a=1; path=/\nb=2; path=/"), []] },
  '/list' => -> { text('a', '', 'bc') },
  '/empty' => -> { text },
  '/stream' => -> { [200, TEXT, Body.new('one ', 'two ', 'three')] },
  '/none' => -> { [200, TEXT, Body.new] },
  '/length' => -> { [200, TEXT.merge('Content-Length' => '6'), Body.new('abc', 'def')] },
  '/bytes' => -> { [200, { 'Content-Type' => 'application/octet-stream' }, [(0..255).map(&:chr).join.b]] },
  '/big' => -> { [200, TEXT, ['x' * 3_000_000]] },
  '/file' => -> { [200, TEXT, Class.new(Body) { def to_path() "#{__dir__}/config.ru" end }.new(File.read("#{__dir__}/config.ru"))] },
  '/raise' => -> { raise 'before the response' },
  '/raise_in' => -> { [200, TEXT, Body.new('begun', -> { raise 'within the response' })] },
  '/raise_first' => -> { [200, TEXT, Body.new(-> { raise 'at its first block' })] },
  '/throw' => -> { throw :nobody },
  '/exit' => -> { exit 4 },
  '/partial' => -> { [200, TEXT.merge('rack.hijack' => ->(io) { io.write('raw ', 'bytes'); io.close }), []] },
  '/closed' => -> { text($closed.to_s) },
}.freeze
BARE = {
  '/short' => ->(_) { [200, TEXT.merge('Content-Length' => '9'), Body.new('abc')] },
  '/long' => ->(_) { [200, TEXT.merge('Content-Length' => '2'), Body.new('abc')] },
  '/full' => lambda do |env|
    io = env['rack.hijack'].call
    io.write("HTTP/1.1 203 Own reason\r\nContent-Type: text/plain\r\nX-Raw: yes\r\nContent-Length: 8\r\n\r\nhijacked")
    io.close
    [500, {}, []]
  end,
  '/after' => lambda do |env|
    env['rack.after_reply'] << -> { $after = $after.to_i + 1 }
    text($after.to_i.to_s)
  end,
  '/wrong' => ->(env) { { 'nil' => nil, 'status' => ['x', {}, []], 'header' => [200, { "a\nb" => 'c' }, []], 'value' => [200, { 'a' => "b\0" }, []], 'body' => [200, TEXT, 5] }[env['QUERY_STRING']] },
}.freeze

linted = Rack::Lint.new(lambda do |env|
  shape = SHAPES[env['PATH_INFO']]
  case env['PATH_INFO']
  when '/unread' then text(env['rack.input'].read(3).to_s)
  when '/lines' then text(*[].tap { |lines| env['rack.input'].each { |line| lines << "[#{line.chomp}]" } })
  when '/errors' then env['rack.errors'].puts('told the log'); text('told')
  else shape ? shape.call : facts(env)
  end
end)
# Rack::Lint wraps bodies, so that nobody sees what they are.
run lambda { |env|
  bare = env['PATH_INFO'].delete_suffix!('.bare') && SHAPES[env['PATH_INFO']]
  bare ? bare.call : (BARE[env['PATH_INFO']] || linted).call(env)
}
END

for my $mpm (Harness->mpms) {
    subtest $mpm => sub { shapes($mpm) };
}
done_testing;

my ($h, $r);

# A request, and what env must be told of it. undef: nothing.
sub told {
    my ($name, $request, %want) = @_;
    my ($method, $path, %field) = @$request;
    $r = $h->ask($method, $path, %field);
    my $env = eval { $r->json } || {};
    my @wrong = grep { ($env->{$_} // '(none)') ne ($want{$_} // '(none)') } sort keys %want;
    ok $r->status == 200 && !@wrong, $name or diag 'status ', $r->status, map { "\n$_: " . ($env->{$_} // '(none)') } @wrong;
}

# A response: method, path, then status, body, framing, and fields.
sub gives {
    my ($name, $request, $status, $body, %field) = @_;
    my ($method, $path, @more) = @$request;
    $r = $h->ask($method, $path, @more);
    my @wrong = grep { join('|', $r->headers($_)) ne $field{$_} } sort keys %field;
    ok $r->status == $status && (!defined $body || $r->body eq $body) && $r->complete && !@wrong, $name
        or diag $r->status, ' ', $r->complete ? '' : 'cut ', substr($r->body, 0, 200), map { "\n$_: " . join '|', $r->headers($_) } @wrong;
}

sub shapes {
    my ($mpm) = @_;
    $h = Harness->new(mpm => $mpm);
    my $app = $h->make_app('shop', { 'config.ru' => $source });
    $h->start(conf => "PassengerMaxInstances 1\nLimitRequestFieldSize 40000\n" . join '', map { "<VirtualHost *>\nServerName $_->[0]\nDocumentRoot $app/public\n$_->[1]\n</VirtualHost>\n" }
            ['localhost', ''], ['slash', 'AllowEncodedSlashes On'], ['sent', "AllowEncodedSlashes On\nPassengerAllowEncodedSlashes On"], ['kept', 'AllowEncodedSlashes NoDecode']);
    my $port = $h->{port};

    told("an encoded slash: $_->[0]", [GET => '/a%2fb%20c', Host => $_->[0]], PATH_INFO => $_->[1], REQUEST_URI => '/a%2fb%20c')
        for ['slash', '/a/b%20c'], ['sent', '/a%2fb%20c'], ['kept', '/a%2fb%20c'];
    told('GET', [GET => '/a'], REQUEST_METHOD => 'GET', PATH_INFO => '/a', SCRIPT_NAME => '', QUERY_STRING => '', REQUEST_URI => '/a', body => 0,
        'rack.url_scheme' => 'http', SERVER_PORT => 80, SERVER_PROTOCOL => 'HTTP/1.1', REMOTE_ADDR => '127.0.0.1', CONTENT_TYPE => undef);
    told('a query', [GET => '/a?b=c&d=%26'], QUERY_STRING => 'b=c&d=%26', REQUEST_URI => '/a?b=c&d=%26');
    told('an empty query', [GET => '/a?'], QUERY_STRING => '', PATH_INFO => '/a');
    told('a query with a question mark', [GET => '/a?b?c'], QUERY_STRING => 'b?c');
    told('an encoded path stays encoded', [GET => '/a%20b/%C3%A9'], PATH_INFO => '/a%20b/%C3%A9');
    told('a path of one slash', [GET => '/'], PATH_INFO => '/');
    told('an absolute target', [GET => "http://localhost:$port/abs?x"], PATH_INFO => '/abs', QUERY_STRING => 'x');
    told('a host with a port', [GET => '/', Host => "shop.example:$port"], HTTP_HOST => "shop.example:$port", SERVER_NAME => 'shop.example', SERVER_PORT => $port);
    told('HTTPS is what Apache says it is, not the visitor', [GET => '/', HTTPS => 'on', 'X-Https' => 1], 'rack.url_scheme' => 'http', HTTP_HTTPS => 'on');
    told('fields', [GET => '/', 'X-One' => 'a b', 'X-Empty' => '', Accept => '*/*', Cookie => 'a=b; c=d', Authorization => 'Basic eDp5'],
        HTTP_X_ONE => 'a b', HTTP_X_EMPTY => '', HTTP_ACCEPT => '*/*', HTTP_COOKIE => 'a=b; c=d', HTTP_AUTHORIZATION => 'Basic eDp5');
    told('bytes in a field', [GET => '/', 'X-Latin' => "caf\xe9"], HTTP_X_LATIN => "caf\xc3\xa9");
    told('a long field', [GET => '/', 'X-Long' => 'l' x 30_000], HTTP_X_LONG => 'l' x 30_000);
    told('names that CGI would mix up', [GET => '/', X_Under => 1, 'X.Dot' => 2, Proxy => 'evil'], HTTP_X_UNDER => undef, HTTP_X_DOT => undef, HTTP_PROXY => undef);
    told('fields of one hop', [GET => '/', TE => 'trailers', 'Keep-Alive' => 'x'], HTTP_TE => undef, HTTP_KEEP_ALIVE => undef, HTTP_CONNECTION => undef);
    told("$_ without a body", [$_ => '/'], REQUEST_METHOD => $_, body => 0, CONTENT_LENGTH => undef) for qw(DELETE OPTIONS PATCH POST PURGE PROPFIND);
    told('an empty body', [POST => '/', body => ''], body => 0, CONTENT_LENGTH => 0);
    for my $size (1, 20_000, 200_000, 3_000_000) {
        my $body = join '', map { chr(($_ * 7) % 251) } 1 .. 1000;
        $body = substr $body x ($size / 1000 + 1), 0, $size;
        told("a body of $size bytes", [POST => '/', body => $body, 'Content-Type' => 'application/x'], body => $size, sha1 => sha1_hex($body), again => 1,
            CONTENT_LENGTH => $size, CONTENT_TYPE => 'application/x', HTTP_CONTENT_TYPE => undef, HTTP_CONTENT_LENGTH => undef);
    }
    told('a body in chunks', [PUT => '/', 'Transfer-Encoding' => 'chunked', body => "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nT: x\r\n\r\n"], body => 11,
        sha1 => sha1_hex('hello world'));
    told('Expect', [POST => '/', Expect => '100-continue', body => 'abc'], body => 3, HTTP_EXPECT => undef);
    gives('lines of a body', [POST => '/lines', body => "a\nb\n\nc"], 200, '[a][b][][c]');
    my $c = $h->client;
    $r = $c->ask(POST => '/unread', body => 'y' x 100_000);
    is $r->body . $c->get('/list')->body, 'yyyabc', 'what is left of a body is not the next request';
    $c->send("GET /list HTTP/1.1\r\nHost: x\r\n\r\n" x 2 . "HEAD /list HTTP/1.1\r\nHost: x\r\n\r\n" . "GET /204 HTTP/1.1\r\nHost: x\r\n\r\n");
    is join(' ', map { my $one = $c->read_response($_); $one->status . $one->body } qw(GET GET HEAD GET)), '200abc 200abc 200 204', 'four requests at once';
    like $h->request("GET /list HTTP/1.0\r\n\r\n"), qr{^HTTP/1\.1 200 OK\r\n.*\r\n\r\nabc$}s, 'an HTTP/1.0 client';
    unlike $h->request("GET /stream HTTP/1.0\r\n\r\n"), qr/chunked/i, '... is sent no chunks';

    gives('a list', [GET => '/list'], 200, 'abc', 'content-type' => 'text/plain');
    gives('... has a length', [GET => '/list.bare'], 200, 'abc', 'content-length' => 3);
    gives('... for HEAD too', [HEAD => '/list.bare'], 200, '', 'content-length' => 3);
    gives('an empty list', [GET => '/empty'], 200, '', 'content-length' => 0);
    gives('a stream', [GET => '/stream'], 200, 'one two three');
    gives('... of nothing', [GET => '/none'], 200, '');
    gives('... for HEAD', [HEAD => '/stream'], 200, '');
    gives('... of known length', [GET => '/length'], 200, 'abcdef', 'content-length' => 6);
    gives('a range, which Apache cuts out', [GET => '/length', Range => 'bytes=1-3'], 206, 'bcd', 'content-range' => 'bytes 1-3/6');
    gives('all bytes', [GET => '/bytes'], 200, join '', map { chr } 0 .. 255);
    gives('a large one', [GET => '/big'], 200, 'x' x 3_000_000);
    gives('... without Rack::Lint', [GET => '/big.bare'], 200, 'x' x 3_000_000, 'content-length' => 3_000_000);
    gives('a file', [GET => '/file.bare'], 200, $source, 'content-length' => length $source);
    gives('... for HEAD', [HEAD => '/file.bare'], 200, '', 'content-length' => length $source);
    gives('status 204', [GET => '/204'], 204, '', 'content-length' => '', 'transfer-encoding' => '');
    gives('status 304', [GET => '/304', 'If-None-Match' => '"x"'], 304, '', etag => '"x"');
    gives('status 404', [GET => '/404'], 404, 'own page');
    gives('a redirect stays as it is', [GET => '/redirect'], 302, '', location => '/there');
    gives('two cookies', [GET => '/cookies'], 200, '', 'set-cookie' => 'a=1; path=/|b=2; path=/');
    gives('a connection that the application takes over', [GET => '/full'], 203, 'hijacked', 'x-raw' => 'yes');
    gives('... after the head', [GET => '/partial'], 200, 'raw bytes');
    gives('... and the next request', [GET => '/list'], 200, 'abc');
    gives('what is to be done after the reply', [GET => '/after'], 200, '0');
    gives('... is', [GET => '/after'], 200, '1');
    gives('a length that is too small', [GET => '/long'], 200, 'ab', 'content-length' => 2);
    $h->expect_log(qr/longer than its Content-Length of 2: cut/);

    my $closed = $h->get('/closed')->body;
    for my $path (qw(/stream /none /length /file.bare /long /short /raise_in /raise_first)) {
        $h->ask($_, $path) for qw(GET HEAD);
    }
    is $h->get('/closed')->body - $closed, 16, 'close() is called once for each body';
    $h->allow_log('PSG0150', 'PSG0156', 'PSG0688');

    # Failures
    $r = $h->get('/short');
    ok $r->status == 502 || !$r->complete, 'a length that is too large is a visible end';
    $r = $h->get('/raise_in');
    ok $r->status == 502 || !$r->complete, 'so is an exception within a body';
    for my $path (qw(/raise /raise_first /throw /exit), map { "/wrong?$_" } qw(nil status header value body)) {
        gives("$path is a page", [GET => $path], 500, "Internal Server Error\n");
    }
    $h->expect_log(qr/config\.ru:\d+:.*before the response \(RuntimeError\)/);
    gives('rack.errors', [GET => '/errors'], 200, 'told');
    $h->expect_log(qr/App \d+ output: told the log/);
    gives('afterwards it serves', [GET => '/list'], 200, 'abc');
    is scalar($h->apps), 1, '... in the same process';
    unlike $h->log_text, qr/Rack::Lint/, 'Rack::Lint finds no fault' or diag grep { /Lint/ } split /^/, $h->log_text;
    $h->finish;
}
