# Large responses, which the core passes on without reading them where the kernel can: each client gets its own, whole, whatever their number and pace.
# What happens between an application and the core is the same on all MPMs.
use strict;
use warnings;
use lib 't/lib';
use Digest::SHA 'sha256_hex';
use Socket qw(SOL_SOCKET SO_RCVBUF);
use Test::More;
use Time::HiRes qw(time);
use Harness;
use Proc;

my $mpm = (Harness->mpms)[0];
my ($shim, $faults);
my $h = Harness->new(mpm => $mpm);
SKIP: {
    skip 'a sanitizer\'s runtime must be loaded first', 1 if $h->{helper} =~ /asan/;
    $shim = "$h->{root}/lib/faults.so";
    $shim = undef if system("cc -shared -fPIC -O1 -o $shim t/lib/faults.c 2>/dev/null");
    skip 'no compiler', 1 unless $shim;
    $faults = "$h->{root}/run/faults";
    mkdir $faults;
    chmod 0755, "$h->{root}/run";
    $h->{env} = { LD_PRELOAD => $shim, FAULTS => $faults };
    splicing(0);
}

# Of a hundred bytes none is like those of another response. The second half comes when the file is there.
my $wsgi = <<'END';
import hashlib, os, time
def body(path, n):
    block = b''.join(hashlib.sha256(b'%s %d' % (path.encode(), i)).digest() for i in range(1024))
    return (block * (n // len(block) + 1))[:n]
def application(environ, start_response):
    n = int(environ['QUERY_STRING'] or 0)
    data = body(environ['PATH_INFO'], n) if n else str(os.getpid()).encode()
    start_response('200 OK', [('Content-Length', str(len(data))), ('X-Sum', hashlib.sha256(data).hexdigest())])
    if environ['PATH_INFO'] == '/pieces':
        return (data[i:i + 90001] for i in range(0, len(data), 90001))
    if environ['PATH_INFO'] == '/dies':
        return dies(data)
    return [data]
def dies(data):
    yield data[:len(data) // 2]
    os._exit(3)
END
# Over TCP, and without a loader that would see to it that a response is what its head says.
my $server = <<'END';
import os, socket
listener = socket.create_server(('127.0.0.1', int(os.environ['PORT'])))
def serve(sock):
    while True:
        head = b''
        while not head.endswith(b'\r\n\r\n'):
            got = sock.recv(65536)
            if not got:
                return
            head += got
        path = head.split()[1]
        n = 3000000
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % n + b'y' * (n // 2 if path == b'/less' else n) + (b'more' if path == b'/more' else b''))
        if path == b'/less':
            return
while True:
    with listener.accept()[0] as sock:
        try:
            serve(sock)
        except OSError:     # a connection with bytes too much may be reset
            pass
END

sub splicing { return unless $faults; spew("$faults/splice.new", $_[0]); chmod 0666, "$faults/splice.new"; rename "$faults/splice.new", "$faults/splice" }
sub whole { my ($r) = @_; $r->status == 200 && $r->complete && sha256_hex($r->body) eq $r->header('X-Sum') }
sub asked { my ($c, $path, %field) = @_; $c->write_request('GET', $path, %field); $c }

my $app = $h->make_app('wsgi', { 'passenger_wsgi.py' => $wsgi });
my $port = $h->make_app('port', { 'server.py' => $server });
$h->start(conf => <<"END");
PassengerMaxPoolSize 4
SendBufferSize 32768
<VirtualHost *>
ServerName localhost
DocumentRoot $app/public
PassengerMaxInstances 2
PassengerMinInstances 2
</VirtualHost>
<VirtualHost *>
ServerName port
DocumentRoot $port/public
PassengerAppStartCommand "python3 server.py"
PassengerMaxInstances 1
</VirtualHost>
END
is $h->get('/')->status, 200, 'it serves' or diag $h->log_text;

sub together {
    my ($how) = @_;
    my @sizes = (65_000, 65_536, 70_000, 131_072, 200_001, 1 << 20, 3_000_000, 8_000_000);
    my @c = map { asked($h->client(timeout => 60), "/$_?$sizes[$_]") } 0 .. $#sizes;
    is scalar(grep { my $r = $_->read_response('GET'); whole($r) && length $r->body == shift @sizes } @c), 8, "$how: eight at once: each is whole";
    is scalar(grep { whole($_->get('/again?500000')) } @c), 8, '... and so are the next ones on their connections';
    my $c = asked($h->client(timeout => 60), '/pieces?3000000');
    ok whole($c->read_response('GET')), '... and one that the application sends in pieces';
    is $h->get('/x?300000', Range => 'bytes=299990-')->status, 200, '... and one that a range was asked of';
}
together('without being read');
if ($faults) {
    cmp_ok -s "$faults/splice", '>', 20, '... and they were not read' unless kernel() < 6.05;
    splicing(22);
    together('where the kernel refuses');
    splicing(0);
}
sub kernel { slurp('/proc/sys/kernel/osrelease') =~ /^(\d+)\.(\d+)/ ? $1 + $2 / 100 : 0 }

# Slow readers hold no process, and no byte of theirs comes to others.
{
    my @c = map { my $c = $h->client(timeout => 60); setsockopt $c->{sock}, SOL_SOCKET, SO_RCVBUF, pack 'i', 32768; asked($c, "/slow$_?4000000") } 1 .. 6;
    my $begin = time;
    is join(' ', map { $h->client(timeout => 20)->get('/')->status } 1 .. 6), '200 ' x 5 . '200', 'six that do not read hold no process';
    cmp_ok time - $begin, '<', 15, '... for long';
    is scalar(grep { whole($_->read_response('GET')) } @c), 6, '... and get all of it';
}

# What ends early is not whole, what is too much is not the next one's.
{
    my $c = asked($h->client(timeout => 20), '/dies?3000000');
    ok !$c->read_response('GET')->complete, 'an application that dies in the middle: the client sees it';
    $h->expect_log(qr/PSG0156: .*short_body|PSG0156: .*it sent less/);
    $h->expect_log('PSG0688');
    $h->allow_log('PSG0102', 'PSG0103');
    my $r = $h->client(timeout => 20)->get('/', Host => 'port');
    is length $r->body, 3_000_000, 'over TCP';
    $r = $h->client(timeout => 20)->get('/more', Host => 'port');
    ok $r->body eq 'y' x 3_000_000, '... and a byte too much is not passed on';
    $r = $h->client(timeout => 20)->get('/', Host => 'port');
    ok $r->status == 200 && $r->body eq 'y' x 3_000_000, '... nor taken for the next response';
    $h->allow_log('PSG0151');
    ok !asked($h->client(timeout => 20), '/less', Host => 'port')->read_response('GET')->complete, '... and one that is too short is not whole';
    $h->expect_log(qr/PSG0156: .*it sent less/);
    $h->expect_log('PSG0688');
}

undef $h; # looks at the log
done_testing;
