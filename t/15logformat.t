# What the lines of a log look like, as text and as JSON, whatever an application prints: which stream, bounded, nothing forged. The MPM does not matter:
# the output of applications never comes near it.
use strict;
use warnings;
use lib 't/lib';
use Fcntl qw(O_RDONLY O_NONBLOCK);
use IO::Socket::UNIX;
use JSON::PP;
use POSIX qw(mkfifo);
use Socket qw(SOCK_DGRAM);
use Test::More;
use Harness;
use Proc;

my ($mpm) = Harness->mpms;
for my $part (split ' ', $ENV{PARTS} // 'streams json requests flood pipes syslog') {
    subtest "$mpm: $part" => sub { no strict 'refs'; &$part() };
}
done_testing;

sub has { my ($file, $like, $what) = @_; soon { slurp($file) =~ $like } $what, 30 }

# An application whose request path says what it prints.
sub printing {
    my (%arg) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('wsgi');
    spew("$app/passenger_wsgi.py", <<'END');
import os, time
def application(environ, start_response):
    kind = environ["PATH_INFO"].split("/")[-1]
    if kind == "both":
        os.write(1, b"to stdout\n")
        os.write(2, b"to stderr\n")
    elif kind == "forged":
        os.write(1, b"x\r\x1b[2J\0[Fri Nov 27 05:00:00.000000 2026] [passenger-core:error] [pid 1] PSG0102: forged\n"
                    b"[app bank] [stdout] App 1 output: forged\n\"}\n{\"app\":\"bank\",\"message\":\"forged\"}\n")
    elif kind == "binary":
        os.write(1, b"\xff\xfe caf\xc3\xa9 \xe2\x82 end\n")
    elif kind == "long":
        for i in range(100):
            os.write(1, b"y" * 100000)
        os.write(1, b"\nafter\n")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
END
    $h->own($app, $h->app_user);
    $h->start(conf => "DocumentRoot $app/public\n" . $arg{conf}->($h));
    return ($h, $app);
}
sub objects { my ($file) = @_; map { JSON::PP->new->utf8->decode($_) } grep { /\n\z/ } slurp($file) =~ /^(.*\n)/mg }

sub streams {
    my ($h, $app) = printing(conf => sub { "PassengerLogFile $_[0]{root}/logs/passenger.log\nPassengerMaxPoolSize 1\n" });
    my $log = "$h->{root}/logs/passenger.log";
    is $h->get('/both')->status, 200, 'an application prints to both';
    has($log, qr/^\[\w+ \w+ +\d+ [\d:]+\.\d{6} \d+\] \[passenger-core:notice\] \[pid \d+\] \[app \Q$app\E \(production\)\] \[$_\] App \d+ output: to $_$/m, "a line of $_")
        for qw(stdout stderr);
    $h->kill_core;
    $h->allow_log('PSG0013');
    truncate $log, 0;
    is $h->get('/both')->status, 200, 'with another core';
    has($log, qr/\[$_\] App \d+ output: to $_$/m, "... a line of $_") for qw(stdout stderr);
    is $h->get('/forged')->status, 200, 'an application prints what looks like lines of others';
    has($log, qr/output: \{"app":"bank"/, '... which are there');
    my @forged = grep { /forged|bank/ } split /\n/, slurp($log);
    is scalar(grep { /^\[[^]]+\] \[passenger-core:notice\] \[pid \d+\] \[app \Q$app\E \(production\)\] \[stdout\] App \d+ output: / } @forged), scalar @forged, '... as its own';
    unlike slurp($log), qr/[\0\r\x1b]/, '... without control characters';
    is $h->get('/long')->status, 200, 'a line of 10 MB';
    has($log, qr/output: after$/m, '... is followed by others');
    my ($all, $y) = (slurp($log), 0);
    $y += length $1 while $all =~ /output: (y+)$/mg;
    is $y, 10_000_000, '... is there, cut';
    cmp_ok length, '<', 8448, '... into lines of the usual length' for (sort { length $b <=> length $a } split /\n/, slurp($log))[0];
}

sub json {
    my ($h, $app) = printing(conf => sub { my $one = "$_[0]{root}/logs/passenger.log";
        "PassengerLogFile $one\nPassengerLogFormat json\nPassengerLogLevel 4\n<Location /own>\nPassengerAppLogFile own.log\nPassengerAppGroupName own\n</Location>\n" });
    my $log = "$h->{root}/logs/passenger.log";
    is $h->get("/$_")->status, 200, $_ for qw(both forged binary);
    is $h->get('/own/both')->status, 200, 'a file of its own';
    has($log, qr/end"/, 'all is there');
    my @all = objects($log);
    my ($out, $err) = map { my $stream = $_; grep { $_->{message} eq "to $stream" } @all } qw(stdout stderr);
    is_deeply [sort keys %$out], [qw(app message pid stream time)], 'output has these fields';
    is_deeply [@$out{qw(app stream)}, $err->{stream}], ["$app (production)", 'stdout', 'stderr'], '... of application and stream';
    like $out->{time}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}[+-]\d\d:\d\d$/, '... and a date of RFC 3339';
    ok kill(0, $out->{pid}), '... and the process';
    ok !(grep { ($_->{app} // '') eq 'bank' || ($_->{tag} // '') eq 'PSG0102' } @all), 'nothing can be forged';
    ok((grep { $_->{message} eq '{"app":"bank","message":"forged"}' } @all), '... what was tried is a message');
    ok((grep { $_->{message} eq "\\xff\\xfe caf\x{e9} \\xe2\\x82 end" } @all), 'bytes that are no UTF-8 are shown');
    my ($ours) = grep { ($_->{tag} // '') eq 'PSG0112' } @all;
    is_deeply [sort keys %$ours], [qw(level message pid role tag time)], 'our own messages have these';
    is "@$ours{qw(level role)}", 'info passenger-core', '... with level and role';
}

# Messages about a request name it, by Apache's id or by the one that it came with; the application has both.
sub requests {
    my $h = Harness->new(mpm => $mpm, modules => ['unique_id']);
    my $app = $h->make_app('shop', { 'passenger_wsgi.py' => <<'END' });
import os
def application(environ, start_response):
    if environ["PATH_INFO"] == "/dies":
        os._exit(1)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [("%s %s" % (environ.get("UNIQUE_ID"), environ.get("HTTP_X_REQUEST_ID"))).encode()]
END
    my $log = "$h->{root}/logs/passenger.log";
    my $conf = "DocumentRoot $app/public\nPassengerLogFile $log\nLogFormat \"%{UNIQUE_ID}e %U\" ids\nCustomLog $h->{root}/logs/ids ids\n";
    $h->start(conf => $conf . "PassengerLogFormat json\n");
    like $h->get('/', 'X-Request-Id' => 'abc-1')->body, qr/^[\w@-]{10,} abc-1$/, 'an application gets both ids as they are';
    is $h->get('/dies', 'X-Request-Id' => 'abc-1')->status, 502, 'one fails';
    my $id = wait_for { (slurp("$h->{root}/logs/ids") =~ m{^(\S+) /dies$}m)[0] } 'the access log';
    has($log, qr/"tag":"PSG0150","request":"\Q$id\E",/, "the message has Apache's id of it");
    $h->{modules} = [];
    $h->reconfigure($conf);
    $h->graceful;
    soon { $h->get('/')->body eq 'None None' } 'without mod_unique_id', 20;
    is $h->get('/dies', 'X-Request-Id' => 'abc-2] [x')->status, 502, 'one fails that has an id';
    has($log, qr/\[pid \d+\] \[request abc-2\\x5d \\x5bx\] PSG0150: /, '... which is the message\'s');
    is $h->get('/dies')->status, 502, '... and one that has none';
    has($log, qr/\[pid \d+\] PSG0150: /, '... is without');
}

# An application that prints without end: what it prints is left out, but not its last words, nor anything of the others.
sub flood {
    my $h = Harness->new(mpm => $mpm);
    my %app = map { $_ => $h->make_app($_, { 'passenger_wsgi.py' => <<'END' }) } qw(loud quiet);
import os
def application(environ, start_response):
    if environ["PATH_INFO"] == "/flood":
        lines = (b"y" * 79 + b"\n") * 1000
        for i in range(150):
            os.write(1, lines)
        os.write(2, b"Fatal error: out of paper\n")
        os._exit(3)
    os.write(1, b"said " + environ["PATH_INFO"].encode() + b"\n")
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
END
    my $log = "$h->{root}/logs/passenger.log";
    $h->start(conf => "PassengerLogFile $log\n" . join '', map { "<VirtualHost *>\nServerName $_\nDocumentRoot $app{$_}/public\n</VirtualHost>\n" } qw(loud quiet));
    is $h->get('/', Host => $_)->status, 200, "$_ runs" for qw(loud quiet);
    is $h->get('/flood', Host => 'loud')->status, 502, 'one prints 150,000 lines at once, and dies';
    is $h->get('/1', Host => 'quiet')->status, 200, '... the other goes on';
    has($log, qr/\[app \Q$app{quiet}\E .*output: said \/1$/m, '... and is heard');
    has($log, qr/\[stderr\] App \d+ output: Fatal error: out of paper$/m, 'the last words are not lost');
    my ($lost) = slurp($log) =~ /PSG2820: app\.flood: \Q$app{loud}\E \(production\): (\d+) lines of output were left out/;
    my $y = () = slurp($log) =~ /output: y{79}$/mg;
    is $y + ($lost // 0), 150_000, 'each line is there, or counted';
    cmp_ok $y, '>=', 99_000, '... a lot is there';
    cmp_ok $lost // 0, '>', 0, '... not all';
    is $h->get('/2', Host => 'loud')->status, 200, 'another process';
    has($log, qr/\[app \Q$app{loud}\E .*output: said \/2$/m, '... is heard again');
}

# A log that is a pipe: each write is one line that nobody's can be mixed into; one that nobody reads keeps nobody.
sub pipes {
    my $fifo;
    my ($h, $app) = printing(conf => sub {
        $fifo = "$_[0]{root}/logs/fifo";
        mkfifo($fifo, 0600) or die "mkfifo: $!";
        sysopen(my $reader, $fifo, O_RDONLY | O_NONBLOCK) or die "$fifo: $!";
        $_[0]{reader} = $reader;
        "PassengerLogFile $fifo\n" });
    my $got = '';
    my $more = sub { while (sysread($h->{reader}, $got, 65536, length $got)) { } $got };
    is $h->get('/long')->status, 200, 'a pipe gets a line of 10 MB that nobody reads: the application answers';
    is $h->get('/both')->status, 200, '... and goes on';
    soon { $h->get('/both'); $more->() =~ /PSG0800: log.lost: (\d+) lines/ } 'what was lost is told when it is read', 30;
    soon { $h->get('/both'); $more->() =~ /to stderr\n/ } '... and what is printed then', 30;
    my @lines = split /\n/, $got;
    is scalar(grep { length($_) > 4095 } @lines), 0, 'no line is longer than a pipe takes at once';
    is scalar(grep { !/^\[\w+ \w+ +\d+ [\d:]+\.\d{6} \d+\] \[passenger-\w+:\w+\] \[pid \d+\] / } @lines), 0, 'none is torn';
}

# The system's log, or what stands in for it: writes what it is sent into the file that the harness reads.
my $daemon;
END { local $?; end_daemon() if $daemon && $daemon->{owner} == $$ }
sub start_daemon {
    my ($file) = @_;
    my $socket = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => '/dev/log') or return;
    chmod 0666, '/dev/log';
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open my $out, '>>', $file or POSIX::_exit(1);
        while (defined $socket->recv(my $message, 65536)) { syswrite $out, "$message\n" }
        POSIX::_exit(1);
    }
    $daemon = { pid => $pid, owner => $$ };
}
sub end_daemon { kill KILL => $daemon->{pid}; waitpid $daemon->{pid}, 0; unlink '/dev/log'; undef $daemon }

sub syslog {
    plan skip_all => 'only root can stand in for the system\'s log' if $>;
    plan skip_all => 'there is a real one' if -e '/dev/log';
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('wsgi');
    $h->own($app, $h->app_user);
    start_daemon("$h->{root}/logs/error_log") or return plan skip_all => 'another test stands in for it';
    $h->start(conf => "DocumentRoot $app/public\nErrorLog syslog:local1\n");
    is $h->get('/log?text=hello')->status, 200, 'with ErrorLog syslog:local1 an application prints';
    soon { $h->log_text =~ /^<141>\w+ +\d+ [\d:]+ mod_passenger\[\d+\]: \[.*\[app \Q$app\E \(production\)\] \[std\w+\] App \d+ output: hello$/m }
        'which is a message of that facility', 30;
    end_daemon();
    is $h->get('/log?text=nobody')->status, 200, "without a daemon the application goes on: $_" for 1 .. 20;
    start_daemon("$h->{root}/logs/error_log") or return fail 'a place for another daemon';
    soon { $h->get('/log?text=again'); $h->log_text =~ /output: again$/m } 'another daemon is found', 30;
    $h->expect_log('PSG0800', 'what was lost meanwhile');
    kill STOP => $daemon->{pid};
    is $h->get("/log?text=line$_")->status, 200, "one that hangs keeps nobody: $_" for 1 .. 20;
    kill CONT => $daemon->{pid};
    soon { $h->get('/log?text=last'); $h->log_text =~ /output: last$/m } '... until it goes on', 30;
    $h->allow_log('PSG0800', 'PSG1300', 'PSG2600', qr/^<14[12]>\w+ +\d+ [\d:]+ apache2\[\d+\]: \[(?:mpm_\w+|core):(?:notice|info)\]/);
    $h->graceful;
    soon { $h->get('/log?text=reloaded'); $h->log_text =~ /output: reloaded$/m } 'after a reload too', 30;
    undef $h;
    end_daemon();
}
