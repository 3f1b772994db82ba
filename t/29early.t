# Answers that come before a large body has ended, from the application or from Apache: delivered to clients that look and to clients that send all of it
# first, over TLS or not; the upload ends soon, nothing of it is kept, and the process is free. Besides, clients that do next to nothing, more of them than
# threads. event: parked; prefork: in processes.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time);
use Harness;

my $asan = ($ENV{PASSENGER_BUILD} // '') =~ /asan/;
my $size = 64 << 20;
my $source = <<'END';
import sys
def application(environ, start_response):
    path = environ["PATH_INFO"]
    print("begun " + path, file=sys.stderr, flush=True)
    if path.endswith("read"):
        length = 0
        while True:
            data = environ["wsgi.input"].read(65536)
            if not data:
                break
            length += len(data)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"%d" % length]
    status = {"413": "413 Too Large", "302": "302 Found", "401": "401 Unauthorized"}.get(path[-3:], "200 OK")
    start_response(status, [("Location", "http://localhost/there"), ("WWW-Authenticate", "Basic realm=x"), ("Content-Type", "text/plain")])
    return [b"early"]
END

for my $mpm ($ENV{MPM} ? grep { $_ ne 'worker' } Harness->mpms : qw(event prefork)) {
    my $h = Harness->new(mpm => $mpm, workers => 16, modules => [qw(ssl socache_shmcb reqtimeout)]);
    my $app = $h->make_app('early', { 'passenger_wsgi.py' => $source });
    my ($dir, $tls) = ("$h->{root}/run", Harness::free_port());
    system("openssl req -x509 -newkey rsa:2048 -nodes -keyout $dir/key -out $dir/cert -days 2 -subj /CN=localhost -addext basicConstraints=critical,CA:FALSE >$dir/out 2>&1") == 0
        or die slurp("$dir/out");
    my $site = <<"END";
    DocumentRoot $app/public
    PassengerMaxInstances 1
    <Location /through>
        PassengerBufferUpload off
    </Location>
    <LocationMatch limited>
        LimitRequestBody 1000000
    </LocationMatch>
END
    $h->allow_log('AH01882'); # mod_ssl of a newer OpenSSL than the one that is installed
    $h->allow_log('AH00484'); # all threads are busy for a moment
    $h->start(conf => ($mpm eq 'event' ? "AsyncRequestWorkerFactor 100\n" : '') . <<"END");
RequestReadTimeout header=20 body=2,MinRate=500
Listen 127.0.0.1:$tls https
SSLSessionCache shmcb:$dir/sessions
<VirtualHost *>
$site</VirtualHost>
<VirtualHost *:$tls>
$site    SSLEngine on
    SSLCertificateFile $dir/cert
    SSLCertificateKeyFile $dir/key
</VirtualHost>
END
    $h->get('/kept/');
    subtest "$mpm: curl" => sub { lookers($h, $tls) };
    subtest "$mpm: reads at last" => sub { late_readers($h) };
    subtest "$mpm: more than threads" => sub { idlers($h) } if $mpm eq 'event' && ($ENV{PARK} // '') ne 'off';
}
done_testing;

sub memory { my ($h) = @_; slurp('/proc/' . $h->core . '/status') =~ /VmRSS:\s*(\d+)/ ? $1 : 0 }
sub begun { my ($h, $path) = @_; scalar(() = $h->log_text =~ /output: begun \Q$path\E$/mg) }

sub lookers {
    my ($h, $tls) = @_;
    my $file = "$h->{root}/body";
    open my $fh, '>', $file or die "$file: $!";
    truncate $fh, $size;
    close $fh;
    my $before = memory($h);
    my $ask = sub {
        my ($base, $path, @how) = @_;
        my $out = `cat $file | timeout 60 curl -sk --http1.1 --expect100-timeout 20 @how -X POST -o $h->{root}/answer -w '%{http_code} %{size_upload} %{exitcode}' $base$path`;
        return (split(/ /, $out), slurp("$h->{root}/answer"));
    };
    for my $base ("http://localhost:$h->{port}", "https://localhost:$tls") {
        my ($scheme) = $base =~ /^(\w+)/;
        for my $how (["-T $file", 'a length'], ['-T -', 'chunks'], ["-T $file -H Expect:", 'a length, unasked'], ['-T - -H Expect:', 'chunks, unasked']) {
            for my $status (413, 302) {
                my ($got, $sent, $exit, $body) = $ask->($base, "/through/$status", $how->[0]);
                is "$got $exit $body", "$status 0 early", "$scheme, $how->[1]: $status of the application";
                cmp_ok $sent, '<', $size / 2, '... ends the upload';
            }
        }
        my ($got, $sent, $exit, $body) = $ask->($base, '/kept/401', "-T $file");
        is "$got $sent $exit $body", "401 $size 0 early", "$scheme: a body that is kept comes first";
        my $asked = begun($h, '/kept/limited');
        ($got, $sent, $exit) = $ask->($base, '/kept/limited', "-T $file");
        is "$got $exit", '413 0', "$scheme: LimitRequestBody";
        is $sent, 0, '... before anything was sent';
        ($got, $sent, $exit) = $ask->($base, '/kept/limited', '-T - -H Expect:');
        is "$got $exit", '413 0', "$scheme: LimitRequestBody in the middle";
        cmp_ok $sent, '<', $size / 2, '... ends the upload';
        is begun($h, '/kept/limited'), $asked, '... and nobody asks the application';
        is $h->post('/kept/x', 'abc', Expect => 'something-else')->status, 417, 'what nobody expects is refused';
    }
    cmp_ok memory($h) - $before, '<', 8192, 'the core has not grown' unless $asan;
    is $h->client(timeout => 10)->ask('GET', '/kept/')->status, 200, 'the process is free';
}

# Clients that send everything before they read.
sub late_readers {
    my ($h) = @_;
    my $block = 'x' x 65536;
    for my $case (['/through/413', 413], ['/through/200', 200], ['/through/limited', 413], ['/kept/limited', 413]) {
        my ($path, $status) = @$case;
        for my $chunked (0, 1) {
            next if $chunked && $path eq '/through/limited'; # which the application may have answered by then
            my $c = $h->client(timeout => 30);
            $c->send("POST $path HTTP/1.1\r\nHost: localhost\r\n" . ($chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "Content-Length: $size\r\n\r\n"));
            my ($piece, $sent, $begin) = ($chunked ? "10000\r\n$block\r\n" : $block, 0, time);
            $sent += 65536 while $sent < $size && $c->send($piece);
            $c->send("0\r\n\r\n") if $chunked;
            is $sent, $size, "$path: takes all that is sent" . ($chunked ? ' in chunks' : '');
            is $c->read_response('POST')->status, $status, '... and its answer is there';
            is $h->client(timeout => 10)->ask('GET', '/kept/')->status, 200, '... and the process is free';
        }
    }
}

# Sixteen threads, one process: two hundred connections that are kept for nothing, and as many bodies that come byte by byte.
sub idlers {
    my ($h) = @_;
    my @kept = map { my $c = $h->client; $c->get('/kept/'); $c } 1 .. 200;
    is $h->client(timeout => 10)->ask('GET', '/kept/')->status, 200, 'beside idle connections others are served';
    my $asked = begun($h, '/kept/read');
    my @slow = map { my $c = $h->client(timeout => 30); $c->send("POST /kept/read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"); $c } 1 .. 200;
    for my $round (1 .. 5) {
        $_->send('x') for @slow;
        is $h->client(timeout => 10)->ask('GET', '/kept/')->status, 200, "beside slow bodies, too, $round";
    }
    my %status;
    $status{ $_->read_response('POST')->status }++ for @slow;
    is_deeply \%status, { 408 => 200 }, 'mod_reqtimeout ends these';
    is begun($h, '/kept/read'), $asked, '... and no process has heard of them';
    $_->close for @kept;
}
