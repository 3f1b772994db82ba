# Streams: events reach the client as they are written, whatever filters and protocols lie between, and many small writes are few for the client.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time);
use Harness;

my $events = 20;
my %source = (
    wsgi => ['passenger_wsgi.py' => <<'END'],
import time
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    if environ["PATH_INFO"] == "/fast":
        return (b"0123456789" for _ in range(20000))
    def events():
        for i in range(20):
            yield b"data: %.4f\n\n" % time.time()
            time.sleep(0.04)
    return events()
END
    asgi => ['passenger_wsgi.py' => <<'END'],
import asyncio, time
async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    if scope["path"] == "/fast":
        for _ in range(20000):
            await send({"type": "http.response.body", "body": b"0123456789", "more_body": True})
    else:
        for i in range(20):
            await send({"type": "http.response.body", "body": b"data: %.4f\n\n" % time.time(), "more_body": True})
            await asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.04)
    await send({"type": "http.response.body", "body": b""})
END
    rack => ['config.ru' => <<'END'],
run(lambda do |env|
  events = Enumerator.new do |out|
    if env['PATH_INFO'] == '/fast'
      20_000.times { out << '0123456789' }
    else
      20.times do
        out << format("data: %.4f\n\n", Time.now.to_f)
        IO.select(nil, nil, nil, 0.04)
      end
    end
  end
  [200, { 'content-type' => 'text/event-stream' }, events]
end)
END
    node => ['app.js' => <<'END'],
require('http').createServer((req, res) => {
    res.writeHead(200, { 'Content-Type': 'text/event-stream' });
    if (req.url === '/fast') {
        for (let i = 0; i < 20000; i++) res.write('0123456789');
        res.end();
        return;
    }
    let n = 0;
    const timer = setInterval(() => {
        res.write('data: ' + (Date.now() / 1000).toFixed(4) + '\n\n');
        if (++n === 20) { clearInterval(timer); res.end(); }
    }, 40);
}).listen();
END
);
delete $source{node} unless grep { -x "$_/node" } qw(/usr/local/bin /usr/bin);

# With prefork there is no HTTP/2.
for my $mpm (Harness->mpms) {
    my $h = Harness->new(mpm => $mpm, modules => ['case_filter', $mpm eq 'prefork' ? () : 'http2']);
    my $protocols = $mpm eq 'prefork' ? '' : "Protocols h2c http/1.1\n";
    my $conf = "${protocols}PassengerMaxPoolSize 10\nPassengerMaxInstances 1\nPassengerMinInstances 1\n";
    for my $language (sort keys %source) {
        my $app = $h->make_app($language, { @{ $source{$language} } });
        $conf .= "<VirtualHost *>\nServerName $language\nDocumentRoot $app/public\n<LocationMatch deflate>\nSetOutputFilter DEFLATE\n</LocationMatch>\n<Location /upper>\nSetOutputFilter CaseFilter\n</Location>\n</VirtualHost>\n";
    }
    $h->start(conf => $conf);
    $_->read_response('GET') for map { my $c = $h->client(timeout => 60); $c->write_request('GET', '/first', Host => $_, Connection => 'close'); $c } sort keys %source;
    my %way = (
        plain => ['/plain'], deflate => ['/deflate', '--compressed'],
        $mpm eq 'prefork' ? ('a filter that loses flushes' => ['/upper']) : (),
        $mpm eq 'prefork' ? () : (h2 => ['/plain', '--http2-prior-knowledge'], 'h2 and deflate' => ['/deflate', '--compressed', '--http2-prior-knowledge']),
    );
    delete @way{qw(plain deflate h2)} if $mpm eq 'worker'; # in all but its threads it is as event
    for my $way (sort keys %way) { subtest "$mpm: events, $way" => sub { events($h, @{ $way{$way} }) } }
    subtest "$mpm: few writes" => sub { few($h) };
}
done_testing;

# All languages at once: how old each event is when it is here.
sub events {
    my ($h, $path, @options) = @_;
    my %client;
    for my $language (sort keys %source) {
        my $pid = open my $out, '-|', 'curl', '-sN', '--max-time', 30, @options, '-H', "Host: $language", "http://127.0.0.1:$h->{port}$path" or die "curl: $!";
        $client{ fileno $out } = { language => $language, out => $out, text => '', age => [] };
    }
    my %open = %client;
    my $end = time + 40;
    while (%open && time < $end) {
        my $bits = '';
        vec($bits, $_, 1) = 1 for keys %open;
        next unless select($bits, undef, undef, 1) > 0;
        for my $fd (grep { vec $bits, $_, 1 } keys %open) {
            my $c = $open{$fd};
            my $n = sysread $c->{out}, $c->{text}, 65536, length $c->{text};
            push @{ $c->{age} }, time - $1 while $c->{text} =~ s/^data: ([\d.]+)\n\n//i;
            delete $open{$fd} unless $n;
        }
    }
    for my $c (sort { $a->{language} cmp $b->{language} } values %client) {
        close $c->{out};
        my @age = sort { $a <=> $b } @{ $c->{age} };
        is scalar(@age), $events, "$c->{language}: all events" or next;
        cmp_ok $age[ $#age / 2 ], '<', 0.05, sprintf '... are here in %.1f ms, half of them; the slowest in %.1f ms', 1000 * $age[ $#age / 2 ], 1000 * $age[-1];
    }
}

# What an application writes without a pause is not flushed piece by piece.
sub few {
    my ($h) = @_;
    for my $language (sort keys %source) {
        my $r = $h->client(timeout => 30)->ask('GET', '/fast', Host => $language, Connection => 'close');
        ok $r->complete && length $r->body == 200_000, "$language: 20000 pieces of ten bytes" or diag $r->error;
        my $n = @{ $r->{chunks} // [] };
        cmp_ok $n, '<', 4000, "... are $n for the client";
    }
}
