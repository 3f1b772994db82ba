# Responses that name a file (PassengerXSendfile): X-Sendfile and X-Accel-Redirect.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Attack;
use Harness;
use Proc;

my ($first, @others) = Harness->mpms;
for my $part (split ' ', $ENV{PARTS} // 'files refused filters lifetimes languages off') {
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
    my ($h, $app) = make($mpm, workers => 16);
    my $file = "$app/files/big.txt";
    my $bytes = slurp($file);
    $h->start(conf => "DocumentRoot $app/public\nPassengerMaxInstances 1\nPassengerXSendfile On\nPassengerXAccelMapping /private $app/files\nErrorDocument 404 \"gone\"");
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
    is $r->header('Status'), undef, '... and nothing says otherwise';
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
    slow($h, $app);
}

# The application's only process answers others while somebody reads slowly, and where requests are parked, so do Apache's threads.
sub slow {
    my ($h, $app) = @_;
    my $many = $h->{mpm} eq 'event' && ($ENV{PARK} // '') ne 'off' ? 20 : 4;
    my $size = 30 << 20;
    truncate "$app/files/empty.txt", $size;
    my @readers = map { my $c = $h->client; $c->send("GET / HTTP/1.1\r\nHost: x\r\nX-Want: X-Sendfile: files/empty.txt\r\n\r\n"); $c } 1 .. $many;
    is named($h, 'X-Sendfile: files/page.html')->status, 200, "beside $many slow readers ($_)" for 1 .. 5;
    is scalar($h->apps), 1, '... by one process';
    $_->close for splice @readers, 3;
    for my $reader (@readers) {
        my $r = $reader->read_response;
        ok $r->complete && length $r->body == $size, 'a slow reader gets all';
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
    return if $>;
    # Whoever has taken over Apache's user can say what it likes, but for what root has to say.
    Attack::core_socket($h);
    my %forged = (x_sendfile => \pack('N', 1), x_sendfile_path => \pack('N N/a*', 1, '/etc'), x_accel_mapping => \pack('N N/a*', 1, '/etc /etc'));
    for my $case (['X-Sendfile: files/page.html', 200], ['X-Sendfile: /etc/passwd', 403], ['X-Accel-Redirect: /etc/passwd', 403]) {
        my $all = Attack::attack(app_root => $app, group => 'forged', options => \%forged, env => { HTTP_X_WANT => "$case->[0]|Content-Type: text/plain" });
        like $all, qr/^Passenger-File: $case->[1] /m, "forged: $case->[0]";
    }
}

# What is below and above in httpd: compression, HTTP/2, large files, files that change meanwhile.
sub filters {
    my ($mpm) = @_;
    my ($h, $app) = make('event', modules => ['http2']);
    my $file = "$app/files/big.txt";
    my $bytes = slurp($file);
    open my $sparse, '>', "$app/files/sparse" or die;
    truncate $sparse, 5 << 30;
    seek $sparse, 3 << 30, 0;
    print $sparse 'in the middle';
    close $sparse;
    $h->start(conf => "Protocols h2c http/1.1\nDocumentRoot $app/public\nPassengerXSendfile On\nAddOutputFilterByType DEFLATE text/plain");
    my $r = named($h, "X-Sendfile: $file", 'Accept-Encoding' => 'gzip');
    is $r->header('Content-Encoding'), 'gzip', 'mod_deflate compresses';
    ok length $r->body < 2_000_000 && gunzip($h, $r->body) eq $bytes, '... all of it';
    my $got = `curl -s --http2-prior-knowledge -H 'X-Want: X-Sendfile: $file' -w ' %{http_version} %{http_code}' http://127.0.0.1:$h->{port}/`;
    ok $got eq "$bytes 2 200", 'HTTP/2';
    $got = `curl -s --http2-prior-knowledge -r 8-15 -H 'X-Want: X-Sendfile: $file' http://127.0.0.1:$h->{port}/`;
    is $got, '0000001 ', '... a range';
    $r = named($h, 'X-Sendfile: files/sparse', Range => 'bytes=' . (3 << 30) . '-' . ((3 << 30) + 12));
    is $r->body, 'in the middle', 'beyond 2 GiB';
    is $h->ask('HEAD', '/', 'X-Want' => 'X-Sendfile: files/sparse')->header('Content-Length'), 5 << 30, '... and its length';
    spew("$app/files/$_", $bytes x 10) for qw(replaced cut);
    my @slow = map { my $c = $h->client; $c->send("GET / HTTP/1.1\r\nHost: x\r\nX-Want: X-Sendfile: files/$_\r\n\r\n"); $c } qw(replaced cut);
    spew("$app/files/new", 'new');
    soon { named($h, 'X-Sendfile: files/new')->body eq 'new' } 'both are being sent';
    rename "$app/files/new", "$app/files/replaced";
    is named($h, 'X-Sendfile: files/replaced')->body, 'new', 'a file that was replaced';
    my $old = $slow[0]->read_response;
    ok $old->complete && $old->body eq $bytes x 10, '... goes on for those who get the old one';
    truncate "$app/files/cut", 0;
    ok !$slow[1]->read_response->complete, 'one that was cut short looks broken';
    is named($h, 'X-Sendfile: files/page.html')->status, 200, '... and no child has died of it';
}

sub gunzip { my ($h, $data) = @_; spew("$h->{root}/run/zipped", $data); return scalar `gzip -dc < $h->{root}/run/zipped` }

sub porters { my ($h) = @_; grep { "@{ $_->{cmdline} }" =~ /passenger-helper prepare/ } $h->processes }

# Who opens the files, and what if it dies, or the core does.
sub lifetimes {
    my ($mpm) = @_;
    my ($h, $app) = make($mpm);
    $h->start(conf => "DocumentRoot $app/public\nPassengerXSendfile On");
    my $page = sub { named($h, 'X-Sendfile: files/page.html|Content-Type: text/html')->body };
    is named($h, 'Content-Type: text/plain', query => 2)->body, 'xx', 'a response without a file';
    is scalar(porters($h)), 0, '... needs nobody to open one';
    is $page->(), '<p>page</p>', 'a file';
    my ($porter) = porters($h);
    is scalar(getpwuid((stat "/proc/$porter->{pid}/environ")[4]) // ''), 'root', 'the process that opened it shows nobody its descriptors';
    my ($uid) = slurp("/proc/$porter->{pid}/status") =~ /^Uid:\t(\d+)/m;
    is scalar getpwuid $uid, $h->app_user, '... and is the application\'s user';
    like slurp("/proc/$porter->{pid}/status"), qr/^CapEff:\t0+$/m, '... with no right besides';
    my $before = Proc::fds($h->core);
    $page->() for 1 .. 40;
    cmp_ok scalar(Proc::fds($h->core)), '<', $before + 20, 'the core keeps no file';
    kill KILL => $porter->{pid};
    soon { !grep { $_->{pid} == $porter->{pid} } porters($h) } 'it is killed';
    is $page->(), '<p>page</p>', '... and replaced';
    $h->kill_core;
    $h->expect_log('PSG0013');
    is $page->(), '<p>page</p>', 'with a new core';
    soon { porters($h) == 1 } '... there is one again';
    $h->graceful;
    is $page->(), '<p>page</p>', 'after a reload';
    my $long = named($h, 'X-Sendfile: files/page.html|Content-Type: text/html', query => 20 << 20);
    is $long->body, '<p>page</p>', 'beside a body of 20 MB';
    is $page->(), '<p>page</p>', '... whose process goes on';
    $h->allow_log(qr/PSG01\d\d|output:/);
}

# As applications of each language say it.
sub languages {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my %app = (
        rack => $h->make_app('rack', { 'files/a.txt' => 'from rack', 'config.ru' => <<'END' }),
require 'rack'
use Rack::Sendfile
run Rack::Files.new(File.join(__dir__, 'files'))
END
        django => $h->make_app('django', { 'files/a.txt' => 'from django', 'passenger_wsgi.py' => <<'END' }),
import os
from django.conf import settings
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x")
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
def send(request):
    response = HttpResponse()
    response["X-Sendfile"] = os.path.join(os.path.dirname(os.path.abspath(__file__)), "files", "a.txt")
    del response["Content-Type"]
    return response
urlpatterns = [path("a.txt", send)]
application = get_wsgi_application()
END
        php => $h->make_app('php', { 'files/a.txt' => 'from php', 'public/index.php' => <<'END' }),
<?php
$file = __DIR__ . '/../files/a.txt';
header('Content-Type: text/plain');
header('Content-Length: ' . filesize($file));
header('X-Accel-Redirect: /internal/a.txt');
END
        node => $h->make_app('node', { 'files/a.txt' => 'from node', 'server.js' => <<'END' }));
require('http').createServer((request, response) => {
  response.setHeader('X-Sendfile', 'files/a.txt');
  response.end();
}).listen(process.env.PORT, '127.0.0.1');
END
    my %more = (rack => "SetEnv sendfile.type X-Sendfile", php => "PassengerAppType php\nPassengerXAccelMapping /internal files",
        node => 'PassengerAppStartCommand "node server.js"', django => '');
    $h->start(conf => join '', map { "<VirtualHost *>\nServerName $_\nDocumentRoot $app{$_}/public\nPassengerXSendfile On\n$more{$_}\n</VirtualHost>\n" } sort keys %app);
    for my $language (sort keys %app) {
        my $r = $h->get('/a.txt', Host => $language);
        is join(' ', $r->status, $r->header('Content-Length'), $r->body), '200 ' . length("from $language") . " from $language", $language;
        like $r->header('Content-Type'), qr{^text/plain}, '... with a type';
        is $h->get('/a.txt', Host => $language, Range => 'bytes=0-3')->body, 'from', '... and a range';
    }
    is scalar(porters($h)), 4, 'it was Apache that sent them';
    $h->allow_log(qr/output:/);
}

sub off {
    my ($mpm) = @_;
    my ($h, $app) = make($mpm);
    $h->start(conf => "DocumentRoot $app/public");
    my $r = named($h, 'X-Sendfile: files/page.html|X-Accel-Redirect: /x|Content-Type: text/plain', query => 3);
    is $r->body, 'xxx', 'without the directive';
    is $r->header('X-Sendfile'), 'files/page.html', '... the header is somebody else\'s';
}
