# What access logs say of requests for applications: which one, which process, how long it was waited for, how long it took, how often it was tried.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Harness;

my $format = '%>s|%D|%{PASSENGER_APP}n|%{PASSENGER_PID}n|%{PASSENGER_QUEUE_TIME}n|%{PASSENGER_RESPONSE_TIME}n|%{PASSENGER_ATTEMPTS}n|%<{Label}i';
my @mpms = Harness->mpms;
subtest "$_: told" => sub { told($_) } for @mpms;
subtest "$mpms[0]: retries" => sub { retries($mpms[0]) };
done_testing;

sub app {
    my ($h) = @_;
    return $h->make_app('shop', { 'public/file.txt' => 'file', 'passenger_wsgi.py' => <<'END' });
import os, time
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/late": # its head comes at once
        def pieces():
            for i in range(3):
                time.sleep(0.05)
                yield b"x" * 1000
        start_response("200 OK", [("Content-Length", "3000")])
        return pieces()
    if path == "/slow":
        time.sleep(0.15)
    if path == "/dies":
        os._exit(1)
    if path == "/sent":
        start_response("200 OK", [("X-Sendfile", "public/file.txt")])
        return []
    start_response("409 Conflict" if path == "/no" else "200 OK", [("Content-Length", "2")])
    return [b"ok"]
END
}

# The fields of the line for a label, once it is there.
sub line {
    my ($h, $label) = @_;
    my $line = wait_for { (grep { /\|\Q$label\E$/ } split /\n/, slurp("$h->{root}/logs/access"))[0] } "a line for $label", 20;
    my %f;
    @f{qw(status all app pid queue response attempts)} = split /\|/, $line // '';
    return \%f;
}
sub ask { my ($h, $path, $label) = @_; $h->get($path, Label => $label) }

sub told {
    my ($mpm) = @_;
    my $http2 = $mpm ne 'prefork';
    my $h = Harness->new(mpm => $mpm, modules => [$http2 ? 'http2' : ()]);
    my $app = app($h);
    my $broken = $h->make_app('broken', { 'passenger_wsgi.py' => "import nosuchmodule\n" });
    my $name = "$app (production)";
    $h->start(conf => <<"END" . ($http2 ? "Protocols h2c http/1.1\n" : ''));
LogFormat "$format" told
CustomLog $h->{root}/logs/access told
CustomLog $h->{root}/logs/slow %U "expr=note('PASSENGER_RESPONSE_TIME') -gt 145000"
DocumentRoot $app/public
PassengerMaxPoolSize 1
PassengerXSendfile on
ErrorDocument 502 /file.txt
<Location /broken>
    PassengerAppRoot $broken
</Location>
<LocationMatch "^/(?:no|dies)">
    PassengerErrorOverride on
</LocationMatch>
END
    is ask($h, '/', 'first')->status, 200, 'the first request';
    my ($pid) = $h->apps;
    my $f = line($h, 'first');
    is $f->{app}, $name, '... is logged with its application';
    is "$f->{pid} $f->{attempts}", "$pid 1", '... and process';
    cmp_ok $f->{queue}, '>', 10_000, '... which it has waited for';
    cmp_ok $f->{queue} + $f->{response}, '<=', $f->{all}, '... no longer than it took in all';
    for my $path (qw(/slow /late)) {
        is ask($h, $path, $path)->status, 200, "$path, of 0.15 s";
        $f = line($h, $path);
        cmp_ok $f->{response}, '>=', 145_000, '... that were the application\'s, to the last byte';
        cmp_ok $f->{queue} + $f->{response}, '<=', $f->{all}, '... and not the queue\'s';
    }
    soon { slurp("$h->{root}/logs/slow") eq "/slow\n/late\n" } 'a log of these alone', 20;
    my @both = map { my $c = $h->client(timeout => 30); $c->write_request('GET', '/slow', Connection => 'close', Label => "both$_"); $c } 1, 2;
    is $_->read_response('GET')->status, 200, 'one of two requests at once' for @both;
    my ($quick, $waits) = sort { $a->{queue} <=> $b->{queue} } map { line($h, "both$_") } 1, 2;
    cmp_ok $waits->{queue}, '>', $quick->{queue}, '... waited for the other';
    cmp_ok $waits->{response}, '<=', $waits->{all} - $waits->{queue}, '... which is not the application\'s time';
    is ask($h, '/sent', 'sent')->body, 'file', 'a file that the application names';
    is line($h, 'sent')->{pid}, $pid, '... has a process, too';
    is ask($h, '/no', 'no')->status, 409, 'a page instead of the application\'s';
    is line($h, 'no')->{pid}, $pid, '... as well';
    is ask($h, '/file.txt', 'file')->body, 'file', 'a file of Apache\'s';
    is join(' ', @{ line($h, 'file') }{qw(app pid queue response attempts)}), '- - - - -', '... says nothing';
    if ($http2) {
        is `curl -s --max-time 20 --http2-prior-knowledge -H 'Label: two' http://127.0.0.1:$h->{port}/slow`, 'ok', 'over HTTP/2';
        cmp_ok line($h, 'two')->{response}, '>=', 145_000, '... too';
    }
    is ask($h, '/dies', 'dies')->body, 'file', 'an application dies, and another page is sent';
    is join(' ', @{ line($h, 'dies') }{qw(app pid attempts)}), "$name $pid 1", '... whose line names the process';
    is ask($h, '/broken/x', 'broken')->status, 500, 'an application that does not start';
    $f = line($h, 'broken');
    is "$f->{app} $f->{pid} $f->{response} $f->{attempts}", "$broken (production) - - 0", '... has no process';
    cmp_ok $f->{queue}, '>', 10_000, '... but was waited for';
    $h->allow_log(qr/PSG0(?:113|150|105|103|102)\b/);
}

# A process that takes no connection; the request goes to another one.
sub retries {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = app($h);
    $h->start(conf => "LogFormat \"$format\" told\nCustomLog $h->{root}/logs/access told\nDocumentRoot $app/public\nPassengerMinInstances 2\nPassengerMaxPoolSize 2\n");
    is $h->get('/')->status, 200, 'it serves';
    wait_for { $h->apps == 2 } 'two processes', 30;
    my ($watchdog, $dies, $lives) = ($h->watchdog, $h->apps);
    kill STOP => $watchdog;
    kill KILL => $dies;
    is ask($h, '/', "r$_")->status, 200, 'a request when one is gone, which nobody knows yet' for 1 .. 4;
    kill CONT => $watchdog;
    my @lines = map { line($h, "r$_") } 1 .. 4;
    # A connection that was kept is an attempt of its own.
    is_deeply [sort map { $_->{attempts} > 1 ? 'more' : 1 } @lines], [1, 1, 1, 'more'], '... once not at the first attempt';
    is_deeply [map { $_->{pid} } @lines], [($lives) x 4], '... of the other process';
    $h->allow_log(qr/PSG0(?:150|105|103|102)\b/);
}
