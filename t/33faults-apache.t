# Reloads, stops and crashes of Apache itself, and clients that leave, while there is work.
use strict;
use warnings;
use lib 't/lib';
use POSIX ();
use Digest::SHA qw(sha1_hex);
use Test::More;
use Time::HiRes qw(time);
use Harness;
use Fault;
use Proc;

for my $mpm (Harness->mpms) {
    for my $part (qw(graceful_busy graceful_late child_killed child_stopped recycled)) {
        subtest "$mpm: $part" => sub { no strict 'refs'; &$part($mpm) };
    }
}
for my $part (qw(memory graceful_stop stop twice broken_config removed clients log_fifo)) {
    subtest $part => sub { no strict 'refs'; &$part((Harness->mpms)[0]) };
}
done_testing;

sub serve {
    my ($mpm, %arg) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('wsgi');
    $h->allow_log(qr/AH03490: scoreboard is full/); # Apache's own word on children that have requests to finish
    # Prefork starts its children one by one, and requests would wait before Apache.
    $h->start(conf => ($mpm eq 'prefork' ? "StartServers 16\nMinSpareServers 16\n" : '')
        . "DocumentRoot $app/public\nPassengerMaxInstances 4\n" . ($arg{conf} // ''));
    is $h->get('/')->status, 200, 'it serves' or diag $h->log_text;
    return $h;
}

sub apache_children { my ($h) = @_; grep { !$_->{helper} && $_->{exe} =~ m{/apache2} && $_->{ppid} == $h->{pid} } Proc::all() }

# F40, F41: reloads under load and during requests: all of them finish, and what is configured now is for those who come now.
sub graceful_busy {
    my ($mpm) = @_;
    my $h = serve($mpm);
    wait_for { my @r = answers(at_once($h, 4, '/slow?s=0.2')); $h->apps >= 4 } 'four processes', 15;
    quiet($h);
    my $began = counted($h, 'slow begins');
    my ($slow) = at_once($h, 1, '/slow?s=2');
    my $streaming = $h->client;
    $streaming->write_request('GET', '/stream?n=20&size=50&wait=0.1', Connection => 'close');
    my $upload = $h->client;
    my $body = join '', map { chr($_ * 31 % 256) } 1 .. 400_000;
    $upload->write_request('POST', '/', 'Content-Length' => length $body, Connection => 'close');
    $upload->send(substr $body, 0, 200_000);
    wait_for { counted($h, 'slow begins') > $began } 'a request in the application';
    my $visitor = Fault::Visitor->new($h, '/');
    $h->reconfigure("Header set X-Now yes\n$h->{conf}");
    $h->graceful;
    $upload->send(substr $body, 200_000, 100_000);
    $h->graceful;
    $upload->send(substr $body, 300_000);
    is $h->get('/')->header('X-Now'), 'yes', 'who comes now has the new configuration';
    is $upload->read_response('POST')->json->{sha1}, sha1_hex($body), 'an upload over two reloads arrives whole';
    my $r = $streaming->read_response('GET');
    ok $r->complete && length $r->body == 1000, 'a response over two reloads does too';
    is join('', answers($slow)), 200, '... and a slow one';
    my $seen = $visitor->finish;
    is $seen->{bad}, 0, "nobody else notices ($seen->{n} requests, the slowest $seen->{worst} s)" or diag $seen->{text};
    calm($h);
}

# F40: who has to do with an old child sends a body that is too long to be sent twice, over links whose core has forgotten at the reload what it knew.
sub graceful_late {
    my ($mpm) = @_;
    my $h = serve($mpm);
    answers(at_once($h, 16, '/slow?s=0.05')); # as many links are idle then
    my @late = map { $h->client } 1 .. 8;
    # Event closes connections that are idle at a reload.
    $mpm eq 'event' ? $_->send("POST / HTTP/1.1\r\n") : is $_->get('/')->status, 200, 'a client that stays' for @late;
    $h->graceful;
    $_->send(($mpm eq 'event' ? '' : "POST / HTTP/1.1\r\n") . "Host: localhost\r\nContent-Length: 300000\r\n\r\n" . 'x' x 300_000) for @late;
    is join(' ', map { $_->status == 200 ? $_->json->{length} : $_->status } map { $_->read_response('POST') } @late), join(' ', (300_000) x 8), 'they are served all the same';
}

# F45: a child of Apache is killed with requests: their clients see closed connections, nobody else anything, and the processes are free again.
sub child_killed {
    my ($mpm) = @_;
    my $h = serve($mpm);
    wait_for { my @r = answers(at_once($h, 4, '/slow?s=0.2')); $h->apps >= 4 } 'four processes', 15;
    quiet($h);
    my $began = counted($h, 'slow begins');
    my @clients = at_once($h, 4, '/slow?s=1');
    wait_for { counted($h, 'slow begins') == $began + 4 } 'four requests in the application', 5;
    my %before = map { $_->{pid} => 1 } apache_children($h);
    $h->allow_log(qr/AH00052: child pid \d+ exit signal (?:Killed|Segmentation fault)/, qr/PSG0156/);
    kill KILL => keys %before;
    my @seen = answers(@clients);
    ok !grep({ !/^(?:0|200)$/ } @seen), 'their clients see a closed connection' or diag "@seen";
    wait_for { my @now = grep { !$before{ $_->{pid} } } apache_children($h); @now } 'new children', 10;
    my $begin = time;
    soon { my $r = eval { $h->get('/') }; $r && $r->status == 200 } 'the next is served', 5;
    soon { my @r = answers(at_once($h, 4, '/slow?s=0.1')); "@r" eq '200 200 200 200' } '... and all processes serve', 8;
    is $h->get('/')->status, 200, 'it serves on';
    calm($h, slack => 6);
}

# F45b: a child of Apache is stopped: its clients wait, others do not.
sub child_stopped {
    my ($mpm) = @_;
    my $h = serve($mpm);
    quiet($h);
    my $began = counted($h, 'slow begins');
    my ($slow) = at_once($h, 1, '/slow?s=0.3');
    wait_for { counted($h, 'slow begins') > $began } 'a request in the application';
    # The child that has it: whoever has the connection.
    my ($inode) = map { my @f = split ' '; ($f[1] // '') =~ /:(\w+)$/ && hex $1 == $h->{port} && hex((split /:/, $f[2])[1]) == $slow->{sock}->sockport ? $f[9] : () }
        split /\n/, slurp('/proc/net/tcp');
    my ($child) = grep { my $pid = $_->{pid}; grep { /socket:\[$inode\]/ } Proc::fds($pid) } apache_children($h);
    ok $child, 'the child that has it' or return;
    kill STOP => $child->{pid};
    # A stopped child may be given connections all the same; the kernel decides.
    my @clients = at_once($h, 12, '/', timeout => 5);
    my $good = grep { $_ eq '200' } answers(@clients);
    cmp_ok $good, '>=', 4, "others are served ($good of 12)";
    kill CONT => $child->{pid};
    is $slow->read_response('GET')->body, "slow\n", 'and when it goes on its client has the answer';
    soon { $h->get('/')->status == 200 } 'it serves on', 5;
    calm($h, apps => 4, slack => 4);
}

# F46: children of Apache that end after a few connections, under load.
sub recycled {
    my ($mpm) = @_;
    my $h = serve($mpm, conf => 'MaxConnectionsPerChild 25');
    quiet($h);
    my %seen = map { $_->{pid} => 1 } apache_children($h);
    my @visitors = map { Fault::Visitor->new($h, '/', every => 0.005) } 1 .. 2;
    my $begin = time;
    wait_for { $seen{ $_->{pid} }++ for apache_children($h); time - $begin > 2.5 } undef, 4;
    my ($n, $bad, $text) = (0, 0, '');
    for (map { $_->finish } @visitors) { $n += $_->{n}; $bad += $_->{bad}; $text .= $_->{text} }
    is $bad, 0, "nobody notices ($n requests, " . keys(%seen) . ' children)' or diag $text;
    calm($h, apps => 4, slack => 4);
}

# F12: reloads leave nothing in the parent's memory.
sub memory {
    my ($mpm) = @_;
    my $h = serve($mpm);
    my $rss = sub { slurp("/proc/$_[0]/status") =~ /^VmRSS:\s+(\d+)/m ? $1 : 0 };
    # Without us too it grows at first.
    $h->graceful for 1 .. 4;
    my %before = map { $_ => $rss->($_) } $h->{pid}, $h->watchdog, $h->core;
    $h->graceful for 1 .. 8;
    my %name = ($h->{pid} => 'the parent', $h->watchdog => 'the watchdog', $h->core => 'the core');
    for my $pid (sort keys %before) {
        my $more = $rss->($pid) - $before{$pid};
        cmp_ok $more, '<', 600, "$name{$pid} has not grown by eight reloads ($more KiB)";
    }
}

# F42: graceful-stop with a request that takes longer than the limit: everything is gone soon after that.
sub graceful_stop {
    my ($mpm) = @_;
    my $h = serve($mpm, conf => 'GracefulShutdownTimeout 1');
    $h->allow_log(qr/AH0004[56]|PSG0(?:101|102|103|150|156|683)/);
    my ($short, $long) = map { at_once($h, 1, "/slow?s=$_") } 0.5, 300;
    wait_for { counted($h, 'slow begins') == 2 } 'two requests in the application', 5;
    my @ours = ($h->watchdog, $h->core, $h->apps);
    my $begin = time;
    $h->_control('graceful-stop');
    is join('', answers($short)), 200, 'a request that is over within the limit is finished';
    wait_for { $h->_gone } 'the end of Apache', 30;
    cmp_ok time - $begin, '<', 25, 'the other holds nothing up for ever';
    ok !grep({ Proc::alive($_) } @ours), 'nobody is left';
    is scalar(Proc::below($h->{root})), 0, '... at all' or diag explain [Proc::below($h->{root})];
    like join('', answers($long)), qr/^(?:50\d|0)!?$/, '... and its client is told';
}

# F43: stop while idle and while busy.
sub stop {
    my ($mpm) = @_;
    my $h = serve($mpm);
    my ($busy) = at_once($h, 1, '/slow?s=60');
    wait_for { counted($h, 'slow begins') } 'a request in the application';
    my @ours = ($h->watchdog, $h->core, $h->apps);
    $h->allow_log(qr/PSG0(?:101|102|150|156)/);
    within 6, 'stop is over soon', sub { $h->stop };
    ok !grep({ Proc::alive($_) } @ours), '... and nobody is left';
    like join('', answers($busy)), qr/^(?:200|50\d|0)!?$/, '... and the client is told';
    start_again($h);
    is $h->get('/')->status, 200, 'the next start is clean';
}

# F44: two reloads at once.
sub twice {
    my ($mpm) = @_;
    my $h = serve($mpm);
    quiet($h);
    my $pids = join ' ', $h->watchdog, $h->core, $h->apps;
    my $visitor = Fault::Visitor->new($h, '/');
    my $n = $h->started;
    kill USR1 => $h->{pid};
    my $begin = time;
    wait_for { time - $begin > 0.05 } undef, 1;
    kill USR1 => $h->{pid};
    wait_for { $h->started > $n } 'a reload', 10;
    my $seen = $visitor->finish;
    is $seen->{bad}, 0, "two reloads within a moment: nobody notices ($seen->{n} requests)" or diag $seen->{text};
    is $h->get('/')->status, 200, '... and it serves';
    is join(' ', $h->watchdog, $h->core, $h->apps), $pids, '... with the same processes';
    calm($h);
}

# F44: a reload with a broken configuration, as administrators do it.
sub broken_config {
    my ($mpm) = @_;
    my $h = serve($mpm);
    quiet($h);
    my $pids = join ' ', $h->watchdog, $h->core, $h->apps;
    my $good = $h->{conf};
    $h->reconfigure("PassengerMaxPoolSize many\n$good");
    my ($status, $out) = $h->apachectl('-k', 'graceful');
    isnt $status, 0, 'a broken configuration is refused';
    like $out, qr/PassengerMaxPoolSize/, '... with its line';
    is $h->get('/')->status, 200, '... and the old one serves';
    is join(' ', $h->watchdog, $h->core, $h->apps), $pids, '... with the same processes';
    $h->reconfigure($good);
    $h->graceful;
    is join(' ', $h->watchdog, $h->core, $h->apps), $pids, '... also after a reload with the good one';
    calm($h);
}

# F44: an application is taken out of the configuration while it works.
sub removed {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my ($one, $two) = map { $h->copy_app('wsgi', $_) } qw(one two);
    $h->start(conf => "PassengerPoolIdleTime 1\nPassengerMinInstances 0\n" . vhost('one', $one) . vhost('two', $two));
    is $h->get('/', Host => $_)->status, 200, "$_ serves" for qw(one two);
    my ($slow) = at_once($h, 1, '/slow?s=1.5', Host => 'two');
    wait_for { counted($h, 'slow begins') } 'a request in the application';
    $h->reconfigure("PassengerPoolIdleTime 1\nPassengerMinInstances 0\n" . vhost('one', $one));
    $h->graceful;
    is $h->get('/', Host => 'two')->json->{cwd} // '', $one, 'its name is not there any more';
    is $slow->read_response('GET')->body, "slow\n", 'the request in flight is finished';
    soon { !grep { $_->{cwd} eq $two } map { Proc::get($_) // () } $h->apps } '... and its processes go', 10;
    is $h->get('/', Host => 'one')->status, 200, 'the other one serves';
}

# F47: clients that leave: in the head, in the upload, in the queue, in the download, after the end.
sub clients {
    my ($mpm) = @_;
    my $h = serve($mpm, conf => 'PassengerMaxRequestQueueSize 50');
    wait_for { my @r = answers(at_once($h, 4, '/slow?s=0.2')); $h->apps >= 4 } 'four processes', 15;
    quiet($h);
    my %fields = (Host => 'localhost', Connection => 'close');
    for my $round (1 .. 5) {
        my @clients = map { $h->client } 1 .. 6;
        $clients[0]->send("GET / HTTP/1.1\r\nHo");
        $clients[1]->send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n\r\n" . 'x' x 250_000);
        $clients[2]->write_request('GET', '/slow?s=0.2');
        $clients[3]->write_request('GET', '/big?n=20000000');
        $clients[4]->write_request('GET', '/stream?n=50&size=10000&wait=0.01');
        $clients[5]->write_request('GET', '/');
        $clients[5]->read_response('GET');
        $_->_more(time + 2) for @clients[3, 4];
        push @clients, at_once($h, 10, '/slow?s=0.3');
        $_->close for @clients;
    }
    my $begin = time;
    is join(' ', answers(at_once($h, 4, '/'))), '200 200 200 200', 'after all that it serves';
    cmp_ok time - $begin, '<', 4, '... soon: nothing is done for those who left the queue';
    calm($h);
    my @kept = grep { m{:/tmp/[^ ]* \(deleted\)} && !m{/app-\d+ } } map { Proc::fds($_) } $h->watchdog, $h->core;
    ok !@kept, 'nothing of them is kept on disk' or diag "@kept";
}

# F39b: a log that nobody reads, and one on a full disk.
sub log_fifo {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('wsgi');
    my $fifo = "$h->{root}/logs/fifo";
    POSIX::mkfifo($fifo, 0666) or die "mkfifo: $!";
    open my $reader, '+<', $fifo or die "$fifo: $!";
    $h->start(conf => "DocumentRoot $app/public\nPassengerLogFile $fifo\nPassengerMaxInstances 1");
    is $h->get('/')->status, 200, 'it serves';
    # More than the pipe holds, and nobody takes it.
    my $c = $h->client(timeout => 5);
    my @status = map { my $r = eval { $h->client(timeout => 3)->get('/log?text=' . 'x' x 3000, Connection => 'close') }; $r ? $r->status : 0 } 1 .. 40;
    is scalar(grep { $_ == 200 } @status), 40, 'a log that nobody reads holds nobody up' or diag "@status";
    local $SIG{ALRM} = sub { };
    close $reader;
    is $h->get('/')->status, 200, '... and when its reader is gone it serves';
    ok $h->watchdog && $h->core, '... with watchdog and core';
    $h->reconfigure("DocumentRoot $app/public\nPassengerLogFile /dev/full\nPassengerMaxInstances 1");
    $h->graceful;
    is $h->get('/log?text=nowhere')->status, 200, 'a log on a full disk holds nobody up either';
}
