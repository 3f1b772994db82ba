# Responses that name a file (PassengerXSendfile): X-Sendfile and X-Accel-Redirect.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Harness;
use Proc;

my ($first, @others) = Harness->mpms;
for my $part (split ' ', $ENV{PARTS} // 'files refused off') {
    subtest "$first: $part" => sub { no strict 'refs'; &$part($first) };
}
for my $mpm (@others) {
    subtest "$mpm: files" => sub { files($mpm) };
}
done_testing;

# Answers with the fields that the request's "X-Want" lists, "name: value" with bars between; a body comes if the query has its length.
sub source { <<'END' }
import time
def application(environ, start_response):
    if environ["PATH_INFO"] == "/seen":
        body = repr(sorted(k for k in environ if "SENDFILE" in k or "ACCEL" in k)).encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]
    fields = [tuple(f.split(": ", 1)) for f in environ["HTTP_X_WANT"].split("|")]
    status = environ.get("HTTP_X_STATUS", "200 OK")
    n = int(environ["QUERY_STRING"] or 0)
    start_response(status, fields)
    return (b"x" * 65536 for i in range(n // 65536)) if n > 65536 else [b"x" * n]
END

sub bytes_of { my ($n) = @_; return substr(join('', map { sprintf '%07d ', $_ } 0 .. $n / 8), 0, $n) }

sub make {
    my ($mpm, %arg) = @_;
    my $h = Harness->new(mpm => $mpm, %arg);
    my $app = $h->make_app('shop', { 'passenger_wsgi.py' => source() });
    mkdir "$app/files";
    spew("$app/files/big.txt", bytes_of(3_000_000));
    spew("$app/files/page.html", '<p>page</p>');
    spew("$app/files/empty.txt", '');
    spew("$app/files/odd % name?.txt", 'odd');
    utime 1e9, 1e9, "$app/files/big.txt"; # httpd's tags of what has just been written are weak
    $h->own($app, $h->app_user);
    return ($h, $app);
}

sub named { my ($h, $fields, %more) = @_; my $query = delete $more{query} // ''; $h->get("/?$query", 'X-Want' => $fields, %more) }

sub files {
    my ($mpm) = @_;
    my ($h, $app) = make($mpm);
    my $file = "$app/files/big.txt";
    my $bytes = slurp($file);
    $h->start(conf => "DocumentRoot $app/public\nPassengerXSendfile On\nPassengerXAccelMapping /private $app/files\nErrorDocument 404 \"gone\"");
    my $r = named($h, "X-Sendfile: $file|Content-Length: 0|Set-Cookie: a=b|Cache-Control: private|Content-Disposition: attachment");
    is $r->status, 200, 'a file';
    ok $r->complete && $r->body eq $bytes, '... whole';
    is $r->header('Content-Length'), length $bytes, '... with its length';
    is $r->header('Content-Type'), 'text/plain', '... and type';
    is $r->header('Set-Cookie'), 'a=b', 'the application\'s cookie';
    is $r->header('Cache-Control'), 'private', '... and cache control';
    is $r->header('Content-Disposition'), 'attachment', '... and disposition';
    ok !$r->header($_), "no $_" for qw(X-Sendfile Passenger-File);
    my ($tag, $date) = ($r->header('ETag'), $r->header('Last-Modified'));
    ok $tag && $date, 'a tag and a date';
    $r = named($h, 'X-Sendfile: files/page.html|Content-Type: text/x-own; charset=utf-8|ETag: "own"|Content-Encoding: gzip', query => 70000);
    is $r->body, '<p>page</p>', 'a relative name; the application\'s own body is dropped';
    is $r->header('Content-Type'), 'text/x-own; charset=utf-8', '... its type is not';
    is $r->header('ETag'), '"own"', '... nor its tag';
    ok !$r->header('Content-Encoding'), '... but what it did to its body is';
    is named($h, 'X-Sendfile: files/page.html|Content-Type: text/html|ETag: "own"', 'If-None-Match' => '"own"')->status, 304, '... and compared';
    is named($h, "X-Sendfile: $file", 'If-None-Match' => $tag)->status, 304, 'If-None-Match';
    is named($h, "X-Sendfile: $file", 'If-Modified-Since' => $date)->status, 304, 'If-Modified-Since';
    is named($h, "X-Sendfile: $file", 'If-Match' => '"other"')->status, 412, 'If-Match';
    $r = named($h, "X-Sendfile: $file", Range => 'bytes=8-23');
    is join(' ', $r->status, $r->body), '206 0000001 0000002 ', 'a range';
    is $r->header('Content-Range'), 'bytes 8-23/3000000', '... is named';
    $r = named($h, "X-Sendfile: $file", Range => 'bytes=100000-2900000');
    ok $r->body eq substr($bytes, 100000, 2800001), 'a large range';
    $r = named($h, "X-Sendfile: $file", Range => 'bytes=0-7,16-23');
    like $r->header('Content-Type'), qr{^multipart/byteranges}, 'two ranges';
    like $r->body, qr/0000000 .*0000002 /s, '... both there';
    is named($h, "X-Sendfile: $file", Range => 'bytes=8-15', 'If-Range' => $tag)->status, 206, 'If-Range with its tag';
    is named($h, "X-Sendfile: $file", Range => 'bytes=8-15', 'If-Range' => '"other"')->status, 200, '... and with another';
    is named($h, "X-Sendfile: $file", Range => 'bytes=4000000-')->status, 416, 'a range beyond the end';
    $r = $h->ask('HEAD', '/', 'X-Want' => "X-Sendfile: $file|Content-Type: text/plain");
    is join(' ', $r->status, $r->header('Content-Length'), length $r->body), '200 3000000 0', 'HEAD';
    is named($h, 'X-Sendfile: files/empty.txt')->header('Content-Length'), 0, 'an empty file';
    is named($h, 'X-Sendfile: files/odd % name?.txt')->body, 'odd', 'a path is not decoded';
    is named($h, 'X-Accel-Redirect: /private/page.html')->body, '<p>page</p>', 'a mapped URI';
    is named($h, 'X-Accel-Redirect: /private/odd%20%25%20name%3F.txt?token=1')->body, 'odd', '... is decoded';
    is $h->get('/private/page.html', 'X-Want' => 'Content-Type: text/plain')->body, '', 'visitors cannot ask for it';
    $r = named($h, 'X-Sendfile: files/page.html|Content-Type: text/html', 'X-Status' => '404 Not Here');
    is join(' ', $r->status, $r->body), '404 <p>page</p>', 'the application\'s status';
    is named($h, 'X-Sendfile: files/page.html', 'X-Status' => '204 No Content')->body, '', 'none without a body';
    $r = named($h, 'X-Sendfile: files/nothing.txt|Content-Type: text/html|Set-Cookie: a=b');
    is join(' ', $r->status, $r->body), '404 gone', 'a file that is not there';
    like $h->expect_log('PSG2200'), qr{files/nothing\.txt cannot be opened by user \w+: No such file}, '... in the log';
    is $h->get('/seen', 'X-Sendfile-Type' => 'X-Sendfile', 'X-Accel-Mapping' => '/=/x')->body, '[]', 'a visitor tells the application nothing';
    is named($h, 'Content-Type: text/plain', query => 2, 'X-Sendfile' => $file, 'X-Accel-Redirect' => '/private/page.html')->body, 'xx', '... and the server neither';
    slow($h, $file, $bytes);
}

# The application's only process answers others while somebody reads slowly.
sub slow {
    my ($h, $file, $bytes) = @_;
    my @readers = map { my $c = $h->client; $c->send("GET / HTTP/1.1\r\nHost: x\r\nX-Want: X-Sendfile: $file\r\n\r\n"); $c } 1 .. 4;
    is named($h, 'X-Sendfile: files/page.html')->status, 200, "beside slow readers ($_)" for 1 .. 5;
    for my $reader (@readers) {
        my $r = $reader->read_response;
        ok $r->complete && $r->body eq $bytes, 'a slow reader gets all';
    }
}

sub refused {
    my ($mpm) = @_;
    my ($h, $app) = make($mpm);
    my $other = $h->make_app('other', { 'passenger_wsgi.py' => source(), 'secret.txt' => 'secret', 'shared/open.txt' => 'open' });
    $h->own($other, $h->app_user(1));
    chmod 0600, "$other/secret.txt";
    spew("$app/files/root.txt", 'root');
    chmod 0600, "$app/files/root.txt";
    symlink "$other/secret.txt", "$app/files/link";
    symlink "$other/shared/open.txt", "$app/files/open";
    symlink "$app/files/page.html", "$app/files/inner";
    link "$other/secret.txt", "$app/files/hard";
    system('mkfifo', "$app/files/fifo") == 0 or die 'mkfifo';
    chmod 0666, "$app/files/fifo";
    mkdir "$app/files/closed", 0700;
    spew("$app/files/closed/x", 'x');
    $h->start(conf => <<"END");
<VirtualHost *>
ServerName shop
DocumentRoot $app/public
PassengerXSendfile On
PassengerXAccelMapping /private $app/files
</VirtualHost>
<VirtualHost *>
ServerName allowed
DocumentRoot $other/public
PassengerXSendfile On
PassengerXSendfilePath $app/files
</VirtualHost>
END
    for my $case (["X-Sendfile: $other/secret.txt", 403, 'another user\'s file'], ['X-Sendfile: files/link', 403, 'a symbolic link to it'],
                  ['X-Sendfile: files/hard', 403, 'a hard link to it', qr/may not read/], ['X-Sendfile: files/open', 403, 'a link to what everybody may read', qr/PassengerXSendfilePath/],
                  ['X-Sendfile: /etc/passwd', 403, 'a file elsewhere', qr/lies outside/], ['X-Sendfile: files/../../other/shared/open.txt', 403, 'a way out'],
                  ['X-Sendfile: files/../files/page.html', 200, 'a way that stays'], ['X-Sendfile: files/inner', 200, 'a link that stays'],
                  ['X-Sendfile: files/root.txt', 403, 'root\'s file', qr/the user \w+ may not read/], ['X-Sendfile: files/closed/x', 403, 'a file in a closed folder', qr/may not enter \S+closed/],
                  ['X-Sendfile: files/fifo', 403, 'a pipe', qr/no regular file/], ['X-Sendfile: files', 403, 'a folder'], ['X-Sendfile: /dev/null', 403, 'a device'],
                  ['X-Sendfile: /proc/self/environ', 403, 'of the process itself'], ['X-Sendfile: /nowhere/x', 403, 'what is not there, elsewhere'],
                  ['X-Sendfile: files/page.html/x', 404, 'below a file'], ['X-Sendfile: ' . 'x' x 5000, 404, 'a long name'],
                  ['X-Accel-Redirect: /private/../passenger_wsgi.py', 403, 'a URI that climbs'], ['X-Accel-Redirect: /private/%2e%2e/passenger_wsgi.py', 403, '... encoded'],
                  ['X-Accel-Redirect: /private/page.html%00.txt', 403, 'NUL'], ['X-Accel-Redirect: /server-status', 403, 'a URI without a mapping', qr/PassengerXAccelMapping/],
                  ['X-Accel-Redirect: /privately', 403, 'half a mapping']) {
        my ($fields, $status, $what, $like) = @$case;
        my $r = named($h, "$fields|Content-Type: text/plain", Host => 'shop');
        is $r->status, $status, $what;
        unlike $r->body, qr/secret|open|root:/, '... shows nothing' if $status != 200;
        ok $h->expect_log(qr/PSG2200.*$like/), '... and the log says why' if $like;
    }
    $h->allow_log('PSG2200');
    is named($h, "X-Sendfile: $app/files/page.html", Host => 'allowed')->status, 200, 'a folder that the configuration allows';
    is named($h, "X-Sendfile: $app/passenger_wsgi.py", Host => 'allowed')->status, 403, '... and nothing beside it';
}

sub off {
    my ($mpm) = @_;
    my ($h, $app) = make($mpm);
    $h->start(conf => "DocumentRoot $app/public");
    my $r = named($h, 'X-Sendfile: files/page.html|X-Accel-Redirect: /x|Content-Type: text/plain', query => 3);
    is $r->body, 'xxx', 'without the directive';
    is $r->header('X-Sendfile'), 'files/page.html', '... the header is somebody else\'s';
}
