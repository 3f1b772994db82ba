# PassengerSpawnMethod smart: a preloader loads the application once and forks the processes, which share its memory; its life and its deaths,
# what it may not do, and what must be the same as without it. PART=crash runs one part. One MPM: nothing of it is Apache's.
use strict;
use warnings;
use lib 't/lib';
use IO::Socket::UNIX;
use JSON::PP qw(decode_json);
use Test::More;
use Time::HiRes qw(time);
use Harness;

my $mpm = (Harness->mpms)[0];
my $ruby = system('ruby -e "require %q(rack)" 2>/dev/null') == 0;

# "/" answers with: pid | version of the code | how often the event of a start came | generation | whatever a query asks to be evaluated.
my %source = (
    python => ['passenger_wsgi.py', <<'END'],
import os, sys
DATA = [str(number) * 8 for number in range(100000)]
print('loaded by %d' % os.getpid())
forks = []
if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=lambda: forks.append(1))
def application(environ, start_response):
    query = environ['QUERY_STRING']
    if query == 'print':
        print('a word of %d' % os.getpid())
    facts = [os.getpid(), VERSION, len(forks), os.environ['PASSENGER_GENERATION'], environ['wsgi.multithread'], query and eval(query.replace('+', ' ')) if query != 'print' else '']
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return ['|'.join(map(str, facts)).encode()]
END
    ruby => ['config.ru', <<'END'],
DATA = (0...100_000).map { |number| number.to_s * 8 }
puts "loaded by #{Process.pid}"
$events = []
PhusionPassenger.on_event(:starting_worker_process) { |forked| $events << "starting #{forked}" }
PhusionPassenger.on_event(:after_installing_signal_handlers) { $events << 'signals' }
PhusionPassenger.on_event(:stopping_worker_process) { puts "stopping #{Process.pid}" }
PhusionPassenger.on_event(:credentials) { |user, password| nil }
module ActiveRecord
  class Base
    def self.clear_all_connections!
      $events << "cleared #{Process.pid == $loader ? 'before' : 'after'}"
    end
  end
end
$loader = Process.pid
run lambda { |env|
  query = env['QUERY_STRING']
  puts "a word of #{Process.pid}" if query == 'print'
  more = query.empty? || query == 'print' ? '' : eval(query.tr('+', ' '))
  facts = [Process.pid, VERSION, $events.join(' '), ENV['PASSENGER_GENERATION'], env['rack.multithread'], more]
  [200, { 'content-type' => 'text/plain' }, [facts.join('|')]]
}
END
);
my @languages = grep { $source{$_} } 'python', $ruby ? 'ruby' : ();
sub code { my ($language, $version, $more) = @_; ($source{$language}[0] => ($more // '') . "VERSION = '$version'\n$source{$language}[1]") }

my %part = (share => \&share, restarts => \&restarts, crash => \&crash, cores => \&cores, idle => \&idle, obstacles => \&obstacles, liars => \&liars,
    threads => \&threads, events => \&events, watchdogs => \&watchdogs);
for my $part (qw(share restarts crash cores watchdogs idle)) {
    next if $ENV{PART} && $ENV{PART} ne $part;
    for my $language (@languages) { subtest "$part: $language" => sub { $part{$part}->($language) } }
}
for my $part (qw(obstacles liars threads), $ruby ? 'events' : ()) {
    next if $ENV{PART} && $ENV{PART} ne $part;
    subtest $part => $part{$part};
}
done_testing;

sub ask {
    my ($h, $path) = @_;
    my $s = IO::Socket::UNIX->new(Peer => (glob "$h->{root}/registry/*/admin")[0]) or return '';
    print $s "GET $path HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    local $/;
    return (split /\r\n\r\n/, scalar(<$s>) // '', 2)[1] // '';
}
sub group { my ($h) = @_; my $text = ask($h, '/pool.json') or return {}; (decode_json($text)->{groups}[0]) // {} }
sub preloader { my $p = group($_[0])->{preloader}; $p && $p->{state} eq 'ready' ? $p->{pid} : 0 }
sub ready { my ($h) = @_; map { $_->{pid} } grep { $_->{state} eq 'ready' } @{ group($h)->{processes} // [] } }
sub parent { (Proc::get($_[0]) // {})->{ppid} // 0 }
sub answer { my ($h, $query) = @_; [split /\|/, $h->get('/' . ($query ? "?$query" : ''))->body // '', -1] }

sub serve {
    my ($language, %arg) = @_;
    my $h = Harness->new(mpm => $mpm);
    $h->{app} = $h->make_app('shop', { code($language, 'one', $arg{more}) });
    $h->start(conf => "DocumentRoot $h->{app}/public\nPassengerSpawnMethod smart\nPassengerStatThrottleRate 0\nPassengerMaxPoolSize 8\n" . ($arg{conf} // ''));
    is $h->get('/')->status, 200, 'it serves' or diag $h->log_text;
    return $h;
}

sub deploy {
    my ($h, $language, $version, $more) = @_;
    my %file = code($language, $version, $more);
    for (keys %file) { spew("$h->{app}/$_", $file{$_}); $h->own("$h->{app}/$_", $h->app_user) }
    spew("$h->{app}/tmp/restart.txt", '');
    my $when = time + ++$h->{touches};
    utime $when, $when, "$h->{app}/tmp/restart.txt";
}

# Bytes of a process that are in memory, and those of them that no other process has.
sub memory {
    my ($pid) = @_;
    my $text = slurp("/proc/$pid/smaps_rollup");
    my %kib = $text =~ /^(\w+):\s+(\d+) kB$/mg;
    return ($kib{Rss} // 0, ($kib{Private_Dirty} // 0) + ($kib{Private_Clean} // 0), $kib{Pss} // 0);
}

sub share {
    my ($language) = @_;
    my $h = serve($language, conf => "PassengerMinInstances 4\nPassengerMaxPoolSize 4\n");
    soon { ready($h) == 4 } 'four processes', 20;
    my $group = group($h);
    my $preloader = preloader($h);
    is scalar(@{ $group->{processes} }), 4, 'the preloader is none of them' or diag explain $group;
    is scalar(() = $h->log_text =~ /loaded by/g), 1, 'the application was loaded once';
    is scalar(grep { $_->{forked} } @{ $group->{processes} }), 4, 'all were forked';
    is_deeply [map { parent($_) } $preloader, ready($h)], [($h->watchdog) x 5], 'all are children of the watchdog';
    is_deeply [map { (getpgrp $_) == $_ } $preloader, ready($h)], [(1) x 5], '... and lead groups of their own';
    my @uid = (getpwnam $h->app_user)[2, 3];
    if (!$>) { is_deeply Proc::ids($_)->{uid}, [($uid[0]) x 4], "$_ runs as the owner" for $preloader, ready($h) }
    my %limit = map { my ($mark) = slurp("/proc/$_/limits") =~ /^Max realtime timeout\s+(\d+)/m; (($mark // 0) => 1) } $preloader, ready($h);
    is scalar(keys %limit), 5, 'each bears a mark of its own';
    my @requests = map { answer($h) } 1 .. 40;
    my ($rss, $private, $pss) = (0, 0, 0);
    for my $pid (ready($h)) { my @m = memory($pid); $rss += $m[0]; $private += $m[1]; $pss += $m[2] }
    cmp_ok $private, '<', 0.4 * $rss, sprintf 'they share %.0f %% of their memory (PSS %.1f MiB each)', 100 * (1 - $private / $rss), $pss / 4096;
    my ($pid, $version, undef, $generation) = @{ answer($h, 'print') };
    $h->expect_log(qr/App $pid output: a word of $pid/);
    is $generation, 1, 'PASSENGER_GENERATION';
    my %fds = map { $_ => join ' ', map { s/\d{3,}/N/r } sort(Proc::fds($_)) } ready($h);
    unlike $fds{$_}, qr/eventpoll/, "no descriptor of the preloader in $_" for keys %fds;
    like ask($h, '/pool.txt'), qr/^Processes     : 4\n.*^  \(preloader $preloader: \d+M, up \d/ms, 'passenger-status';
    like ask($h, '/pool.xml'), qr{<process_count>4</process_count>.*<preloader><pid>$preloader</pid>}s, '... and XML';
    my %random = map { my $a = answer($h, $language eq 'python' ? '__import__("random").random()' : 'rand'); ($a->[5] => 1) } 1 .. 40;
    cmp_ok scalar(keys %random), '==', 40, 'no two random numbers are the same';
    is answer($h)->[2], $language eq 'python' ? 2 : 'cleared before cleared after starting true signals', 'events around the fork';
    return if $language ne 'ruby';
    ok !(grep { ($_->{cmdline}[0] // '') !~ /^Passenger RubyApp: / } map { Proc::get($_) // () } ready($h)), 'the titles of the processes';
    like +(Proc::get($preloader)->{cmdline}[0] // ''), qr/^Passenger AppPreloader: \Q$h->{app}\E /, '... and of the preloader';
    kill TERM => ($pid) = ready($h);
    $h->expect_log(qr/App $pid output: stopping $pid/);
    $h->allow_log(qr/PSG010[23]: app.exited: process $pid /);
    ok !(grep { !/App $pid/ } $h->log_text =~ /^.*output: stopping.*$/mg), '... stops alone';
}

sub restarts {
    my ($language) = @_;
    my $h = serve($language, conf => "PassengerMinInstances 2\n");
    soon { ready($h) == 2 } 'two processes', 20;
    my $old = preloader($h);
    deploy($h, $language, 'two');
    soon { answer($h)->[1] eq 'two' } 'a restart brings new code', 20;
    soon { my $new = preloader($h); $new && $new != $old && !Proc::alive($old) } '... from a new preloader; the old one has gone', 20;
    soon { ready($h) == 2 && answer($h)->[3] eq '2' } '... and two processes', 20;
    deploy($h, $language, 'three', "raise RuntimeError('as it was told') if 1 else None\n" x ($language eq 'python') . "raise 'as it was told' if true\n" x ($language eq 'ruby'));
    soon { answer($h); $h->log_text =~ /app\.held/ } 'code that does not load is told', 20;
    is answer($h)->[1], 'two', '... and the earlier goes on';
    $h->expect_log(qr/PSG0113: spawn.failed: .*as it was told/);
    $h->allow_log('PSG0117');
    deploy($h, $language, 'four');
    soon { answer($h)->[1] eq 'four' } 'code that loads again', 20;
    is scalar(() = $h->log_text =~ /loaded by/g), 3, 'each was loaded once';
    my $generation = answer($h)->[3];
    spew("$h->{app}/tmp/always_restart.txt", '');
    answer($h);
    unlink "$h->{app}/tmp/always_restart.txt"; # as long as it is there each request begins anew what may take longer than the next one
    soon { answer($h)->[3] > $generation } 'always_restart.txt', 30;
}

sub crash {
    my ($language) = @_;
    my $h = serve($language, conf => "PassengerMinInstances 2\n");
    soon { ready($h) == 2 } 'two processes', 20;
    my ($old, @before) = (preloader($h), ready($h));
    kill KILL => $old;
    $h->expect_log(qr/PSG1101: preloader.died/);
    $h->expect_log(qr/PSG0102: app.exited: process $old /);
    is $h->get('/')->status, 200, 'it serves without its preloader';
    is_deeply [ready($h)], \@before, '... from the same processes';
    kill KILL => $before[0];
    $h->allow_log(qr/PSG0102: app.exited: process $before[0] /);
    soon { my @now = ready($h); @now == 2 && $now[0] != $before[0] } 'the next start brings another', 20;
    soon { my $new = preloader($h); $new && $new != $old } '... preloader', 20;
    ok Proc::alive($before[1]), '... and concerns nobody else';
    return if $language ne 'python';
    # One that hangs: a stopped process is as deaf as one in a file system that does not answer.
    my $hung = preloader($h);
    kill STOP => $hung;
    kill KILL => $before[1];
    $h->allow_log(qr/PSG0102: app.exited: process $before[1] /);
    is $h->get('/')->status, 200, 'it serves while the preloader hangs';
    soon { my @now = ready($h); @now == 2 && !grep { $_ == $before[1] } @now } '... and soon from two processes', 30;
    $h->expect_log(qr/PSG1101: .*preloader.unresponsive/);
    soon { !Proc::alive($hung) } '... without the one that hung';
    # One that dies whenever it is to fork: in the end the application does without.
    deploy($h, 'python', 'two', "import os, signal\nif hasattr(os, 'register_at_fork'):\n    os.register_at_fork(before=lambda: os.kill(os.getpid(), 9))\n");
    soon { answer($h)->[1] eq 'two' } 'a preloader that never brings a process is given up', 30;
    $h->expect_log(qr/PSG1101: .*until the next restart/);
    $h->allow_log(qr/PSG0102: app.exited: .*KILL|signal=9/i);
}

# What fails in a process is told of the process; the preloader has nothing to do with it.
sub events {
    my $more = "PhusionPassenger.on_event(:starting_worker_process) { |forked| raise 'not today' if File.exist?('tmp/fail') }\n";
    my $h = serve('ruby', more => $more, conf => "PassengerMinInstances 1\n");
    my ($preloader, $pid) = (preloader($h), ready($h));
    spew("$h->{app}/tmp/fail", '');
    kill KILL => $pid;
    $h->allow_log(qr/PSG0102: app.exited: process $pid /);
    soon { $h->get('/')->status == 500 } 'an exception in starting_worker_process is a failed start', 20;
    $h->expect_log(qr/PSG0113: spawn.failed: .*not today/);
    is preloader($h), $preloader, '... and no reason to load the code again';
    unlink "$h->{app}/tmp/fail";
    soon { $h->get('/')->status == 200 } '... that is tried again', 20;
    is preloader($h), $preloader, '... by the same preloader';
}

sub cores {
    my ($language) = @_;
    my $h = serve($language, conf => "PassengerMinInstances 2\n");
    soon { ready($h) == 2 } 'two processes', 20;
    my ($core, $preloader, @before) = ($h->core, preloader($h), ready($h));
    $h->allow_log(qr/PSG0\d{3}.*core/);
    $h->kill_core;
    soon { my $now = $h->core; $now && $now != $core && preloader($h) == $preloader } 'the next core has the same preloader', 20;
    is_deeply [sort { $a <=> $b } ready($h)], [sort { $a <=> $b } @before], '... and processes';
    kill KILL => $before[0];
    $h->allow_log(qr/PSG0102: app.exited: process $before[0] /);
    soon { answer($h); my @now = ready($h); @now == 2 && !grep { $_ == $before[0] } @now } '... which goes on forking', 20;
    is preloader($h), $preloader, '... itself';
    is scalar(() = $h->log_text =~ /loaded by/g), 1, '... what was loaded once';
    # Another version of the helper in the place of this one.
    ($core, @before) = ($h->core, ready($h));
    my ($id) = `$h->{root}/lib/passenger-helper --version` =~ /build (\w{16})/;
    (my $other = $id // '') =~ tr/0-9a-f/1-9a-f0/;
    $h->{module} = "$h->{root}/lib/mod_passenger.so";
    for my $file ([($ENV{PASSENGER_BUILD} // 'build') . '/mod_passenger.so', $h->{module}], [("$h->{root}/lib/passenger-helper") x 2]) {
        (my $bytes = slurp($file->[0])) =~ s/\Q$id\E/$other/g;
        spew("$file->[1].new", $bytes);
        chmod 0755, "$file->[1].new";
        rename "$file->[1].new", $file->[1] or die "$file->[1]: $!";
    }
    $h->reconfigure($h->{conf});
    $h->graceful;
    soon { my $now = $h->core; $now && $now != $core && preloader($h) == $preloader } 'a new version has the same preloader', 20;
    kill KILL => $before[0];
    $h->allow_log(qr/PSG0102: app.exited: process $before[0] /);
    soon { answer($h); my @now = ready($h); @now == 2 && !grep { $_ == $before[0] } @now } '... which goes on forking', 20;
    is scalar(() = $h->log_text =~ /loaded by/g), 1, '... what was loaded once';
}

# Who forks and who was forked end with the watchdog, whoever started them; the request in progress is finished.
sub watchdogs {
    my ($language) = @_;
    my $h = serve($language, conf => "PassengerMinInstances 2\n");
    soon { ready($h) == 2 } 'two processes', 20;
    my ($watchdog, @old) = ($h->watchdog, preloader($h), ready($h));
    my $c = $h->client(timeout => 30);
    my $wait = "(__import__('os').write(1,b'it+waits\\n'),__import__('select').select([],[],[],2))";
    $c->write_request('GET', '/?' . ($language eq 'python' ? $wait : "begin;STDOUT.syswrite(%q(it+waits).concat(10.chr));IO.select(nil,nil,nil,2);end"), Connection => 'close');
    $h->expect_log(qr/output: it waits/);
    $h->allow_log('PSG0164', qr/\[\w+:\w+\].*(?:watchdog|helper|instance)/i, qr/App \d+/);
    kill KILL => $watchdog;
    is $c->read_response('GET')->status, 200, 'the request in progress is finished, though the watchdog was killed';
    soon { !grep { Proc::alive($_) } @old } 'its preloader and its processes end', 20;
    soon { $h->get('/')->status == 200 && preloader($h) && ready($h) == 2 } 'the next watchdog has others', 30;
    isnt $h->watchdog, $watchdog, '... of its own';
    my %new = map { $_ => 1 } preloader($h), ready($h);
    ok !(grep { $new{$_} } @old), '... none of them an orphan that it has found';
}

sub idle {
    my ($language) = @_;
    my $h = serve($language, conf => "PassengerMaxPreloaderIdleTime 1\n");
    my $old;
    soon { $old //= preloader($h) || undef; group($h)->{processes} && !group($h)->{preloader} } 'an idle preloader ends', 20;
    my @before = ready($h);
    is $h->get('/')->status, 200, '... and its process serves';
    is_deeply [ready($h)], \@before, '... as before';
    kill KILL => @before;
    $h->allow_log(qr/PSG0102: app.exited: process $before[0] /);
    soon { my $r = $h->get('/'); $r->status == 200 && answer($h)->[0] != $before[0] } 'the next start brings another', 20;
    is scalar(() = $h->log_text =~ /loaded by/g), 2, '... which loads the code again';
}

# What two processes can't share: the loader says so once, and serves by itself.
sub obstacles {
    my %case = (
        "import threading\nthreading.Thread(target=threading.Event().wait, name='clock', daemon=True).start()\n" => 'started 1 thread \(clock\)',
        "import asyncio\nloop = asyncio.new_event_loop()\n" => 'made an event loop',
        "import socket\nends = socket.socketpair()\n" => 'opened a connection \(descriptor \d+\)',
    );
    for my $more (sort keys %case) {
        my $h = serve('python', more => $more, conf => "PassengerMinInstances 2\n");
        soon { ready($h) == 2 } 'two processes', 20;
        is preloader($h), 0, 'no preloader';
        is scalar(() = $h->log_text =~ /the application $case{$more} while it was loaded/g), 1, "... since it $case{$more}; that is said once";
        is scalar(() = $h->log_text =~ /loaded by/g), 2, '... and nothing was loaded in vain';
    }
}

# A preloader is the application's: what it says about the processes that it has forked is worth nothing.
sub liars {
    my %lie = (
        'a process that is there already' => 'born.send(b"born"); signal.pause()',
        'a process whose parent lives'    => "pid = os.fork()\n        if pid == 0:\n            os.setsid(); born.send(b'born'); signal.pause()\n        signal.pause()",
        'a process without a session'     => "pid = os.fork()\n        if pid == 0:\n            middle = os.getpid()\n            if os.fork(): os._exit(0)\n            while os.getppid() == middle: os.sched_yield()\n            born.send(b'born'); signal.pause()\n        os.waitpid(pid, 0); signal.pause()",
        'words'                           => 'born.send(b"no\\n[error] room\\x1b[2J"); signal.pause()',
        'nothing'                         => 'pass',
        'descriptors'                     => 'born.sendmsg([b"born"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * 50))]); signal.pause()',
    );
    my %answer = ('a process that is there already' => 'it is another process', 'a process whose parent lives' => 'its parent still lives',
        'a process without a session' => 'it leads no session', words => 'no \[error\] room \[2J', nothing => 'it did not fork', descriptors => 'it is another process');
    my $h = Harness->new(mpm => $mpm);
    my $conf = "PassengerSpawnMethod smart\nPassengerMaxPoolSize 20\nPassengerStatThrottleRate 0\n";
    my %name;
    for my $lie (sort keys %lie) {
        my $name = $name{$lie} = 'liar' . keys %name;
        my $app = $h->make_app($name, { 'passenger_wsgi.py' => <<"END" });
import array, os, signal, socket, sys
def smart():
    try:
        orders = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, 4)
        orders.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
        return orders
    except OSError:
        return None
orders = smart()
if orders:
    os.write(1, b'!> Ready\\n!> preloader\\n!> \\n')
    while True:
        data, ancillary, _, _ = orders.recvmsg(64, 256)
        if not data:
            os._exit(0)
        fds = array.array('i', ancillary[0][2])
        born = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fds[4])
        $lie{$lie}
        born.close()
def application(environ, start_response):
    start_response('200 OK', [])
    return [b'served']
END
        $conf .= "<VirtualHost *>\n    ServerName $name\n    DocumentRoot $app/public\n</VirtualHost>\n";
    }
    $h->start(conf => $conf);
    my $watchdog = $h->watchdog;
    for my $lie (sort keys %lie) {
        is $h->get('/', Host => $name{$lie})->body, 'served', "$lie: the application is served without its preloader" or diag $h->log_text;
        is scalar(() = $h->log_text =~ /PSG1101: .*$name{$lie} .*$answer{$lie}/g), 2, '... which was tried twice' or diag grep { /PSG1101/ } split /^/, $h->log_text;
    }
    is $h->watchdog, $watchdog, 'the watchdog is the same';
    soon { keys(%{ { map { $_ => 1 } $h->apps } }) == keys %lie } 'nobody is left of the liars', 20;
    $h->allow_log('PSG1101', qr/App \d+ output/);
}

# Threads and ASGI come from a preloader too.
sub threads {
    my $h = serve('python', conf => "PassengerConcurrencyModel thread\nPassengerThreadCount 3\n");
    is answer($h)->[4], 'True', 'threads';
    is answer($h, '__import__("threading").active_count()')->[5], 4, '... all of them, in the forked process';
    ok preloader($h), '... by a preloader';
    my $asgi = Harness->new(mpm => $mpm);
    my $app = $asgi->make_app('shop', { 'passenger_wsgi.py' => <<'END' });
import os
started = []
async def application(scope, receive, send):
    if scope['type'] == 'lifespan':
        while True:
            message = await receive()
            if message['type'] == 'lifespan.startup':
                started.append(os.getpid())
            await send({'type': message['type'] + '.complete'})
            if message['type'] == 'lifespan.shutdown':
                return
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': ('%d %s' % (os.getpid(), started)).encode()})
END
    $asgi->start(conf => "DocumentRoot $app/public\nPassengerSpawnMethod smart\nPassengerMinInstances 2\n");
    my $body = $asgi->get('/')->body // '';
    like $body, qr/^(\d+) \[\1\]$/, 'ASGI: the lifespan is that of the forked process' or diag $asgi->log_text;
    soon { ready($asgi) == 2 } '... one of two', 20;
    ok preloader($asgi), '... by a preloader';
}
