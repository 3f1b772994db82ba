# PassengerPreStart: applications run before their first visitor comes, after a start and after a restart.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use IO::Select;
use IO::Socket::INET;
use Harness;

my $tool = 'passenger-prestart';

for my $mpm (Harness->mpms) {
    for my $part (qw(whole reload stopped)) {
        subtest "$mpm: $part" => sub { no strict 'refs'; &$part($mpm) };
    }
}
# What does not depend on Apache's children.
subtest unreachable => \&unreachable;
subtest always => \&always;
subtest tool => \&tool;
done_testing;

# An application that writes down every request: one line of process, method, host, path, agent, authorization, scheme.
sub source {
    my ($before) = @_;
    return ($before // '') . <<'END';
import os, sys
def application(environ, start_response):
    names = ("REQUEST_METHOD", "HTTP_HOST", "PATH_INFO", "QUERY_STRING", "HTTP_USER_AGENT", "HTTP_AUTHORIZATION", "wsgi.url_scheme")
    with open("tmp/requests", "a") as f:
        f.write("\t".join([str(os.getpid())] + [environ.get(name) or "-" for name in names]) + "\n")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"ok\n"]
END
}

sub requests {
    my ($app) = @_;
    my @names = qw(pid method host path query agent authorization scheme);
    return map { my %r; @r{@names} = split /\t/; \%r } split /\n/, slurp("$app/tmp/requests");
}

# Waits until every application has had so many requests, then until nothing more can come: the program has ended.
sub served {
    my ($h, $n, @apps) = @_;
    wait_for { !grep { requests($_) < $n } @apps } "$n requests to each", 20;
    wait_for { !tools($h) } 'the end of the program', 20;
}

sub tools { my ($h) = @_; grep { $_->{cmdline}[0] =~ m{/\Q$tool\E$} } Proc::below("$h->{root}/lib") }

sub vhost {
    my ($name, $app, $url, $more, $port) = @_;
    return "<VirtualHost *:" . ($port // '*') . ">\nServerName $name\nDocumentRoot $app/public\nPassengerPreStart $url\n" . ($more // '')
        . "</VirtualHost>\n";
}

sub certificate {
    my ($h) = @_;
    my ($key, $cert) = map { "$h->{root}/run/$_" } qw(key.pem cert.pem);
    my $out = `openssl req -x509 -newkey rsa:2048 -nodes -keyout $key -out $cert -days 2 -subj /CN=safe.invalid -addext basicConstraints=critical,CA:FALSE 2>&1`;
    is $?, 0, 'a certificate' or diag $out;
    return "SSLEngine on\nSSLCertificateFile $cert\nSSLCertificateKeyFile $key\n";
}

# The names end in .invalid, so only this machine can be asked.
sub whole {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm, modules => [qw(socache_shmcb ssl)]);
    my %app = map { $_ => $h->make_app($_, { 'passenger_wsgi.py' => source() }) } qw(plain safe);
    my $tls = Harness::free_port();
    my $port = Harness::free_port();
    my $conf = "Listen 127.0.0.1:$port\nListen 127.0.0.1:$tls\nSSLSessionCache shmcb:$h->{root}/run/sessions\nPassengerStatThrottleRate 0\nPassengerLogLevel 4\n"
        . vhost('other.invalid', "$h->{root}/apps/plain", "http://me:p%40ss\@plain.invalid:$port/warm/up?a=b")
        . "<VirtualHost *:$port>\nServerName plain.invalid\nDocumentRoot $app{plain}/public\n</VirtualHost>\n"
        . vhost('safe.invalid', $app{safe}, "https://safe.invalid:$tls/", certificate($h), $tls);
    $h->allow_log('AH01882'); # mod_ssl of a newer OpenSSL than the one that is installed
    $h->start(conf => $conf);
    served($h, 1, values %app);
    my @r = map { requests($app{$_}) } qw(plain safe);
    is scalar(@r), 2, 'each application has had exactly one request, without any visitor' or diag explain \@r;
    is scalar($h->apps), 2, '... and each runs';
    is join(' ', map { $_->{method} } @r), 'HEAD HEAD', '... with HEAD';
    is $r[0]{host}, "plain.invalid:$port", 'the virtual host was named';
    is $r[1]{host}, "safe.invalid:$tls", '... over TLS too';
    is $r[1]{scheme}, 'https', '... which it was';
    is "$r[0]{path}?$r[0]{query}", '/warm/up?a=b', 'path and query are the URL\'s';
    is $r[0]{authorization}, 'Basic bWU6cEBzcw==', 'user and password too';
    like $_->{agent}, qr{^passenger-prestart/}, 'it says who asks' for @r;
    my @lines = grep { /PSG0062/ } split /\n/, $h->log_text;
    is scalar(@lines), 2, 'a line in the log for each';
    ok !grep({ !/ answered 200 / } @lines), '... with the status' or diag @lines;
    unlike $h->log_text, qr/p%40ss|p\@ss|bWU6/, '... and without the password';

    my @before = $h->apps;
    $h->graceful;
    served($h, 2, values %app);
    is join(' ', $h->apps), join(' ', @before), 'graceful: the same processes';
    is scalar(map { requests($app{$_}) } keys %app), 4, '... are asked again, once';

    my $old = $r[0]{pid};
    spew("$app{plain}/tmp/restart.txt", '');
    is(Client->new(port => $port)->ask('GET', '/', Host => "plain.invalid:$port", Connection => 'close')->status, 200, 'restart.txt: a visitor is served');
    wait_for { requests($app{plain}) >= 4 && requests($app{safe}) >= 3 } 'the requests after a restart', 20;
    @r = requests($app{plain});
    is $r[3]{method}, 'HEAD', '... and then the URL is requested';
    isnt $r[3]{pid}, $old, '... of the new process';
    wait_for { !tools($h) } 'the end of the program', 20;
}

# What the configuration changes, with nobody but PassengerPreStart to notice.
sub reload {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my @app = map { $h->make_app($_, { 'passenger_wsgi.py' => source() }) } qw(one two);
    my $port = Harness::free_port();
    my $conf = sub { "Listen 127.0.0.1:$port\n" . join '', map { vhost("$_->[0].invalid", $_->[1], "http://$_->[0].invalid:$port/", $_->[2]) } @_ };
    $h->start(conf => $conf->(["one", $app[0], "PassengerAppGroupName one\n"]));
    served($h, 1, $app[0]);
    my ($first) = requests($app[0]);
    my $watchdog = $h->watchdog;
    $h->reconfigure($conf->(['one', $app[0], "PassengerAppGroupName one\nPassengerAppEnv staging\n"], ['two', $app[1]]));
    $h->graceful;
    served($h, 1, $app[1]);
    is scalar(requests($app[1])), 1, 'an application that is new after graceful has been asked';
    is scalar(requests($app[0])), 2, '... and the other one too';
    wait_for { requests($app[0]) >= 3 } 'the requests after the restart of what has changed', 20;
    isnt +(requests($app[0]))[2]{pid}, $first->{pid}, '... which a new process gets';
    wait_for { !tools($h) } 'the end of the program', 20;
    $h->reconfigure($conf->());
    $h->graceful;
    is $h->watchdog, $watchdog, 'no URL any more: the helper is there';
}

sub unreachable {
    my $h = Harness->new;
    my $app = $h->make_app('app', { 'passenger_wsgi.py' => source() });
    my ($port, $nobody) = (Harness::free_port(), Harness::free_port());
    $h->start(conf => "Listen 127.0.0.1:$port\nPassengerPreStart http://127.0.0.1:$nobody/\n" . vhost('app.invalid', $app, "http://app.invalid:$port/"));
    wait_for { requests($app) >= 1 } 'the URL behind it is not held up', 8;
    is scalar(requests($app)), 1, 'another URL is requested all the same';
    my $line = wait_for { (grep { /PSG0063/ } split /\n/, $h->log_text)[0] } 'the warning', 20;
    $h->allow_log('PSG0063');
    like $line // '', qr{:warn\].*http://127\.0\.0\.1:$nobody/: nobody listens}, 'where nobody listens is a warning';
    wait_for { !tools($h) } 'the end of the program', 20;
    is scalar(grep { /PSG006[0-9]/ } split /\n/, $h->log_text), 1, '... one';
}

# An application that is restarted at every request is not requested for ever.
sub always {
    my $h = Harness->new;
    my $app = $h->make_app('app', { 'passenger_wsgi.py' => source(), 'tmp/always_restart.txt' => '' });
    my $port = Harness::free_port();
    $h->start(conf => "Listen 127.0.0.1:$port\nPassengerStatThrottleRate 0\n" . vhost('app.invalid', $app, "http://app.invalid:$port/"));
    served($h, 1, $app);
    for my $n (2, 3) {
        is(Client->new(port => $port)->ask('GET', '/', Host => 'app.invalid', Connection => 'close')->status, 200, 'a visitor');
        is scalar(requests($app)), $n, '... is one request';
    }
    my %pid = map { $_->{pid} => 1 } requests($app);
    cmp_ok scalar(keys %pid), '>=', 2, '... to a process of its own';
    ok !wait_for(sub { requests($app) > 3 }, undef, 7), '... and no other follows';
}

# A start that takes its time; Apache stops meanwhile.
sub stopped {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->make_app('slow', { 'passenger_wsgi.py' => source("import time\ntime.sleep(100)\n") });
    my $port = Harness::free_port();
    $h->start(conf => "Listen 127.0.0.1:$port\n" . vhost('slow.invalid', $app, "http://slow.invalid:$port/"));
    wait_for { tools($h) && $h->apps } 'the request', 20;
    my ($child) = tools($h);
    my $ids = Proc::ids($child->{pid});
    if (!$>) {
        my ($uid) = grep { defined } map { scalar getpwnam $_ } 'passenger', $h->{user};
        is join(' ', @{ $ids->{uid} }), join(' ', ($uid) x 4), 'the program runs as the core\'s user';
        is scalar(@{ $ids->{groups} // [] }), 0, '... without groups';
    }
    unlike "@{ $child->{cmdline} }", qr/slow\.invalid/, '... and its arguments do not show the URLs';
    $h->allow_log(qr/PSG0113|PSG0170|AH00045|AH00046/);
    ok $h->stop, 'Apache stops';
    ok !Proc::same($child), '... and so has the program';
}

# The program alone, against servers that do not answer as they should.
sub tool {
    my $build = $ENV{PASSENGER_BUILD} // 'build';
    my ($uid, $gid) = $> ? ($>, $) + 0) : (getpwnam 'nobody')[2, 3];
    my $run = sub {
        my ($url, $answer) = @_;
        my $server = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', LocalPort => 0) or die "listen: $@";
        (my $input = $url) =~ s/PORT/$server->sockport/e;
        my $pid = open my $out, '-|' // die "fork: $!";
        if (!$pid) {
            open STDERR, '>&', \*STDOUT;
            open my $in, '|-', "$build/$tool", $uid, $gid, 6 or POSIX::_exit(1);
            print $in "$input\n";
            close $in;
            POSIX::_exit($? ? 1 : 0);
        }
        my ($asked, $said, $block) = ('', '');
        my $ready = IO::Select->new($server, $out);
        # Whoever comes is answered, until the program has said its last word.
        while (my @fh = $ready->can_read(30)) {
            if (grep { $_ == $out } @fh) {
                last unless sysread $out, $block, 65536;
                $said .= $block;
            } elsif (my $peer = $server->accept) {
                sysread $peer, $asked, 65536;
                syswrite $peer, $answer if length $answer;
            }
        }
        close $out;
        is $?, 0, "$input: it ends with 0";
        return ($said, $asked);
    };
    my ($said, $asked) = $run->('http://127.0.0.1:PORT/x', "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 404 Not Found\r\n\r\n");
    like $said, qr/PSG0062: .* answered 404 /, 'an interim response is not the answer';
    like $asked, qr{\AHEAD /x HTTP/1\.1\r\nHost: 127\.0\.0\.1:\d+\r\n(?:[\w-]+: [^\r]+\r\n)+\r\n\z}, 'the request is complete';
    unlike $asked, qr/Authorization/, '... with nothing that the URL does not have';
    ($said) = $run->('http://127.0.0.1:PORT/', "HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\n\r\n");
    like $said, qr/ answered 301 /, 'a redirect is not followed';
    ($said) = $run->('http://127.0.0.1:PORT/', '');
    like $said, qr/PSG0063: .*: the connection was closed without an answer$/m, 'no answer is said so';
    ($said) = $run->('http://127.0.0.1:PORT/', "220 mail ready\r\n\r\n");
    like $said, qr/PSG0063: .*: the answer is not HTTP$/m, 'another protocol too';
    ($said) = $run->('https://127.0.0.1:PORT/', "HTTP/1.1 400 Bad Request\r\n\r\n");
    like $said, qr/PSG0063: .*: TLS: /, 'a server without TLS too';
    is scalar(() = $said =~ /^\[/gm), 1, '... in one line';
}
