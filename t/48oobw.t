# Out-of-band work: a process asks for it in a response, leaves routing, works while others serve, and comes back. One MPM is enough: all of it
# happens in the core and in the application's process.
use strict;
use warnings;
use lib 't/lib';
use JSON::PP;
use POSIX qw(mkfifo);
use Test::More;
use Harness;

plan skip_all => 'Ruby is not there' if system('ruby -e "require %q(rack)" 2>/dev/null') != 0;
my $mpm = (Harness->mpms)[0];

# Works until somebody opens the fifo, if there is one.
my $source = <<'END';
PhusionPassenger.on_event(:oob_work) do
  puts "works: #{Process.pid}"
  begin
    File.open("#{__dir__}/fifo", &:read) if File.exist?("#{__dir__}/fifo")
  rescue Errno::EINTR
    retry
  end
  raise 'while it worked' if File.exist?("#{__dir__}/raise")
  exit! 3 if File.exist?("#{__dir__}/exit")
  puts "has worked: #{Process.pid}"
end
run lambda { |env|
  headers = { 'content-type' => 'text/plain', 'x-method' => env['REQUEST_METHOD'], 'x-odd' => env.keys.grep(/OOB/i).join(',') }
  IO.select(nil, nil, nil, 0.3) if env['QUERY_STRING'] == 'slow'
  headers['!~Request-OOB-Work'] = 'true' if env['PATH_INFO'] == '/ask'
  [200, headers, [Process.pid.to_s]]
}
END

for my $part (qw(work alone foreign crashes trouble threads collector)) {
    subtest $part => sub { no strict 'refs'; &$part() };
}
done_testing;

sub serve {
    my ($conf, %files) = @_;
    my $h = Harness->new(mpm => $mpm, log_level => 'debug');
    my $app = $h->make_app('shop', { 'config.ru' => $source, %files });
    $h->{fifo} = "$app/fifo";
    $h->{app_root} = $app;
    $h->start(conf => "DocumentRoot $app/public\n$conf");
    return $h;
}

sub status {
    my ($h, $what) = @_;
    my ($dir) = glob "$h->{root}/registry/instance-*";
    my $socket = IO::Socket::UNIX->new(Peer => "$dir/admin") or return;
    print $socket "GET /pool.$what HTTP/1.0\r\n\r\n";
    my $text = do { local $/; <$socket> } // '';
    $text =~ s/^.*?\r\n\r\n//s;
    return $text;
}

# pid => its entry.
sub processes {
    my ($h) = @_;
    my $pool = eval { decode_json(status($h, 'json')) } or return;
    return map { $_->{pid} => $_ } map { @{ $_->{processes} } } @{ $pool->{groups} };
}

# Requests at once, until as many processes have answered.
sub several {
    my ($h, $n) = @_;
    my %seen;
    wait_for {
        my @c = map { my $c = $h->client; $c->write_request('GET', '/?slow', Connection => 'close'); $c } 1 .. $n;
        $seen{ $_->read_response('GET')->body }++ for @c;
        keys %seen >= $n;
    } "$n processes", 20;
    return sort { $a <=> $b } keys %seen;
}

sub let_go { my ($h) = @_; open my $fh, '>', $h->{fifo} or die; close $fh }
sub count { my ($h, $pattern) = @_; return scalar(() = $h->log_text =~ /$pattern/g) }

sub work {
    my $h = serve("PassengerMinInstances 2\nPassengerMaxPoolSize 2");
    my @pid = several($h, 2);
    mkfifo($h->{fifo}, 0666) && chmod 0666, $h->{fifo};
    my $r = $h->get('/ask');
    my $worker = $r->body;
    my ($other) = grep { $_ != $worker } @pid;
    is $r->status, 200, 'a response that asks for work';
    ok !defined $r->header('!~request-oob-work') && defined $r->header('x-odd'), '... does not tell the visitor';
    soon { count($h, "works: $worker") } '... the process works', 5;
    my %pid;
    $pid{ $h->get('/')->body }++ for 1 .. 6;
    is join(' ', %pid), "$other 6", '... the other one serves meanwhile';
    my %p = processes($h);
    is $p{$worker}{out_of_band}, 'working', 'the status tells';
    is $p{$other}{out_of_band}, 'none', '... of that process';
    is $p{$worker}{sessions}, 0, '... that it has no request';
    my $processed = $p{$worker}{processed};
    like status($h, 'txt'), qr/PID: $worker .*\n.*\n    Disabled: it works out of band/, '... as text';
    like status($h, 'xml'), qr{<disabled_process_count>1</disabled_process_count>.*<pid>$worker</pid>(?:(?!</process>).)*<enabled>DISABLED</enabled>}s, '... as XML';
    $h->get('/ask') for 1 .. 2;
    %p = processes($h);
    is $p{$other}{out_of_band}, 'wanted', 'the other one waits for its turn';
    is count($h, 'works: '), 1, '... one at a time';
    is scalar($h->apps), 2, '... and no more processes are started';
    let_go($h);
    soon { count($h, "works: $other") } 'then it is its turn', 5;
    is $h->get('/')->body, $worker, 'the first one is back';
    %p = processes($h);
    is $p{$worker}{processed}, $processed + 1, '... and has counted requests only';
    let_go($h);
    soon { %p = processes($h); $p{$other}{out_of_band} eq 'none' && $p{$worker}{out_of_band} eq 'none' } 'all is as before', 5;
    is count($h, 'works: '), 2, 'each has worked once';
    unlink $h->{fifo};
}

# The only process serves on until there is another.
sub alone {
    my $h = serve('PassengerMaxPoolSize 2');
    my $first = $h->get('/ask')->body;
    soon { count($h, "has worked: $first") } 'the only process works', 10;
    is scalar($h->apps), 2, '... after another one was started';
    $h->finish;
    $h = serve("PassengerMaxInstances 1");
    my @r = map { $h->get('/ask') } 1 .. 3;
    is scalar(grep { $_->status == 200 } @r), 3, 'where there is to be no other';
    is count($h, 'works: '), 0, '... it serves, and does not work';
    my %p = processes($h);
    is join(' ', map { $_->{out_of_band} } values %p), 'wanted', '... as the status tells';
}

# What nobody but the core may say.
sub foreign {
    my $h = serve("PassengerMinInstances 2\nPassengerMaxPoolSize 2\nSetEnv !OOB_WORK 1\nSetEnv OOB_WORK 2");
    several($h, 2);
    my $r = $h->ask('OOBW', '/', '!OOB_WORK' => 1, '!~Request-OOB-Work' => 'true', 'OOB-Work' => 1);
    is $r->header('x-method'), 'OOBW', 'a visitor whose method is OOBW reaches the application';
    unlike $r->header('x-odd'), qr/!/, '... without a pair that only the core may send';
    is count($h, 'works: '), 0, '... and nothing else happens';
}

sub crashes {
    my $h = serve("PassengerMinInstances 2\nPassengerMaxPoolSize 2");
    my @pid = several($h, 2);
    mkfifo($h->{fifo}, 0666) && chmod 0666, $h->{fifo};
    my $worker = $h->get('/ask')->body;
    soon { count($h, "works: $worker") } 'a process works', 5;
    my $core = $h->kill_core;
    $h->allow_log(qr/PSG\d+: .*core/);
    wait_for { ($h->core // 0) != $core && keys %{ { processes($h) } } == 2 } 'another core', 10;
    let_go($h);
    soon { count($h, "has worked: $worker") } 'a new core lets it finish', 5;
    is join(' ', several($h, 2)), "@pid", '... and has it back';
    # One that dies at work.
    $worker = $h->get('/ask')->body;
    wait_for { count($h, "works: $worker") == 2 || count($h, 'works: ') == 2 } 'a process works', 5;
    kill KILL => $worker;
    soon { my @now = $h->apps; @now == 2 && !grep { $_ == $worker } @now } 'one that dies at work is replaced', 10;
    $h->expect_log(qr/PSG0102: .*process $worker .*signal=9/);
    is $h->get('/')->status, 200, '... and the others serve';
    unlink $h->{fifo};
}

sub trouble {
    my $h = serve("PassengerMinInstances 2\nPassengerMaxPoolSize 2", raise => '');
    my @pid = several($h, 2);
    my $worker = $h->get('/ask')->body;
    soon { count($h, qr/an exception in oob_work:\n.*config\.ru:\d+:.*while it worked \(RuntimeError\)/) } 'an exception is logged', 5;
    is join(' ', several($h, 2)), "@pid", '... and the process is back';
    unlink "$h->{app_root}/raise";
    spew("$h->{app_root}/exit", '');
    $worker = $h->get('/ask')->body;
    $h->expect_log(qr/PSG0103: .*process $worker .*code=3/);
    soon { my @now = $h->apps; @now == 2 && !grep { $_ == $worker } @now } 'one that exits is replaced', 10;
}

# Requests that a process has are finished first.
sub threads {
    my $h = serve("PassengerMinInstances 2\nPassengerMaxPoolSize 2\nPassengerConcurrencyModel thread\nPassengerThreadCount 4");
    wait_for { $h->get('/'); keys %{ { processes($h) } } == 2 && !grep { $_->{state} ne 'ready' } values %{ { processes($h) } } } 'two processes', 10;
    my @c = map { my $c = $h->client; $c->write_request('GET', $_, Connection => 'close'); $c } '/?slow', '/ask', '/?slow', '/?slow';
    my @r = map { $_->read_response('GET') } @c;
    is scalar(grep { $_->status == 200 } @r), 4, 'requests at once';
    my $worker = $r[1]->body;
    soon { count($h, "has worked: $worker") } 'the process works after them', 5;
    soon { my %p = processes($h); !grep { $_->{out_of_band} ne 'none' } values %p } '... and is back', 5;
    is count($h, 'works: '), 1, '... after one turn';
}

sub collector {
    my $h = serve("PassengerMinInstances 2\nPassengerMaxPoolSize 2", 'config.ru' => <<'END');
require 'uri' # Rack::Lint wants it
require 'phusion_passenger'
require 'phusion_passenger/rack/out_of_band_gc'
PhusionPassenger.require_passenger_lib 'rack/out_of_band_gc'
module GC
  module OOB
    def self.dry_run
      $dry = !$dry
    end
    def self.run
      $ran = true
    end
  end
end
GC.disable
use Rack::Lint
COUNT = lambda { |env| [200, { 'Content-Type' => 'text/plain' }, ["#{Process.pid} #{GC.count} #{GC.disable}"]] }
map '/count' do
  use PhusionPassenger::Rack::OutOfBandGc, 2
  run COUNT
end
map '/near' do
  use PhusionPassenger::Rack::OutOfBandGc, :strategy => :gc
  run lambda { |env| ($held ||= []).concat(Array.new(100_000) { 'x' * 50 }); COUNT.call(env).map(&:freeze) }
end
map '/tools' do
  use PhusionPassenger::Rack::OutOfBandGc, :strategy => :gctools_oobgc
  run lambda { |env| [200, { 'Content-Type' => 'text/plain' }, ["#{$ran.inspect} #{GC.count}"]] }
end
map '/wrong' do
  run lambda { |env|
    begin
      PhusionPassenger::Rack::OutOfBandGc.new(nil, **{ 'none' => {}, 'zero' => { strategy: :count, frequency: 0 }, 'other' => { strategy: :x } }[env['QUERY_STRING']])
    rescue ArgumentError => error
      [200, { 'Content-Type' => 'text/plain' }, [error.message]]
    end
  }
end
run COUNT
END
    is $h->get('/wrong?none')->body, 'OutOfBandGc: strategy is one of count, gc, gctools_oobgc', 'no strategy';
    like $h->get('/wrong?zero')->body, qr/wants a frequency of 1 or more/, 'no frequency';
    like $h->get('/wrong?other')->body, qr/strategy is one of/, 'an unknown strategy';
    wait_for { my %p = processes($h); 2 == grep { $_->{state} eq 'ready' } values %p } 'two processes', 10;
    for my $path (qw(/ /count /near)) {
        my (%first, $more);
        my $n = 0;
        wait_for {
            my ($pid, $count, $disabled) = split / /, $h->get($path)->body;
            $first{$pid} //= $count;
            $more = $count > $first{$pid} && $disabled eq 'true';
            $more || ++$n == 20;
        } $path, 20;
        ok $path eq '/' ? !$more : $more, $path eq '/' ? 'no garbage is collected' : "... but between requests, and collecting stays off within: $path";
    }
    soon { $h->get('/tools')->body =~ /^true/ } 'the gem gctools is asked', 10;
    ok !count($h, 'Rack::Lint'), 'Rack::Lint finds no fault' or diag $h->log_text;
}
