# Hostile bytes between processes that run: what has taken over a child of Apache tells the core, what stands in the core's place answers the module, an
# application's loader tells the core, and a core that others have taken over tells watchdog and looker. FRAMES_SECONDS (1) each; SEED=n repeats. With
# test-asan the same under sanitizers. One MPM: the link's code is the same on all.
use strict;
use warnings;
use lib 't/lib';
use IPC::Open2;
use JSON::PP;
use POSIX ();
use Test::More;
use Attack;
use Harness;

plan skip_all => 'there is nobody to become without root' if $>;

my $seconds = $ENV{FRAMES_SECONDS} // 1;
my $seed = $ENV{SEED} // time % 100_000;
diag "SEED=$seed" if $ENV{FRAMES_SECONDS};
my $h = Harness->new(mpm => (Harness->mpms)[0]);
my $owner = $h->app_user;
my $app = $h->copy_app('wsgi', 'app', owner => $owner);
# A loader of its own: what it prints is not what was asked for.
my $liar = $h->make_app('liar', { 'passenger_wsgi.py' => '', 'python3' => <<'PY' }, owner => $h->app_user(1));
#!/usr/bin/python3
import os, random, sys, time
parts = [b"!> I have control 1.0\n", b"!> Ready\n", b"!> socket: main;unix:/tmp/x;session;1\n", b"!> socket: main;fd:3;http;4294967296\n", b"!> \n", b"!> Error\n", b"!> html: true\n", b"<b>\0\n",
         b"!> socket: ;;;\n", b"!> socket_fd: -1\n", b"!> interpreter: /bin/sh\n", b"!> preloader: yes\n", b"x" * 70000, b"\0\r\x1b[2J\n", b"!>", b"!> socket: main;fd:99;session;-1\n", b"!> page: " + b"y" * 60000 + b"\n"]
r = random.Random(os.getpid())
out = b"".join(r.choice(parts) for i in range(r.randrange(1, 40)))
if r.randrange(2):
    out = parts[0] + out
cut = r.randrange(len(out) + 1)
os.write(r.choice((1, 1, 1, 2)), out[:cut])
os.write(1, out[cut:])
time.sleep(0.05)
PY
chmod 0755, "$liar/python3";
# An application that answers as nobody should.
my $babbler = $h->make_app('babbler', { 'public/x' => '', 'serve.py' => <<'PY' }, owner => $h->app_user(2));
import os, random, socket, sys, threading
answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 X\r\n\r\n",
           b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nbytes", b"Status: 200 OK\r\nContent-Type: text/plain\r\n\r\nx",
           b"HTTP/1.1 200 OK\r\nX-Sendfile: /etc/shadow\r\nPassenger-File: 200 x\r\nPassenger-Need-Options: 1\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\nto the end", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 20]
words = [b"\r\n", b"\0", b"ffffffffffffffff\r\n", b"-1", b"99999999999999999999", b"x" * 70000, b"\r\n" * 300, b": ", b"A: b\r\n" * 600, b"\xff\xfe", b" \t"]
r = random.Random(os.getpid())
def changed(m):
    out = bytearray(m)
    for _ in range(r.choice((0, 1, 1, 2, 3, 9))):
        at, what = r.randrange(len(out) + 1), r.randrange(4)
        if what == 0:
            del out[at:]
        elif what == 1 and out:
            out[at % len(out)] ^= 1 << r.randrange(8)
        elif what == 2:
            out[at:at] = r.choice(words)
        else:
            del out[at:at + 3]
    return bytes(out)
def talk(c):
    try:
        c.settimeout(1)
        for _ in range(5):
            c.recv(65536)
            c.sendall(changed(r.choice(answers)))
            if r.randrange(2):
                break
    except OSError:
        pass
    c.close()
s = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=100)
while True:
    threading.Thread(target=talk, args=(s.accept()[0],)).start()
PY
$h->start(conf => "PassengerMaxPoolSize 6\n<VirtualHost *>\nServerName app\nDocumentRoot $app/public\n</VirtualHost>\n<VirtualHost *>\nServerName liar\nDocumentRoot $liar/public\nPassengerPython $liar/python3\nPassengerStartTimeout 2\n</VirtualHost>\n"
    . "<VirtualHost *>\nServerName babbler\nDocumentRoot $babbler/public\nPassengerAppStartCommand \"/usr/bin/python3 serve.py\"\nPassengerMaxRequestTime 3\n</VirtualHost>\n");
my $socket = core_socket($h);
is $h->get('/', Host => 'app')->status, 200, 'an application runs';
my ($watchdog, $core, $apache) = ($h->watchdog, $h->core, $h->{pid});
# What is complained of is what was sent.
$h->allow_log(qr/PSG\d\d\d\d:|App \d+ output|AH\d+/);

sub hex_of { join '', map { unpack('H*', $_) . "\n" } @_ }
sub begin {
    my ($user, $how, $target, @messages) = @_;
    my $pid = open2(my $out, my $in, $user ? ('setpriv', "--reuid=$user", '--regid=' . getgrgid((getpwnam $user)[3]), '--clear-groups') : (), '/usr/bin/python3', 't/lib/frames.py', $how, $how eq 'responses' ? $seconds + 2 : $seconds, $seed, $target);
    print $in hex_of(@messages);
    close $in;
    return [$pid, $out];
}
sub end { my ($busy) = @_; local $/; my $text = readline $busy->[1]; waitpid $busy->[0], 0; return eval { decode_json($text) } // {} }
sub alive { my ($what) = @_; is join(' ', $h->watchdog, $h->{pid}), "$watchdog $apache", "$what: watchdog and Apache live"; unlike $h->log_text, qr/exit signal|AddressSanitizer|runtime error|Assertion|PSG0011/, '... and nobody has crashed' }

# Visits again and again until then, from so many at once; the told statuses are summed up by `seen`.
sub visit {
    my ($n, $until, $host) = @_;
    return map {
        my $pid = open(my $told, '-|') // die "fork: $!";
        if (!$pid) {
            my %seen;
            while (time < $until) {
                my $r = eval { $h->client(timeout => 20)->ask('GET', '/', Host => $host, ($_ % 2 ? (Connection => 'Upgrade', Upgrade => 'websocket') : (Connection => 'close'))) };
                $seen{ $r ? $r->status // 'cut' : 'cut' }++;
            }
            syswrite STDOUT, encode_json(\%seen);
            POSIX::_exit(0);
        }
        $told;
    } 1 .. $n;
}
sub seen {
    my %status;
    for my $told (@_) { local $/; my $seen = eval { decode_json(scalar readline $told) } // {}; $status{$_} += $seen->{$_} for keys %$seen }
    return join ', ', map { "$status{$_} x $_" } sort keys %status;
}

# Child to core; and, beside it, a loader that lies, and an application.
{
    my @options = ({}, { min_instances => \pack('N', 3), python => '/usr/bin/python3' }, { app_env => 'staging' });
    my $busy = begin('www-data', 'requests', $socket, map { hello() . message(app_root => $app, group => 'frames', options => $_, path => '/', env => { A => 'b' }) } @options);
    my @visitors = visit(3, time + $seconds + 1, 'babbler');
    $h->get('/', Host => 'liar') for 1 .. 3;
    like seen(@visitors), qr/\b(?:200|502)\b/, 'an application makes mistakes in its answers';
    my $did = end($busy);
    cmp_ok $did->{sent} // 0, '>', 50 * $seconds, ($did->{sent} // 0) . ' requests with mistakes, ' . ($did->{answered} // 0) . ' of them answered';
    is $h->core, $core, '... by the same core';
    alive('requests');
    is $h->get('/', Host => 'app')->status, 200, '... and visitors are served';
}
# Whoever answers in the core's place.
{
    my ($id) = slurp(($ENV{PASSENGER_BUILD} // 'build') . '/build-id') =~ /(\w+)/;
    my $hello = "PASSENGER/1 $id 0123456789abcdef 1 1\n";
    my @answers = map { $hello . $_ } "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: /x\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\nPassenger-File: 200 x.html\r\n\r\n", "HTTP/1.1 421 Refused\r\nPassenger-Need-Options: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nbytes", "HTTP/1.1 503 X\r\nPassenger-Try-Again: 1\r\nContent-Length: 0\r\n\r\n";
    my $busy = begin('', 'responses', $socket, @answers);
    wait_for { my $mine = (stat "$socket.mine")[1]; $mine && $mine == ((stat $socket)[1] // 0) } 'it has taken the core\'s place';
    $h->graceful; # links to the core itself are kept
    my @visitors = visit(12, time + $seconds, 'app');
    my $did = end($busy);
    my $seen = seen(@visitors);
    cmp_ok $did->{sent} // 0, '>', 0, ($did->{sent} // 0) . " answers with mistakes: $seen";
    alive('answers');
    my $ok = wait_for { $h->get('/', Host => 'app')->status == 200 } undef, 20;
    ok $ok, '... and visitors are served by the core again';
}
# A core that others have taken over. What only starts applications within the configuration may happen; the rest does not.
{
    my $spec = sub { my ($root, $kind, $file, $author, $errand) = @_; join '', (map { pack('N/a*', $_) } 'frames', $root, $kind, $file, ''), pack('NNNNNN', $author, 1, 1, $errand, 0x4f505401, 0) };
    my @specs = map { ($spec->($app, 'python', 'passenger_wsgi.py', 0xffffffff, $_), $spec->('/root', 'python', '/etc/passwd', 0, $_), $spec->('/', 'generic', 'Passengerfile.json', 0xffffffff, $_)) } 0, 1, 2;
    my $did = end(begin('', 'orders', $core, @specs));
    SKIP: {
        skip "a process may not take another's descriptors here ($did->{refused})", 2 if $did->{refused};
        cmp_ok $did->{sent} // 0, '>', 50, ($did->{sent} // 0) . ' orders with mistakes';
        $h->expect_log(qr/PSG3201: core\.protocol: the core wants a process with the number \d+ when \d+ would be the next/, 'numbers that would leave none for later cores are refused') if $did->{sent};
    }
    alive('orders');
    # What it was made to say is over with it.
    $h->kill_core;
    my $ok = wait_for { my $r = eval { $h->get('/', Host => 'app') }; $r && $r->status == 200 && $r->json->{uid} == getpwnam $owner } undef, 30;
    ok $ok, '... and visitors are served, by the owner\'s process';
}
$h->finish;
done_testing;
