# The pool as visitors feel it: how many processes, who waits, who is refused, what a failed start looks like.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time);
use Digest::SHA qw(sha1_hex);
use Harness;

# Who has left is the module's to notice, and bodies are; the rest is the core's.
for (Harness->turns(qw(several limits failures slow_start idle)), map { my $mpm = $_; map { [$mpm, $_] } qw(queue uploads) } Harness->mpms) {
    my ($mpm, $part) = @$_;
    subtest "$mpm: $part" => sub { no strict 'refs'; &$part($mpm) };
}
done_testing;

# Sends requests at once on connections of their own; returns the clients.
sub at_once {
    my ($h, $n, $path, %field) = @_;
    return map { my $c = $h->client(timeout => 20); $c->write_request('GET', $path, Connection => 'close', %field); $c } 1 .. $n;
}

sub several {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('wsgi');
    $h->start(conf => "DocumentRoot $app/public\nPassengerMaxPoolSize 4\nPassengerMinInstances 2");
    my $begin = time;
    my @r = map { $_->read_response('GET') } at_once($h, 4, '/slow?s=1');
    is scalar(grep { $_->status == 200 } @r), 4, 'four slow requests at once';
    wait_for { $h->apps == 4 } 'four processes', 10;
    $begin = time;
    @r = map { $_->read_response('GET') } at_once($h, 4, '/slow?s=1');
    cmp_ok time - $begin, '<', 1.9, '... then serve four at the same time';
    @r = map { $_->read_response('GET') } at_once($h, 40, '/');
    is scalar(grep { $_->status == 200 } @r), 40, 'forty at once';
    is scalar($h->apps), 4, '... by no more than the limit';
}

sub limits {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my @app = map { $h->copy_app('wsgi', "app$_") } 1 .. 3;
    $h->start(conf => "PassengerMaxPoolSize 2\n"
        . join '', map { "<VirtualHost *>\nServerName app$_\nDocumentRoot $app[$_ - 1]/public\n</VirtualHost>\n" } 1 .. 3);
    for my $round (1 .. 2) {
        is $h->get('/', Host => "app$_")->status, 200, "round $round: application $_ of three in a pool of two" for 1 .. 3;
        cmp_ok scalar($h->apps), '<=', 2, '... which stays at two';
    }
    my @r = map { $_->read_response('GET') } map { at_once($h, 3, '/slow?s=0.2', Host => "app$_") } 1 .. 3;
    is scalar(grep { $_->status == 200 } @r), 9, 'all three at once: nobody starves';
}

sub queue {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('wsgi');
    # Prefork would otherwise start its children one by one, and the requests would queue before Apache.
    my $children = $mpm eq 'prefork' ? "StartServers 20\nMinSpareServers 20\n" : '';
    $h->start(conf => "${children}DocumentRoot $app/public\nPassengerMaxInstances 1\nPassengerMaxRequestQueueSize 3");
    is $h->get('/')->status, 200, 'it serves';
    my @c = at_once($h, 12, '/slow?s=0.5');
    my %status;
    $status{ $_->read_response('GET')->status }++ for @c;
    $h->allow_log(qr/PSG0111: queue\.full/);
    is $status{200}, 4, 'one is served, three wait';
    is $status{503}, 8, '... and the others are refused';
    is $h->get('/')->status, 200, '... and afterwards it serves';

    # Who has gone does not keep a place.
    my ($served) = at_once($h, 1, '/slow?s=2');
    wait_for { (() = $h->log_text =~ /slow begins/g) >= 5 } 'the first to be served';
    $_->close for at_once($h, 3, '/slow?s=2');
    my $begin = time;
    soon { $h->get('/')->status == 200 } 'visitors that left make room';
    cmp_ok time - $begin, '<', 6, '... and nothing is done for them';
}

sub failures {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my %app = (
        broken => "import nosuchmodule\n",
        wrong => "this is no python\n",
        mute => "import os\nos._exit(3)\n",
        none => "x = 1\n",
        loud => "import sys\nfor i in range(50000): print('noise' * 20, file=sys.stderr)\nimport nosuchthing\n",
    );
    my $conf = '';
    for my $name (sort keys %app) {
        my $dir = $h->make_app($name, { 'passenger_wsgi.py' => $app{$name} });
        $conf .= "<VirtualHost *>\nServerName $name\nDocumentRoot $dir/public\n</VirtualHost>\n";
        $conf .= "<VirtualHost *>\nServerName $name.friendly\nDocumentRoot $dir/public\nPassengerFriendlyErrorPages on\n</VirtualHost>\n";
    }
    $h->start(conf => "PassengerStatThrottleRate 0\n$conf");
    $h->allow_log(qr/PSG0113: spawn\.failed/);
    for my $name (sort keys %app) {
        my $r = $h->get('/', Host => $name);
        is $r->status, 500, "$name: a failed start is a 500";
        unlike $r->body, qr/nosuchmodule|Traceback|\Q$h->{root}\E/, '... that tells visitors nothing';
        like $r->header('Content-Type'), qr{^text/html}, '... in HTML';
    }
    $h->expect_log(qr/PSG0105: app\.output/, 'that somebody is loud');
    like $h->log_text, qr/nosuchthing/, '... and yet what is wrong';
    cmp_ok scalar(() = $h->log_text =~ /output: (?:noise){20}/g), '<', 2000, '... and not all of the noise';
    like $h->log_text, qr/nosuchmodule/, 'the log has the cause';
    like $h->get('/', Host => 'broken.friendly')->body, qr/nosuchmodule/, 'a friendly page has it too';

    # Not a process per request: the failure is remembered.
    my $starts = () = $h->log_text =~ /nosuchmodule/g;
    $h->get('/', Host => 'broken') for 1 .. 5;
    cmp_ok scalar(() = $h->log_text =~ /nosuchmodule/g), '<=', $starts + 2, 'requests in between are answered from memory';

    spew("$h->{root}/apps/broken/passenger_wsgi.py", slurp('t/apps/wsgi/passenger_wsgi.py'));
    spew("$h->{root}/apps/broken/tmp/restart.txt", '');
    my $r = wait_for { my $r = $h->get('/', Host => 'broken'); $r->status == 200 && $r } 'a repaired application', 10;
    ok $r && $r->json->{pid}, 'a repaired application serves';
}

sub slow_start {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $late = "import time\ntime.sleep(1.5)\n" . slurp('t/apps/wsgi/passenger_wsgi.py');
    my $never = "import time\ntime.sleep(1000)\n";
    my ($one, $two) = ($h->make_app('late', { 'passenger_wsgi.py' => $late }), $h->make_app('never', { 'passenger_wsgi.py' => $never }));
    $h->start(conf => "<VirtualHost *>\nServerName late\nDocumentRoot $one/public\n</VirtualHost>\n"
        . "<VirtualHost *>\nServerName never\nDocumentRoot $two/public\nPassengerStartTimeout 2\n</VirtualHost>");
    my @r = map { $_->read_response('GET') } at_once($h, 5, '/', Host => 'late');
    is scalar(grep { $_->status == 200 } @r), 5, 'requests wait for the first start';
    $h->allow_log(qr/PSG0113: spawn\.failed: .*spawn\.timeout/);
    my $begin = time;
    is $h->get('/', Host => 'never')->status, 500, 'a start that never ends is a 500';
    cmp_ok time - $begin, '<', 12, '... at its timeout';
    soon { !grep { "@{ $_->{cmdline} } $_->{cwd}" =~ /never/ } $h->processes } '... and its process is gone', 12;
}

sub idle {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('wsgi');
    $h->start(conf => "DocumentRoot $app/public\nPassengerMaxPoolSize 3\nPassengerPoolIdleTime 1\nPassengerMinInstances 1\nPassengerMaxRequests 5");
    $_->read_response('GET') for at_once($h, 3, '/slow?s=0.7');
    wait_for { $h->apps == 1 } 'idle processes go, but for one', 15;
    is scalar($h->apps), 1, 'one process is left';
    my %pid;
    for (1 .. 12) {
        my $pid = $h->get('/')->json->{pid} // 'none';
        wait_for { !grep { $_ eq $pid } $h->apps } 'PassengerMaxRequests replaces a process', 10 if ++$pid{$pid} == 5; # but not before its successor is there
    }
    ok !$pid{none}, 'no request failed';
    cmp_ok scalar(keys %pid), '>=', 2, 'PassengerMaxRequests replaces processes';
    ok !grep({ $_ > 5 } values %pid), '... after that many';
}

# Whose slowness is whose: a body that is buffered holds no process while it comes, one that is not reaches the application as it comes.
sub uploads {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my ($kept, $passed) = map { $h->copy_app('wsgi', $_) } qw(kept passed);
    $h->start(conf => "PassengerMaxInstances 1\n<VirtualHost *>\nServerName kept\nDocumentRoot $kept/public\n</VirtualHost>\n"
        . "<VirtualHost *>\nServerName passed\nDocumentRoot $passed/public\nPassengerBufferUpload off\n</VirtualHost>");
    for my $host (qw(kept passed)) {
        for my $size (5, 200_000, 6_000_000) {
            my $body = 'abcdefg' x ($size / 7);
            my $r = $h->post('/', $body, Host => $host);
            is $r->json->{sha1}, sha1_hex($body), "$host: a body of about $size bytes";
            my $chunked = join '', map { sprintf "%x\r\n%s\r\n", length, $_ } unpack '(A50000)*', $body;
            $r = $h->post('/', "${chunked}0\r\n\r\n", Host => $host, 'Transfer-Encoding' => 'chunked');
            is $r->json->{sha1}, sha1_hex($body), '... and in chunks';
        }
        my $body = 'abcdefg' x 100_000;
        is $h->post('/late?s=0.3', $body, Host => $host)->json->{sha1}, sha1_hex($body), "$host: all of it is there before any of it is read";
        for my $framing ([ 'Content-Length' => 200_000 ], [ 'Transfer-Encoding' => 'chunked' ]) {
            my $slow = $h->client(timeout => 10);
            my $chunk = sub { $framing->[0] eq 'Content-Length' ? $_[0] : sprintf "%x\r\n%s\r\n", length $_[0], $_[0] };
            $slow->write_request('POST', '/', Host => $host, @$framing);
            $slow->send($chunk->('x' x 150_000));
            if ($host eq 'kept') {
                is $h->get('/', Host => $host)->status, 200, "$host, $framing->[0]: others are served while a body comes slowly";
            }
            $slow->send($chunk->('y' x 50_000) . ($framing->[0] eq 'Content-Length' ? '' : "0\r\n\r\n"));
            my $r = $slow->read_response('POST');
            is $r->json->{sha1}, sha1_hex('x' x 150_000 . 'y' x 50_000), "$host, $framing->[0]: ... which arrives whole";
        }
        is $h->get('/', Host => $host)->status, 200, "$host: it serves on";
    }
}
