# The socket for administrators and the tools that use it: who sees and may do what, what hostile callers achieve, what is printed.
use strict;
use warnings;
use lib 't/lib';
use IO::Socket::UNIX;
use JSON::PP;
use POSIX ();
use Test::More;
use Time::HiRes qw(time);
use Attack qw(as_user become);
use Harness;

plan skip_all => 'there is nobody to become without root' if $>;

my $build = $ENV{PASSENGER_BUILD} // 'build';
my $mpm = (Harness->mpms)[0];
# Two owners of applications, somebody who has none, and Apache's user.
my ($alice, $bob, $carol) = map { Harness->app_user($_) } 0 .. 2;

subtest $_ => sub { no strict 'refs'; &$_() } for $ENV{PARTS} ? split(' ', $ENV{PARTS}) : qw(rights hostile status restart wait_for_code detach memory tools instances);
done_testing;

# An Apache with applications: name => owner. Every one is visited, so that it runs.
sub start {
    my ($apps, %arg) = @_;
    my $h = Harness->new(mpm => $mpm, %arg);
    my $conf = "PassengerMaxPoolSize 8\nPassengerStatThrottleRate 1\n";
    for my $name (sort keys %$apps) {
        my $dir = $h->copy_app('wsgi', $name, owner => $apps->{$name});
        $conf .= "<VirtualHost *>\n    ServerName $name\n    DocumentRoot $dir/public\n</VirtualHost>\n";
    }
    $h->start(conf => $conf . ($arg{conf} // ''));
    mkdir "$h->{root}/bin";
    system('cp', (map { "$build/passenger-$_" } qw(status config memory-stats)), "$h->{root}/bin") == 0 or die 'cp';
    is $h->get('/', Host => $_)->status, 200, "$_ runs" for sort keys %$apps;
    # Whose a folder is, is known after a look at it.
    soon { !grep { !defined $_->{owner} } @{ pool($h)->{groups} } } 'owners are known';
    return $h;
}

sub socket_of { my ($h) = @_; (glob "$h->{root}/registry/*/admin")[0] }

sub connected { my ($h) = @_; my $s = IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => socket_of($h)); $s && $s->autoflush(1); $s }

# Sends bytes; what comes back until the other side closes.
sub raw {
    my ($h, $user, $bytes) = @_;
    return as_user($user, sub {
        my $s = connected($h) or return 'not connected';
        print $s $bytes;
        local $/;
        return scalar(<$s>) // '';
    });
}

# (status, body as it is, body as JSON)
sub call {
    my ($h, $user, $method, $path, $body) = @_;
    $body = encode_json($body) if ref $body;
    $body //= '';
    my $reply = raw($h, $user, "$method $path HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: " . length($body) . "\r\n\r\n$body");
    my ($head, $text) = split /\r\n\r\n/, $reply, 2;
    my ($status) = $head =~ m{^HTTP/1\.1 (\d+) } or return (0, $reply, undef);
    return ($status, $text, $head =~ m{application/json} ? decode_json($text) : undef);
}
sub pool { my ($h, $user) = @_; (call($h, $user // 'root', 'GET', '/pool.json'))[2] }
sub group_of { my ($h, $name, $user) = @_; (grep { $_->{app_root} =~ m{/\Q$name\E$} } @{ pool($h, $user)->{groups} })[0] }

# Runs a tool as a user: (exit code, stdout, stderr).
sub tool {
    my ($h, $user, $command, %arg) = @_;
    my ($out, $err) = ("$h->{root}/logs/out.$$", "$h->{root}/logs/err.$$");
    my ($uid, $gid) = (getpwnam $user)[2, 3];
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', $arg{stdout} // $out;
        open STDERR, '>', $err;
        close STDOUT if $arg{closed};
        chdir($arg{cwd} // '/') or POSIX::_exit(126);
        become($uid, $gid);
        %ENV = (PATH => '/usr/bin:/bin', PASSENGER_INSTANCE_REGISTRY_DIR => "$h->{root}/registry", ASAN_OPTIONS => 'detect_leaks=0', %{ $arg{env} // {} });
        my ($program, @rest) = @$command;
        exec { "$h->{root}/bin/passenger-$program" } $arg{argv0} // "passenger-$program", @rest or POSIX::_exit(127);
    }
    waitpid $pid, 0;
    my $status = $?;
    my @text = map { slurp($_) } $out, $err;
    unlink $out, $err;
    return ($status & 127 ? "signal $status" : $status >> 8, @text);
}

# -- who sees and may do what

sub rights {
    my $h = start({ shop => $alice, blog => $bob });
    my ($core, $dir) = ($h->core, (glob "$h->{root}/registry/*")[0]);
    my %sees = (root => 'blog shop', $alice => 'shop', $bob => 'blog', $carol => '');
    my @questions = qw(/pool.txt /pool.xml /pool.json /server.json /requests.json);
    for my $user ('root', 'www-data', $alice, $bob, $carol) {
        for my $path (qw(/ping.json /version.json /info.json)) {
            is((call($h, $user, 'GET', $path))[0], 200, "$user: $path");
        }
        for my $path (@questions) {
            my ($status, $text, $json) = call($h, $user, 'GET', $path);
            is $status, $user eq 'www-data' ? 403 : 200, "$user: $path";
            for my $name (qw(shop blog)) {
                next if ($sees{$user} // '') =~ /$name/;
                unlike $text, qr/$name/, "$user: $path says nothing of $name";
            }
        }
        next if $user eq 'www-data';
        my $pool = pool($h, $user);
        my @names = sort map { $_->{app_root} =~ s{.*/}{}r } @{ $pool->{groups} };
        is "@names", $sees{$user}, "$user sees what is theirs";
        is $pool->{group_count}, scalar(@names), "$user: the number of groups";
        is $pool->{process_count}, scalar(@names), "$user: the number of processes";
        is((call($h, $user, 'GET', '/server.json'))[2]{processes}, scalar(@names), "$user: the same of the server");
    }
    my ($shop, $blog) = map { group_of($h, $_) } qw(shop blog);
    is $shop->{owner}, scalar(getpwnam $alice), 'whose an application is';
    is $shop->{processes}[0]{pid}, $h->get('/', Host => 'shop')->json->{pid}, 'its process';
    is $shop->{processes}[0]{uid}, scalar(getpwnam $alice), '... and whom it runs as';
    cmp_ok $shop->{processes}[0]{sticky_id}, '>', 0, '... and its number in cookies';

    # Orders: who may not give one hears of no such thing, and nothing happens.
    my ($name, $pid) = ($shop->{name}, $shop->{processes}[0]{pid});
    for my $user ('www-data', $bob, $carol) {
        my @answer = call($h, $user, 'POST', '/pool/restart_app_group.json', { name => $name });
        my @none = call($h, $user, 'POST', '/pool/restart_app_group.json', { name => 'no such name' });
        is "$answer[0] $answer[1]", "$none[0] $none[1]", "$user: a restart of another's application is like one of none";
        @answer = call($h, $user, 'POST', '/pool/detach_process.json', { pid => $pid });
        @none = call($h, $user, 'POST', '/pool/detach_process.json', { pid => 999_999_999 });
        is "$answer[0] $answer[1]", "$none[0] $none[1]", "$user: so is the end of another's process";
        is $answer[0], $user eq 'www-data' ? 403 : 200, "$user: ... with that status";
    }
    is group_of($h, 'shop')->{generation}, $shop->{generation}, 'nothing has happened';
    is $h->get('/', Host => 'shop')->json->{pid}, $pid, '... the same process answers';
    my (undef, undef, $done) = call($h, $alice, 'POST', '/pool/restart_app_group.json', { name => $name });
    ok $done->{restarted}, 'the owner restarts it';
    cmp_ok $done->{generation}, '>', $shop->{generation}, '... into another generation';
    soon { my $r = $h->get('/', Host => 'shop'); $r->status == 200 && $r->json->{pid} != $pid } '... and has another process';
    is group_of($h, 'blog')->{generation}, $blog->{generation}, '... the neighbour stays';

    # Whom the kernel does not name does not get in.
    is sprintf('%o', (stat socket_of($h))[2] & 0777), '666', 'everybody may connect';
    is $h->core, $core, 'the core has lived through all that';
    ok $dir && $h->kill_core, 'it is killed';
    $h->allow_log('PSG0013');
    soon { my $c = $h->core; $c && $c != $core && (call($h, $alice, 'GET', '/pool.json'))[0] == 200 } 'the next one serves the same socket';
    soon { my $g = group_of($h, 'shop', $alice); $g && @{ $g->{processes} } == 1 } '... and knows the owner of what it took over';
    $h->finish;
}

# -- hostile callers

sub hostile {
    my $h = start({ shop => $alice }, conf => "PassengerMaxInstancesPerApp 1\n");
    my $core = $h->core;
    $h->get('/', Host => 'shop');
    # Links from Apache come and go; a few are allowed for.
    $h->wrk('/', connections => 8, duration => 1)->finish;
    $h->baseline;
    my $order = '/pool/restart_app_group.json';
    my %status = (
        'a body of 100 MB' => [413, "POST $order HTTP/1.1\r\nContent-Length: 104857600\r\n\r\n" . 'x' x 104857600],
        'a body one byte too long' => [413, "POST $order HTTP/1.1\r\nContent-Length: 131073\r\n\r\n"],
        'a body without a length' => [411, "POST $order HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"],
        'two lengths' => [400, "POST $order HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"],
        'a negative length' => [400, "POST $order HTTP/1.1\r\nContent-Length: -5\r\n\r\nhello"],
        'a length beyond all numbers' => [400, "POST $order HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n"],
        'a hundred thousand levels' => [422, http("POST $order", '[' x 100_000)],
        'levels of objects' => [422, http("POST $order", '{"a":' x 20_000)],
        'duplicate keys' => [422, http("POST $order", '{"name": "a", "name": "b"}')],
        'no JSON' => [422, http("POST $order", 'name=a')],
        'an endless head' => [431, "GET /ping.json HTTP/1.1\r\nA: " . 'x' x 40_000],
        'many fields' => [400, "GET /ping.json HTTP/1.1\r\n" . "A: b\r\n" x 4000],
        'no HTTP' => [400, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"],
        'another version' => [400, "GET / HTTP/2.0\r\n\r\n"],
        'a folded field' => [400, "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n"],
        'a path with NUL' => [400, "GET /pool.json\0 HTTP/1.1\r\n\r\n"],
        'no such path' => [404, http('GET /pool/../pool.json', '')],
        'no such method' => [405, http('BREW /pool.json', '')],
    );
    for my $what (sort keys %status) {
        like raw($h, $alice, $status{$what}[1]), qr{^HTTP/1\.1 $status{$what}[0] .*"message":"}s, "$what: $status{$what}[0]";
    }
    is $h->core, $core, 'the same core';

    # One connection, several requests, in pieces and at once.
    my $answers = as_user($alice, sub {
        my $s = connected($h);
        print $s "GET /ping.json HTTP/1.1\r\n\r\nGET /version.json HTTP/1.1\r\n\r\nGET /pi";
        select undef, undef, undef, 0.1;
        print $s "ng.json HTTP/1.1\r\nConnection: close\r\n\r\n";
        local $/;
        return scalar <$s>;
    });
    is scalar(() = $answers =~ m{HTTP/1\.1 200 OK}g), 3, 'a connection is kept for more requests';

    # Slow ones are dropped, the time being counted for the whole of a request.
    my $begun = time;
    my $slow = as_user($alice, sub {
        my $s = connected($h);
        for my $byte (split //, "GET /ping.json HTTP/1.1\r\nX: " . 'x' x 200) {
            print $s $byte or last;
            my $bits = '';
            vec($bits, fileno $s, 1) = 1;
            last if select $bits, undef, undef, 0.1;
        }
        return 'over';
    });
    my $took = time - $begun;
    ok $slow eq 'over' && $took > 8 && $took < 30, 'a slow caller has ten seconds' or diag "$slow after $took s";

    # A crowd: one user's does not keep out others, nor visitors.
    my $load = $h->wrk('/', connections => 4, duration => 3);
    my $crowd = as_user($alice, sub {
        my @s = map { connected($h) // () } 1 .. 200;
        my $other = '';
        for my $s (@s) { local $SIG{ALRM} = sub { die "slow\n" }; print $s "GET /ping.json HTTP/1.1\r\n\r\n" }
        my %n;
        for my $s (@s) {
            my $line = <$s> // 'closed';
            $n{ $line =~ /(\d\d\d)/ ? $1 : $line }++;
        }
        return join ' ', map { "$_:$n{$_}" } sort keys %n;
    });
    like $crowd, qr/^200:8 429:192$/, 'two hundred connections of one user: eight are served';
    is((call($h, $bob, 'GET', '/ping.json'))[0], 200, 'another user is served');
    my @crowds = map { crowd($h, $_) } $alice, $bob, $carol, 'nobody';
    is((call($h, 'backup', 'GET', '/ping.json'))[0], 503, 'many users together can be too many');
    is((call($h, 'root', 'GET', '/pool.json'))[0], 200, '... but not for root');
    for (@crowds) { kill KILL => $_; waitpid $_, 0 }
    is $load->finish->{bad}, 0, 'visitors notice nothing';

    # Asked all the time, while requests come and go.
    $load = $h->wrk('/', connections => 8, duration => 3);
    my $until = time + 3;
    my $asked = as_user($alice, sub {
        my $n = 0;
        for (my $i = 0; time < $until; $i++) {
            my ($status) = call($h, $alice, 'GET', (qw(/pool.json /requests.json /pool.txt /pool.xml /server.json))[$i % 5]);
            return "status $status" if $status != 200;
            $n++;
        }
        return $n;
    });
    like $asked, qr/^[1-9]\d+$/, 'every question is answered under load';
    is $load->finish->{bad}, 0, '... and every visitor';

    # Who hangs up in the middle.
    for my $bytes ('', 'GET', "POST $order HTTP/1.1\r\nContent-Length: 100\r\n\r\n{", http('GET /pool.json', '')) {
        as_user($alice, sub { my $s = connected($h); print $s $bytes; close $s; '' });
    }
    is((call($h, $alice, 'GET', '/ping.json'))[0], 200, 'after all that it answers');
    is $h->core, $core, '... the same core';
    $h->check_baseline(12);
    $h->finish;
}

# A process that holds as many connections as one user may have; its pid.
sub crowd {
    my ($h, $user) = @_;
    my ($uid, $gid) = (getpwnam $user)[2, 3];
    pipe my $in, my $out or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        close $in;
        $SIG{PIPE} = 'IGNORE';
        become($uid, $gid);
        my @s = map { connected($h) // () } 1 .. 8;
        for my $s (@s) { print $s "GET /ping.json HTTP/1.1\r\n\r\n"; readline $s }
        close $out;
        POSIX::pause() while 1;
    }
    close $out;
    my $wait = <$in>;
    return $pid;
}

sub http { my ($line, $body) = @_; "$line HTTP/1.1\r\nConnection: close\r\nContent-Length: " . length($body) . "\r\n\r\n$body" }

# -- passenger-status

sub status {
    my $h = start({ shop => $alice, blog => $bob });
    my ($code, $out, $err) = tool($h, 'root', ['status']);
    is $code, 0, 'passenger-status' or diag $err;
    like $out, qr{^Version : \d+\.\d+\.\d+\nDate    : \d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\nInstance: \w{8} \(Apache/2[^\n]+\)\n\n}, '... begins with a header';
    like $out, qr{\n----------- General information -----------\nMax pool size : 8\nApp groups    : 2\nProcesses     : 2\nRequests in top-level queue : 0\n\n}, '... counts';
    like $out, qr{\n----------- Application groups -----------\n}, '... lists';
    my $item = qr{  Requests in queue: 0\n  \* PID: \d+ +Sessions: 0       Processed: 1       Uptime: \d+s\n    CPU: \d+% +Memory  : \d+M +Last used: \d+s ago\n\n};
    like $out, qr{\n\Q$h->{root}\E/apps/$_\b[^\n]*:\n  App root: \Q$h->{root}\E/apps/$_\n$item}, "... shows $_" for qw(shop blog);
    (undef, $out) = tool($h, $alice, ['status', '--no-header']);
    like $out, qr{^----------- General}, 'without a header';
    like $out, qr{App groups    : 1\n}, '... by an owner';
    unlike $out, qr/blog/, '... who sees nothing else';
    (undef, $out) = tool($h, $alice, ['status', '-v', '--force-colors']);
    like $out, qr{Startup file: passenger_wsgi.py.*Sticky id: \d+}s, 'more, when asked';
    (undef, $out) = tool($h, $alice, ['status', '--show=json']);
    is decode_json($out)->{group_count}, 1, 'as JSON';
    (undef, $out) = tool($h, $alice, ['status', '--show', 'xml']);
    spew("$h->{root}/status.xml", $out);
    is `/usr/bin/python3 -c 'import sys, xml.etree.ElementTree as e; print(e.parse(sys.argv[1]).findtext("supergroups/supergroup/group/processes/process/pid"))' $h->{root}/status.xml`,
        group_of($h, 'shop')->{processes}[0]{pid} . "\n", 'as XML';
    like $out, qr{\A<\?xml [^\n]+\n<info version="3">\n  <passenger_version>[^\n]+\n.*\n {12}<pid>\d+</pid>\n.*\n {12}<process_group_id>\d+</process_group_id>\n.*\n</info>\n\z}s, '... an element a line';
    (undef, $out) = tool($h, 'root', ['status', '--show=server']);
    is decode_json($out)->{pid}, $h->core, 'the server';
    my $c = $h->client;
    $c->write_request('GET', '/slow?s=3', Host => 'shop');
    my $request = wait_for { (grep { $_->{uri} eq '/slow?s=3' } @{ decode_json((tool($h, $alice, ['status', '--show=requests']))[1])->{requests} })[0] } 'the request';
    is "$request->{state} $request->{method} $request->{host}", 'serving GET shop', 'a request that is served';
    is $request->{pid}, group_of($h, 'shop')->{processes}[0]{pid}, '... by that process';
    my $c2 = $h->client;
    $c2->write_request('GET', '/slow?s=0', Host => 'shop');
    is_deeply decode_json((tool($h, $bob, ['status', '--show=requests']))[1])->{requests}, [], '... is nothing to others';
    is $c->read_response('GET')->status, 200, '... and is answered';

    # Exit codes.
    ($code, $out, $err) = tool($h, 'www-data', ['status']);
    is $code, 2, 'Apache\'s user: permission denied';
    like $err, qr{^passenger-status: [^\n]+\n\z}, '... in one line';
    ($code, undef, $err) = tool($h, 'root', ['status', '--bogus']);
    is $code, 1, 'an option that is none';
    like $err, qr{^passenger-status: [^\n]+\n\z}, '... one line';
    is((tool($h, 'root', ['status', "--show=$_"]))[0], 1, "no such view: $_") for 'backtraces', '';
    is((tool($h, 'root', ['status', 'zzz']))[0], 1, 'no such instance');
    ($code, $out) = tool($h, 'root', ['status', '--help']);
    ok $code == 0 && $out =~ /^Usage: passenger-status /, '--help';
    my ($name) = socket_of($h) =~ m{/instance-(\w+)/};
    is((tool($h, 'root', ['status', substr $name, 0, 4]))[0], 0, 'an instance by the beginning of its name');
    $h->finish;
}

# -- restarts

sub restart {
    my $h = start({ shop => $alice, shopping => $alice, blog => $bob });
    my $apps = "$h->{root}/apps";
    my %pid = map { $_ => $h->get('/', Host => $_)->json->{pid} } qw(shop shopping blog);
    # A test: which applications have other processes after this command.
    my $restarts = sub {
        my ($user, $arguments, $want, $what, %arg) = @_;
        my ($code, $out, $err) = tool($h, $user, ['config', 'restart-app', @$arguments], %arg);
        my %now;
        my $same = wait_for { $now{$_} = $h->get('/', Host => $_)->json->{pid} for keys %pid; join(' ', grep { $now{$_} != $pid{$_} } sort keys %pid) eq $want } undef, $want ? 10 : 0.5;
        ok $same, $what or diag "exit $code, changed: ", join(' ', grep { $now{$_} != $pid{$_} } sort keys %pid), "\n$out$err";
        %pid = %now;
        return ($code, $out, $err);
    };
    my ($code, $out, $err) = $restarts->($alice, ["$apps/shop"], 'shop', 'an application by its folder');
    is $code, 0, '... and success';
    like $out, qr{^Restarting \Q$apps\E/shop\b[^\n]*\n\z}, '... is said';
    $restarts->($alice, ["$apps/shop/"], 'shop', 'with a slash');
    $restarts->($alice, ['.'], 'shopping', 'the current folder', cwd => "$apps/shopping");
    $restarts->($alice, ['../shop'], 'shop', 'a relative one', cwd => "$apps/shopping");
    symlink "$apps/shop", "$h->{root}/current";
    $restarts->($alice, ["$h->{root}/current"], 'shop', 'through a link');
    $restarts->($alice, [$apps], 'shop shopping', 'all of one\'s own below a folder');
    $restarts->('root', ['/', '--blocking-restart'], 'blog shop shopping', 'all there are');
    $restarts->($alice, ['--name', group_of($h, 'shop')->{name}, '--rolling-restart'], 'shop', 'by its name');
    for my $none (["$apps/sho"], ["$apps/blog"], ["$apps/shop/public"], ['--name', 'shop'], ['--name', group_of($h, 'blog')->{name}]) {
        ($code, undef, $err) = $restarts->($alice, $none, '', "nothing for @$none");
        is $code, 1, '... and failure';
        like $err, qr{^passenger-config: no application of yours runs [^\n]+\n\z}, '... is said';
        is((tool($h, $alice, ['config', 'restart-app', '--ignore-app-not-running', @$none]))[0], 0, '... unless that does not matter');
    }
    ($code, undef, $err) = $restarts->($alice, [], '', 'no menu without a terminal');
    is $code, 1, '... but failure';
    for my $bad (['--rolling-restart', '--blocking-restart', '/'], ['a', 'b'], ['--name', 'x', 'y'], ['--wait-limit', 'x', '/'], ['--bogus'], ['--name']) {
        ($code, $out, $err) = $restarts->('root', $bad, '', "nonsense: @$bad");
        is $code, 1, '... failure';
        like $err, qr{^passenger-config: [^\n]+\n\z}, '... in one line';
    }
    # On a terminal it asks. The order of the menu is the pool's.
    my @names = map { $_->{name} } @{ pool($h)->{groups} };
    my ($number) = grep { $names[$_ - 1] =~ m{/shopping\b} } 1 .. @names;
    my $menu = "PASSENGER_INSTANCE_REGISTRY_DIR=$h->{root}/registry script -qec '$h->{root}/bin/passenger-config restart-app' /dev/null";
    like `echo 0 | $menu`, qr/ 1\) \Q$names[0]\E\r?\n.*nothing was restarted/s, 'a menu on a terminal';
    like `echo x | $menu`, qr/nothing was restarted/, '... takes nonsense for none';
    like `echo $number | $menu`, qr{Restarting \Q$h->{root}\E/apps/shopping\b}, '... and restarts what is chosen';
    wait_for { $h->get('/', Host => 'shopping')->json->{pid} != $pid{shopping} } 'another process';
    $pid{shopping} = $h->get('/', Host => 'shopping')->json->{pid};
    ($code, undef, $err) = tool($h, 'www-data', ['config', 'restart-app', '/']);
    is $code, 2, 'Apache\'s user may not';

    # Visitors do not notice a rolling restart.
    my $load = $h->wrk('/', connections => 8, duration => 3);
    is((tool($h, $alice, ['config', 'restart-app', '--rolling-restart', '--wait', "$apps/blog"]))[0], 1, 'not another\'s');
    is((tool($h, $bob, ['config', 'restart-app', '--rolling-restart', '--wait', "$apps/blog"]))[0], 0, 'one\'s own, under load');
    is $load->finish->{bad}, 0, '... no visitor notices';
    $h->finish;
}

sub wait_for_code {
    my $h = start({ shop => $alice });
    my $dir = "$h->{root}/apps/shop";
    my $good = slurp("$dir/passenger_wsgi.py");
    my $pid = $h->get('/', Host => 'shop')->json->{pid};
    my ($code, $out, $err) = tool($h, $alice, ['config', 'restart-app', '--wait', $dir]);
    is $code, 0, 'new code that starts' or diag $err;
    like $out, qr{: the new code serves\n\z}, '... is said to serve';
    isnt $h->get('/', Host => 'shop')->json->{pid}, $pid, '... and does';
    spew("$dir/passenger_wsgi.py", "this is no Python\n");
    $h->allow_log('PSG0113', 'PSG0117', qr/App \d+ output/);
    ($code, $out, $err) = tool($h, $alice, ['config', 'restart-app', '--rolling-restart', '--wait', $dir]);
    is $code, 1, 'new code that does not start' or diag $out;
    like $err, qr{^passenger-config: [^\n]*\(error id \w+\); the code from before goes on serving\n\z}, '... is said in one line' or diag $err;
    is $h->get('/', Host => 'shop')->status, 200, '... the old code answers';
    (undef, $out) = tool($h, $alice, ['status']);
    like $out, qr{\(failed to start on [^\n]+; the code from before goes on serving\)\n  Error id: \w+\n    \| .*SyntaxError}s, '... and the status has the reason';
    spew("$dir/passenger_wsgi.py", $good);
    ($code, undef, $err) = tool($h, $alice, ['config', 'restart-app', '--wait', $dir]);
    is $code, 0, 'mended code starts' or diag $err;
    is group_of($h, 'shop')->{failure}, undef, '... and the failure is forgotten';
    spew("$dir/passenger_wsgi.py", "import time\ntime.sleep(5)\n$good");
    my $begun = time;
    ($code, undef, $err) = tool($h, $alice, ['config', 'restart-app', '--rolling-restart', '--wait', '--wait-limit', 1, $dir]);
    ok $code == 1 && $err =~ /did not serve within/ && time - $begun < 4, 'what takes too long is not waited for';
    wait_for { my $g = group_of($h, 'shop'); grep { $_->{state} eq 'ready' && $_->{generation} == $g->{generation} } @{ $g->{processes} } } 'it starts in the end', 20;
    spew("$dir/passenger_wsgi.py", $good);
    $h->finish;
}

sub detach {
    my $h = start({ shop => $alice });
    my $pid = $h->get('/', Host => 'shop')->json->{pid};
    my $c = $h->client;
    $c->write_request('GET', '/slow?s=1', Host => 'shop');
    wait_for { group_of($h, 'shop')->{processes}[0]{sessions} == 1 } 'the request';
    my ($code, $out, $err) = tool($h, $bob, ['config', 'detach-process', $pid]);
    is $code, 1, 'another user ends nothing';
    is((tool($h, $bob, ['config', 'detach-process', '--ignore-nonexistant-pid', $pid]))[0], 0, '... unless that does not matter');
    ($code, $out) = tool($h, $alice, ['config', 'detach-process', $pid]);
    is $code, 0, 'the owner ends a process';
    is $c->read_response('GET')->status, 200, '... after its request';
    soon { !Proc::alive($pid) } '... and it is gone';
    isnt $h->get('/', Host => 'shop')->json->{pid}, $pid, '... another takes its place';
    is((tool($h, $alice, ['config', 'detach-process', @$_]))[0], 1, "not a process: @$_") for ['x'], [], [1, 2], ['-5'], ['1'], [$pid], [$$];
    $h->finish;
}

# As seen by monitoring scripts, which look for the three titles and the sums, and by the columns of a line.
sub memory {
    my $h = start({ shop => $alice, blog => $bob });
    my %pid = map { $_ => group_of($h, $_)->{processes}[0]{pid} } qw(shop blog);
    my ($code, $out, $err) = tool($h, 'root', ['memory-stats', '--force-colors']);
    is "$code$err", 0, 'memory-stats';
    my ($head, %part) = split /^-+ (Apache|Nginx|Passenger) processes -+\n/m, $out;
    like $head, qr{\AVersion: \d+\.\d+\.\d+\nDate   : [^\n]+\n\n\z}, '... has a head';
    my $table = qr{\APID +(?:PPID +)?VMSize +Private +Name\n-+\n((?:\d+ [^\n]+\n)+)### Processes: (\d+)\n### Total private dirty RSS: (\d+\.\d\d) MB\n\s*\z};
    for my $what (qw(Apache Passenger)) {
        my ($rows, $count, $sum) = $part{$what} =~ $table or fail "$what has a table" or diag $part{$what};
        my @private = map { (split)[$what eq 'Apache' ? 4 : 3] } split /\n/, $rows;
        is scalar(@private), $count, "$what: the number";
        my $total = 0;
        $total += $_ for @private;
        cmp_ok abs($total - $sum), '<=', 0.06 * @private, '... and the sum';
    }
    like $part{Nginx}, qr{\n### Total private dirty RSS: [\d.]+ MB\n\s*\z}, 'Nginx';
    like $part{Passenger}, qr{^$pid{$_} +[\d.]+ MB +[\d.]+ MB +\S*python3[^\n]* \S+/wsgi-loader\.py$}m, "the application $_" for qw(shop blog);
    like $part{Passenger}, qr{^@{[ $h->core ]} .*/passenger-helper core}m, 'the core';
    like $part{Apache}, qr{^\d+ +\d+ .*/apache2 -d \Q$h->{root}\E }m, 'Apache';
    ($code, $out, $err) = tool($h, $alice, ['memory-stats', '--no-apache', '--no-nginx']);
    like $out, qr{^$pid{shop} +[\d.]+ MB +[\d.]+ MB }m, "an owner sees what is theirs";
    like $out, qr{^$pid{blog} +[\d.]+ MB +\? .*^### Total private dirty RSS: [\d.]+ MB \(\?\)\n\z}ms, '... and not what others\' processes have of their own';
    like "$code$err", qr{^0passenger-memory-stats: [^\n]+ root's to see\n\z}, '... which is said';
    unlike $out, qr/Apache|Nginx/, '... without what they did not want';
    is((tool($h, 'root', ['memory-stats', $_]))[0], 1, "not: $_") for '--bogus', 'shop';
    $h->finish;
}

# -- the tools as programs

sub tools {
    my $h = start({ shop => $alice });
    my $core = $h->core;
    # Whose folder and variables are somebody else's.
    my $trap = "$h->{root}/trap";
    mkdir $trap;
    for my $name (qw(apxs apache2 ruby python3 sh uname id stty)) { spew("$trap/$name", "#!/bin/sh\ntouch $trap/sprung\n"); chmod 0755, "$trap/$name" }
    spew("$trap/$_", "no library\n") for qw(libjansson.so.4 libapr-1.so.0 libc.so.6);
    chmod 0777, $trap;
    my %env = (PATH => ".:$trap", LANG => '../../trap', LC_ALL => "xx_YY.\x1b[31m", TMPDIR => $trap, HOME => $trap, IFS => '/', TZ => ':/trap', ENV => "$trap/sh", TERM => '../trap', COLUMNS => -1);
    for my $command (['status'], ['config', 'restart-app', "$h->{root}/apps/shop"], ['config', 'list-instances'], ['config', 'api-call', 'GET', '/ping.json']) {
        my ($code, $out, $err) = tool($h, $alice, $command, cwd => $trap, env => \%env, argv0 => "\x1b[31m/../x");
        is $code, 0, "@$command in a hostile place" or diag $err;
        unlike "$out$err", qr/\x1b/, '... prints nothing of it';
    }
    ok !-e "$trap/sprung", 'no program from there was run';
    unlike `readelf -d $h->{root}/bin/passenger-config`, qr/R(?:UN)?PATH/, 'libraries come from the system only';

    # Output that cannot be written.
    for my $command (['status'], ['status', '--help'], ['memory-stats'], ['config', 'list-instances', '--json'], ['config', 'about', 'version'], ['config', '--help'], ['config', 'api-call', 'GET', '/pool.json']) {
        for my $how ([closed => 1], [stdout => '/dev/full']) {
            my ($code, undef, $err) = tool($h, 'root', $command, @$how);
            is $code, 1, "@$command, $how->[0] $how->[1]";
            like $err, qr{^passenger-[\w-]+: [^\n]+\n\z}, '... one line';
        }
    }
    # A reader that goes away.
    my $err = "$h->{root}/logs/pipe";
    my $status = `PASSENGER_INSTANCE_REGISTRY_DIR=$h->{root}/registry bash -c '$h->{root}/bin/passenger-status 2>$err | (exec 0<&-; true); echo \${PIPESTATUS[0]}'`;
    like $status, qr/^[01]$/, 'a pipe that is closed is no signal';

    # Killed or stopped in the middle of a call.
    $h->baseline;
    for my $signal (qw(KILL STOP)) {
        my $pid = fork // die;
        if (!$pid) {
            my $s = connected($h);
            print $s "POST /pool/restart_app_group.json HTTP/1.1\r\nContent-Length: 30\r\n\r\n{\"name\": ";
            kill $signal, $$;
            POSIX::_exit(0);
        }
        waitpid $pid, POSIX::WUNTRACED();
        my $held = $signal eq 'STOP' ? 1 : 0;
        soon { scalar(Proc::fds($h->core)) == $h->{baseline}{core} + $held } "a caller that gets $signal" if $held;
        is group_of($h, 'shop')->{generation}, 2, "a caller that gets $signal has ordered nothing";
        soon { scalar(Proc::fds($h->core)) <= $h->{baseline}{core} } '... and is forgotten', 14;
        if ($signal eq 'STOP') { kill KILL => $pid; waitpid $pid, 0 }
    }
    is $h->core, $core, 'the same core';

    # api-call
    my ($code, $out) = tool($h, 'root', ['config', 'api-call', 'GET', '/ping.json', '--show-headers']);
    like $out, qr{^HTTP/1\.1 200 OK\r\n.*\r\n\r\n\{"status":"ok"\}\n\z}s, 'api-call';
    is((tool($h, 'root', ['config', 'api-call', '-a', 'core', 'GET', '/ping.json']))[1], "{\"status\":\"ok\"}\n", '... of the core');
    is((tool($h, 'root', ['config', 'api-call', 'GET', '/nothing']))[0], 2, '... of what is not there');
    is((tool($h, 'root', ['config', 'api-call', '--ignore-response-code', 'GET', '/nothing']))[0], 0, '... on purpose');
    spew("$h->{root}/body", encode_json({ name => 'nothing' }));
    for my $how (['-d', '{"name": "nothing"}'], ['-f', "$h->{root}/body"], ['-S', socket_of($h), '-d', '{"name": "nothing"}']) {
        (undef, $out) = tool($h, 'root', ['config', 'api-call', 'POST', '/pool/restart_app_group.json', @$how]);
        is $out, "{\"restarted\":false}\n", "... with @$how[0]";
    }
    spew("$h->{root}/body", 'x' x 500_000);
    (undef, $out) = tool($h, 'root', ['config', 'api-call', 'POST', '/pool/restart_app_group.json', '-f', "$h->{root}/body"]);
    like $out, qr/"error"/, '... and a body that is too long has an answer';
    is((tool($h, 'root', ['config', 'api-call', @$_]))[0], 1, '... not: ' . join ' ', map { s/[^ -~]/?/gr } @$_) for ['GET'], ['GET', 'x'], [qw(-a watchdog GET /ping.json)], ["GET / HTTP/1.1\r\nX: y", '/'], ['GET', "/\r\nX: y"], ['GET', '/', '-f', '/nowhere'];

    # The rest.
    is((tool($h, 'root', ['config', 'nonsense']))[0], 1, 'no such command');
    for my $command (qw(restart-app detach-process list-instances api-call validate-install about build-native-support reopen-logs)) {
        ($code, $out) = tool($h, 'root', ['config', $command, '--help']);
        ok $code == 0 && $out =~ /^Usage: passenger-config $command/, "$command --help";
        is((tool($h, 'root', ['config', 'help', $command]))[1], $out, "help $command");
        ($code, undef, $err) = tool($h, 'root', ['config', $command, '--bogus']);
        ok $code == 1 && $err =~ /^passenger-config: [^\n]+\n\z/, "$command --bogus";
    }
    (undef, $out) = tool($h, 'root', ['config', 'about', 'version']);
    my ($version) = slurp('apr-glue/base.h') =~ /AG_VERSION "(.*?)"/;
    my ($interface) = slurp('helper/loaders/ruby/phusion_passenger.rb') =~ /VERSION_STRING = '(.*?)'/;
    is $out, "Phusion Passenger $interface\nis the interface of mod_passenger $version\n", 'about version';
    # What deployment tools, images of distributions and configuration management call.
    is((tool($h, 'root', ['config', @{ $_->[0] }], argv0 => $_->[1]))[1], $out, "@{ $_->[0] } of $_->[1]")
        for [['--version'], 'passenger-config'], [['--version'], '/usr/bin/passenger'], [['-v'], 'passenger'];
    ($code, $out, $err) = tool($h, 'root', ['config', 'start'], argv0 => 'passenger');
    ok $code == 1 && $err =~ /^passenger: [^\n]+\n\z/, 'nothing else is done under that name' or diag $err;
    ($code, $out) = tool($h, 'root', ['config', '--snippet'], argv0 => 'passenger-install-apache2-module');
    like $out, qr{\ALoadModule passenger_module /\S+/mod_passenger\.so\n<IfModule mod_passenger\.c>\n  PassengerHelper /\S+/passenger-helper\n</IfModule>\n\z}, 'what loads it';
    ($code, $out, $err) = tool($h, 'root', ['config', '--auto', '--languages', 'ruby'], argv0 => '/usr/bin/passenger-install-apache2-module');
    like "$code$out$err", qr{\A(?:0The Apache module is correctly installed\.\n.*\nLoadModule .*|1passenger-install-apache2-module: /\S+: No such file [^\n]+\n)\z}s, '... or whether it is there';
    is((tool($h, 'root', ['config', '--root']))[1], (tool($h, 'root', ['config', 'about', 'root']))[1], '--root is a topic');
    is join('', tool($h, 'root', ['config', 'build-native-support'])), 0, 'build-native-support says nothing';
    is((tool($h, 'root', ['config', "--$_"]))[0], { compiled => 0, 'custom-packaged' => 1 }->{$_}, "--$_ is an exit code") for qw(compiled custom-packaged);
    (undef, $out) = tool($h, 'root', ['config', 'about', 'ruby-command'], env => { PATH => "bin:$trap:/usr/bin" });
    like $out, qr{^  Command: \Q$trap\E/ruby\n  To use in Apache: PassengerRuby \Q$trap\E/ruby$}m, 'the Ruby in PATH';
    ok !-e "$trap/sprung", '... is not run';
    ($code, undef, $err) = tool($h, 'root', ['config', 'about', 'ruby-command'], env => { PATH => '/nowhere' });
    ok $code == 1 && $err =~ /no folder of PATH/, '... or there is none';
    ($code, undef, $err) = tool($h, 'root', ['config', 'reopen-logs', '--ignore-logs-not-available']);
    ok $code == 1 && $err =~ /apachectl graceful/, 'reopen-logs says who does';
    is((tool($h, 'root', ['config', 'about', 'nonsense']))[0], 1, 'about nonsense');
    ($code, $out) = tool($h, 'root', ['config', 'validate-install']);
    like $out, qr/^ok: +instance \w+ answers, version \d/m, 'validate-install finds the instance';
    is $code, $out =~ /^error:/m ? 1 : $out =~ /^warning:/m ? 2 : 0, '... and its exit code says what it found';
    ok !(grep { !/^(?:ok|warning|error): +\S/ } split /\n/, $out), '... each in one line';
    $h->finish;
}

sub instances {
    my ($one, $two) = (start({ shop => $alice }), start({ blog => $bob }));
    my $all = "$one->{root}/all";
    mkdir $all;
    my @names = sort map { my ($dir) = glob "$_->{root}/registry/*"; symlink $dir, "$all/" . $dir =~ s{.*/}{}r; substr $dir =~ s{.*/instance-}{}r, 0, 8 } $one, $two;
    # One that died, and what is none.
    mkdir "$all/instance-dead";
    IO::Socket::UNIX->new(Type => SOCK_STREAM, Local => "$all/instance-dead/admin", Listen => 1)->close;
    mkdir "$all/$_" for 'instance-empty', 'other';
    my $in = { env => { PASSENGER_INSTANCE_REGISTRY_DIR => $all } };
    my ($code, $out, $err) = tool($one, $alice, ['config', 'list-instances'], %$in);
    is $code, 0, 'list-instances';
    my @found = map { m{^(\w+) +\d+ +Apache/2} ? $1 : () } split /\n/, $out;
    is "@found", "@names", '... lists the living' or diag $out;
    like $out, qr{\AName +PID +Description\n-{74}\n\w}, '... below a head of two lines';
    (undef, $out) = tool($one, $alice, ['config', 'list-instances', '--json'], %$in);
    is join(' ', map { $_->{name} } @{ decode_json($out) }), "@names", '... as JSON';
    for my $command (['status'], ['config', 'restart-app', '/'], ['config', 'detach-process', 5], ['config', 'api-call', 'GET', '/ping.json']) {
        ($code, undef, $err) = tool($one, $alice, $command, %$in);
        is $code, 1, "@$command: which one?";
        like $err, qr/^passenger-\w+: several instances run: $names[0], $names[1];[^\n]+--instance[^\n]+\n\z/, '... is asked';
    }
    is((tool($one, $alice, ['config', 'restart-app', '--instance', $names[0], '--ignore-app-not-running', '/'], %$in))[0], 0, 'one is named');
    ($code, $out) = tool($one, 'root', ['status', $names[1], '--show=server'], %$in);
    is $code, 0, '... to passenger-status too';
    ($code, undef, $err) = tool($one, $alice, ['status', 'zzz'], %$in);
    like $err, qr/^passenger-status: no instance has a name that begins with "zzz"; there is: $names[0], $names[1]\n\z/, 'a name that is none';
    my $none = { env => { PASSENGER_INSTANCE_REGISTRY_DIR => "$all/other" } };
    ($code, undef, $err) = tool($one, $alice, ['status'], %$none);
    ok $code == 1 && $err =~ /^passenger-status: no mod_passenger runs here;[^\n]+PASSENGER_INSTANCE_REGISTRY_DIR[^\n]+\n\z/, 'none runs: what to do is said';
    is((tool($one, $alice, ['config', 'restart-app', '/'], %$none))[0], 1, '... a failure');
    is((tool($one, $alice, ['config', 'restart-app', '--ignore-passenger-not-running', '/'], %$none))[0], 0, '... unless that does not matter');
    ($code, $out, $err) = tool($one, $alice, ['config', 'list-instances', '-q'], %$none);
    is "$code$out$err", '0', '... and nothing is listed';
    $_->finish for $one, $two;
}
