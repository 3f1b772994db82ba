# Two tenants of one machine: what eve tries on alice, from inside her own application, by .htaccess files, and by changing files while they are
# looked at; and what whoever has Apache's user tries beyond 50trust.t. Nothing is run, read or written as alice or as root, and the log tells.
# One MPM: Apache's threads have no part in it.
#
# Which test answers what went wrong elsewhere (not here: HTTP's own, in 20request.t and 00unit):
#   CVE-2012-6135, reading of the dir toucher, L12     instance directories are emptied by descriptor: registry; 53instance.t
#   CVE-2013-2119, -4136, CVE-2014-1831, -1832, L03    registry; 53instance.t
#   CVE-2016-10345, CVE-2012-0883, L18                 60admin.t (tools in hostile folders), t/00style-words.t (no system, no temporary names)
#   CVE-2017-16355, L05                                env_files here; 52looker.t, 49broken.t, 48interpreter.t (FIFOs), 00unit/apr-glue/appfile.c
#   CVE-2018-12026, -12027, -12028, -12029, L04, L06-L08   inside, races; 46smart.t (liars), 44generic.t and 46own-start.t (whose a port or socket is)
#   CVE-2018-12615, CVE-2014-0240, -8583, CVE-2013-4559, L01, L02   inside (ids, capabilities); 33faults-spawn.t (steps that fail); 50trust.t, 00unit/helper/user.c
#   Passenger 6.2.0, CVE-2014-0185, L10, L11           inside (sockets, administrators, ten thousand connections); 60admin.t (rights)
#   Passenger 6.2.2, H06                               00unit/apr-glue/frame.c, 80fuzz.t
#   uWSGI's UWSGI_FILE, CVE-2019-0211, CVE-2021-21703, CVE-2002-0839, -2007-3304, L09   forged here (options that others use); 50trust.t, 57bounds.t, 80fuzz.t (frame), 84frames.t
#   CVE-2018-6758, CVE-2009-1195, CVE-2011-3607, CVE-2025-66200, CVE-2026-24072, -44119, -59797, H04, L14   htaccess here; 12htaccess.t, 13env.t, 58values.t
#   suexec's owners and links, CVE-2018-7490, L13      htaccess, races; 12htaccess.t, 50trust.t, 51leaks.t
#   CVE-2015-7519, CVE-2024-45614, CVE-2016-5387, CVE-2022-2255, H01-H03, H05, H07, H12    20request.t (headers_in), 21fit.t
#   CVE-2022-31813, CVE-2010-0434, H08                 21fit.t (subrequests, ErrorDocument)
#   CVE-2025-65082, CVE-2024-8927, H09-H11             inside (environment); 13env.t, 80fuzz.t (values)
#   L15, L16, L17                                      inside (a signal to everything); 35descriptors.t, 54strays.t
#   L19                                                installation
#   L20                                                registry; 53instance.t, 30lifetimes.t
#   CVE-2024-9026, CVE-2025-27111, CVE-2003-0020, I04  inside (forged lines); 00unit/apr-glue/log.c
#   CVE-2026-33006, I06                                no secret is compared anywhere: callers are who the kernel says they are
#   I05 21fit.t (TRACE); I02 49broken.t; I03 83uninitialised.t; I07, I08      inside
#
# What is tried, and who tells of it. What the kernel refuses to a process of eve's (its own calls: /proc, signals, ptrace, files, sockets) is known to
# nobody but the kernel, and in no log of ours; what is asked of us is.
#   inside    other ids; environ, mem, maps, descriptors, signals, ptrace of six processes; sockets; files; a signal to all: the kernel's refusals
#             administrators' questions about others (PSG2101); forged lines (the application's own, escaped)
#   htaccess  about 45 files about what is not hers: each that fails has a line (PSG0113, PSG17xx, PSG05xx, PSG1900 of logs, or Apache's)
#   links     nine links below a base URI: PSG2500, PSG2501
#   forged    as Apache's user: PSG0113 with the reason, where nothing runs; where the owner's right way is taken instead, nothing is amiss
#   races     seven at once, twenty seconds: told as above, whenever what is found is not hers
use strict;
use warnings;
use lib 't/lib';
use IO::Handle;
use JSON::PP;
use POSIX ();
use Socket qw(AF_UNIX SOCK_STREAM pack_sockaddr_un);
use Test::More;
use Time::HiRes qw(time);
use Attack qw(:DEFAULT become);
use Harness;

plan skip_all => 'there is nobody to become without root' if $>;

my $mpm = (Harness->mpms)[0];
my ($alice, $eve) = map { Harness->app_user($_) } 0, 1;
my ($alice_uid, $eve_uid) = map { scalar getpwnam $_ } $alice, $eve;
my $secret = 'alice knows the word';

for my $part (split ' ', $ENV{PART} // 'inside htaccess links env_files forged races registry installation') {
    subtest $part => sub { no strict 'refs'; &$part };
}
done_testing;

# An application that runs what it is sent, as an attacker's would: "attempt" gives "refused" for what the kernel or the helper does not let it do.
sub console { return <<'END' }
import ctypes, json, os, signal, socket, sys, time
def attempt(what):
    try:
        return "done: %r" % (what(),)
    except (OSError, ValueError) as e:
        return "refused"
def connect(path):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(5)
    s.connect(path)
    return s
def read(path):
    with open(path, "rb") as f:
        return f.read(1)
def ask(path, method, url, body=b""):
    s = connect(path)
    s.sendall(b"%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (method, url, len(body), body))
    all = b""
    while True:
        block = s.recv(65536)
        if not block:
            return all.decode("latin-1")
        all += block
def application(environ, start_response):
    code = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
    names = dict(globals())
    exec(code, names)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(names.get("result")).encode()]
END

sub vhost { my ($name, $docroot, $rest) = @_; "<VirtualHost *>\nServerName $name\nDocumentRoot $docroot\n<Directory $docroot>\nAllowOverride All\n</Directory>\n" . ($rest // '') . "</VirtualHost>\n" }

# Connects again and again without waiting, and holds the last hundred; how often it tried, and how many it held.
sub crowd {
    my ($path, $times) = @_;
    my @held;
    for (1 .. $times) {
        socket(my $s, AF_UNIX, SOCK_STREAM, 0) or die "socket: $!";
        $s->blocking(0);
        next unless connect $s, pack_sockaddr_un($path);
        push @held, $s;
        shift @held if @held > 100;
    }
    return "$times " . scalar @held;
}

# Alice's shop, with what only she may read and what everybody may.
sub shop {
    my ($h) = @_;
    my $shop = $h->copy_app('wsgi', 'shop', owner => $alice);
    my %file = ('secret.env' => "WORD=$secret\n", 'own.log' => "$secret\n", 'passenger.json' => "{\"app_start_command\": \"$secret\"}\n", 'tmp/restart.txt' => '');
    for my $file (sort keys %file) {
        spew("$shop/$file", $file{$file});
        chmod 0600, "$shop/$file";
    }
    $h->own($shop, $alice);
    utime 1000, 1000, "$shop/tmp/restart.txt";
    return $shop;
}

# A place where everybody may write who was there.
sub marker { my ($h) = @_; my $file = "$h->{root}/marker"; spew($file, ''); chmod 0666, $file; return $file }

# What an application's own process can reach.
sub inside {
    my $h = Harness->new(mpm => $mpm, env => { TOKEN => $secret, PYTHONPATH => '/nowhere', RUBYOPT => '-w', NODE_OPTIONS => '--no-warnings', 'BASH_FUNC_x%%' => '() { :; }' });
    my $shop = shop($h);
    my $evil = $h->make_app('evil', { 'passenger_wsgi.py' => console() }, owner => $eve);
    my $sticky = "PassengerStickySessions on\n";
    # Somebody who runs nothing else on this machine.
    my ($alone) = grep { my $uid = getpwnam $_; defined $uid && !grep { ((stat $_)[4] // -1) == $uid } glob '/proc/[0-9]*' } qw(uucp lp list proxy irc);
    my $lonely = $h->copy_app('wsgi', 'alone', owner => $alone // $eve);
    $h->start(conf => vhost('alone', "$lonely/public") . "PassengerStatThrottleRate 0\nPassengerMaxPoolSize 5\n" . vhost('shop', "$shop/public", "PassengerEnvVar WORD \"$secret\"\nPassengerAppGroupName shop\n$sticky") . vhost('evil', "$evil/public", $sticky));
    $h->allow_log(qr/PassengerStatThrottleRate/);
    my $victim = $h->get('/process', Host => 'shop')->json;
    is $victim->{env}{WORD}, $secret, 'alice\'s application has a secret';
    my $pid = $victim->{pid};
    my $run = sub {
        my ($code) = @_;
        my $r = $h->ask('POST', '/', Host => 'evil', body => $code);
        return eval { JSON::PP->new->allow_nonref->decode($r->body) } // 'no answer: ' . $r->status;
    };
    my ($core_sock, $admin) = map { my ($path) = glob "$h->{root}/registry/*/$_"; $path } qw(core.sock admin);
    my %who = (watchdog => $h->watchdog, core => $h->core, looker => $h->helpers('looker'), Apache => $h->{pid}, 'alice\'s process' => $pid);

    # Who it is itself.
    my %status = split /:\s*|\n/, $run->('result = open("/proc/self/status").read()');
    is join(' ', split ' ', $status{$_->[0]}), $_->[1], "$_->[0] of an application's process"
        for ['Uid', join ' ', ($eve_uid) x 4], ['Gid', join ' ', ((getpwnam $eve)[3]) x 4], map { [$_, '0' x 16] } qw(CapInh CapPrm CapEff CapAmb);
    is $run->("result = attempt(lambda: $_)"), 'refused', $_ for 'os.setuid(0)', "os.setuid($alice_uid)", 'os.setgroups([0])', 'os.setresgid(0, 0, 0)';
    is_deeply $run->('result = sorted(set(k for k in os.environ) & {"TOKEN", "PYTHONPATH", "RUBYOPT", "NODE_OPTIONS", "BASH_FUNC_x%%", "WORD"})'), [],
        'its environment has nothing of Apache\'s, nor of others';
    my $fds = $run->('result = {fd: os.readlink("/proc/self/fd/" + fd) for fd in os.listdir("/proc/self/fd") if os.path.lexists("/proc/self/fd/" + fd)}');
    ok !(grep { m{\Q$h->{root}\E} && !m{/apps/evil} } values %$fds), 'its descriptors lead to no file of the server' or diag explain $fds;

    # A cookie that names alice's process means nothing to another application.
    my ($cookie) = ($h->get('/', Host => 'shop')->header('Set-Cookie') // '') =~ /^([^;]+)/;
    ok $cookie, 'visitors of alice\'s have a cookie';
    is_deeply $h->ask('POST', '/', Host => 'evil', Cookie => $cookie, body => 'result = os.getuid()')->json, $eve_uid, '... which leads to eve\'s process at eve\'s site' if $cookie;

    # Others' processes.
    for my $who (sort keys %who) {
        is $run->("result = attempt(lambda: read('/proc/$who{$who}/$_'))"), 'refused', "$_ of $who" for qw(environ mem maps);
        is $run->("result = attempt(lambda: os.listdir('/proc/$who{$who}/fd'))"), 'refused', "descriptors of $who";
        is $run->("result = attempt(lambda: os.kill($who{$who}, signal.$_))"), 'refused', "$_ to $who" for qw(SIGKILL SIGSTOP SIGUSR1);
        is $run->("result = ctypes.CDLL(None).ptrace(16, $who{$who}, 0, 0)"), -1, "ptrace of $who";
    }
    for my $role (qw(watchdog core looker)) {
        is as_user('www-data', sub { open(my $f, '<', "/proc/$who{$role}/environ") ? 'read' : 'refused' }), 'refused', "not even Apache's user reads the environment of the $role";
        is as_user('www-data', sub { open(my $f, '<', "/proc/$who{$role}/mem") ? 'read' : 'refused' }), 'refused', '... or its memory';
    }

    # Sockets: every one that somebody listens at.
    my @listens = map { my @f = split ' ', $_, 8; ($f[3] // '') eq '00010000' && $f[7] && $f[7] =~ /\Q$h->{root}\E|^@/ ? $f[7] : () } split /\n/, slurp('/proc/net/unix');
    ok scalar(grep { $_ eq $core_sock } @listens), 'the core listens';
    ok !(grep { /^@.*(?:passenger|psg-)/ } @listens), 'nothing of ours listens where a name is all that it takes (abstract sockets)';
    for my $path (grep { m{^\Q$h->{root}\E} && !m{/admin$|/cgisock} } @listens) {
        is $run->("result = attempt(lambda: connect('$path'))"), 'refused', 'no connection to ' . $path =~ s{.*/registry/instance-\w+}{}r;
    }
    unlike $run->("result = ask('$admin', b'GET', b'/pool.json')"), qr/shop|\b$pid\b/, 'administrators\' questions tell nothing of alice';
    unlike $run->("result = ask('$admin', b'GET', b'/server.json')"), qr/\Q$secret/, '... nor secrets of the server';
    like $run->("result = ask('$admin', b'POST', b'/pool/$_->[0].json', b'$_->[1]')"), qr{\{"(?:restarted|detached)":false\}$}, "$_->[0] of what is alice's"
        for ['restart_app_group', '{"name": "shop"}'], ['restart_app_group', "{\"name\": \"$shop (production)\"}"], ['detach_process', "{\"pid\": $pid}"];

    $h->expect_log(qr/PSG2101: admin\.refused: uid $eve_uid asked to restart .*, which is somebody else's: nothing was done/, 'who asked for what is another\'s');

    is $run->("import struct\nresult = attempt(lambda: connect('$admin').sendmsg([b'GET /pool.json HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'], [(socket.SOL_SOCKET, 2, struct.pack('iii', $_->[0], $_->[1], $_->[1]))]))"),
        'refused', "credentials of $_->[2] with a question" for [1, 0, 'root'], [$pid, $alice_uid, 'alice'];

    # Files.
    is $run->("result = attempt(lambda: read('$shop/$_'))"), 'refused', "alice's $_" for qw(secret.env own.log passenger.json);
    is $run->("result = attempt(lambda: os.utime('$shop/tmp/restart.txt'))"), 'refused', 'restart.txt of alice\'s';
    is $run->("result = attempt(lambda: open('$shop/tmp/always_restart.txt', 'w'))"), 'refused', '... and another';
    is $run->("result = attempt(lambda: os.unlink('$core_sock'))"), 'refused', 'the core\'s socket stays where it is';
    is $run->("result = attempt(lambda: os.listdir(os.path.dirname('$core_sock')))"), 'refused', '... in a folder that cannot be listed';

    # What it prints is no line of somebody else's, and no terminal obeys it.
    $run->('print("before\r[error] [pid 1] forged \x1b[2J \x00 \u202e end\n[Fri Nov 27 00:00:00 2026] [core:emerg] [pid 1] forged too", flush=True)');
    my $line = $h->expect_log(qr/App \d+ output: .*forged too/, 'what an application prints, as its own');
    ok !(grep { /forged/ && !/App \d+ output: / } split /\n/, $h->log_text), '... all of it';
    unlike $h->log_text, qr/[\x00\x1b\r]/, '... without control characters';
    like $line, qr/^\[[^]]+\] \[passenger/, '... in a line of ours';

    # Secrets in the helper's own hands.
    unlike join("\0", map { slurp("/proc/$_->{pid}/cmdline") } $h->processes), qr/\Q$secret/, 'no command line shows a secret';
    my $c = $h->client(timeout => 30);
    $c->write_request('GET', '/big?n=30000000', Host => 'shop', Connection => 'close');
    my $spool = wait_for { (grep { /\(deleted\)/ } map { readlink($_) ? "$_ " . readlink $_ : () } glob "/proc/$who{core}/fd/*")[0] } undef, 5;
    SKIP: {
        skip 'nothing was spooled', 1 unless $spool;
        is sprintf('%o', (stat +(split ' ', $spool)[0])[2] & 0777), '600', 'what is spooled has no name, and is the core\'s alone';
    }
    undef $c;

    # Ten thousand connections to where everybody may connect, and ten thousand attempts where nobody may.
    my $open = sub { scalar(() = glob "/proc/$who{core}/fd/*") };
    my $before = $open->();
    my ($most, $served) = (0, 0);
    my $crowd = open(my $told, '-|') // die "fork: $!";
    if (!$crowd) {
        syswrite STDOUT, as_user($eve, sub { join ' ', map { crowd($_, 10_000) } $admin, $core_sock });
        POSIX::_exit(0);
    }
    do {
        $served++ if $h->get('/', Host => 'shop')->status == 200;
        my $now = $open->();
        $most = $now if $now > $most;
    } until waitpid $crowd, POSIX::WNOHANG();
    my ($tried, $held, $vain, $let_in) = split ' ', do { local $/; <$told> };
    is "$tried $vain $let_in", '10000 10000 0', "ten thousand connections to each socket ($held were held)";
    cmp_ok $served, '>=', 3, "... and alice's visitors are served ($served times)";
    cmp_ok $most, '<', $before + 100, "... and the core holds few of them (descriptors: $before before, at most $most)";
    # Those to Apache and to applications come and go meanwhile.
    wait_for { $open->() <= $before + 40 } 'none of them stays';
    is $h->core, $who{core}, '... nor does the core end';

    # Its own end is its own.
    $h->allow_log(qr/PSG0[16]\d\d|\b502\b/);
    $h->ask('POST', '/', Host => 'evil', body => 'os.kill(0, 9)');
    is $h->get('/', Host => 'shop')->json->{pid}, $pid, 'signals to its whole group, and alice\'s process has seen nothing of all that';
    SKIP: {
        skip 'every user runs something here, whose processes must live', 3 unless $alone;
        my $mine = $h->get('/process', Host => 'alone')->json->{pid};
        isnt $h->get('/process', Host => 'alone')->json->{uids}[0], 0, "an application of $alone";
        as_user($alone, sub { kill KILL => -1; '' });
        wait_for { !kill 0, $mine } 'a signal to everything there is: it ends what is that user\'s';
        is $h->get('/', Host => 'shop')->json->{pid}, $pid, '... and nothing of alice\'s';
        ok !(grep { !kill 0, $who{$_} } keys %who), '... nor of ours';
    }
    is join(' ', $h->watchdog, $h->core), "$who{watchdog} $who{core}", '... nor the helper';
}

# What eve's .htaccess file says about alice's things. Every attack has an application and a site of its own, so that none hides another.
sub htaccess {
    my $h = Harness->new(mpm => $mpm);
    my $shop = shop($h);
    my $marker = marker($h);
    my $apps = "$h->{root}/apps";
    my $tell = "id -u >>$marker";
    mkdir "$shop/bin";
    spew("$shop/bin/$_", "#!/bin/sh\nid -u >>$marker\nexec /usr/bin/python3 \"\$@\"\n") for qw(python3);
    chmod 0755, "$shop/bin/python3";
    $h->own("$shop/bin", $alice);
    my $group = getgrgid((getpwnam $alice)[3]);
    my $r = '@APP@';
    # name => lines; "shop" in the second place: it is alice's folder that is named, so that nothing may answer; what stands behind is made in eve's folder
    my @attack = (
        ['the environment file of alice', "PassengerEnvFile $shop/secret.env"], ['... upwards', 'PassengerEnvFile ../shop/secret.env'],
        ['... by a symbolic link', 'PassengerEnvFile link.env', symlink => ["$shop/secret.env", 'link.env']],
        ['... by a hard link', 'PassengerEnvFile hard.env', link => ["$shop/secret.env", 'hard.env']],
        ['/etc/shadow as environment file', 'PassengerEnvFile /etc/shadow'],
        ['the log of alice', "PassengerAppLogFile $shop/own.log"], ['... by a symbolic link', 'PassengerAppLogFile link.log', symlink => ["$shop/own.log", 'link.log']],
        ['... by a hard link', 'PassengerAppLogFile hard.log', link => ["$shop/own.log", 'hard.log']],
        ['a log in alice\'s folder', "PassengerAppLogFile $shop/new.log"], ['a log in root\'s', "PassengerAppLogFile $h->{root}/logs/new.log"],
        ['a log that is a pipe', 'PassengerAppLogFile pipe.log', fifo => [undef, 'pipe.log']], ['a log through a pipe', "PassengerAppLogFile \"|$tell\""],
        ['an error page of alice', "PassengerCustomErrorPage $shop/own.log\nPassengerStartupFile broken.py"],
        ['... by a link', "PassengerCustomErrorPage public/page.html\nPassengerStartupFile broken.py", symlink => ["$shop/own.log", 'public/page.html']],
        ['/etc/shadow as error page', "PassengerCustomErrorPage /etc/shadow\nPassengerStartupFile broken.py"],
        ['restart files of alice', "PassengerRestartDir $shop/tmp"], ['restart files of root', 'PassengerRestartDir /root'],
        ['alice\'s folder', "PassengerAppRoot $shop"], ['... by a link', "PassengerAppRoot $r/link", symlink => [$shop, 'link']],
        ['... through /proc', "PassengerAppRoot /proc/self/root$shop"], ['the root of all', 'PassengerAppRoot /'], ['... with alice\'s file', "PassengerAppRoot /\nPassengerAppType wsgi\nPassengerStartupFile $shop/passenger_wsgi.py"],
        ['a folder for all', "PassengerAppRoot $h->{root}/open"],
        ['alice\'s startup file', "PassengerStartupFile $shop/passenger_wsgi.py"], ['... upwards', 'PassengerStartupFile ../shop/passenger_wsgi.py'],
        ['... by a hard link', 'PassengerStartupFile hard.py', link => ["$shop/passenger_wsgi.py", 'hard.py']],
        ['... by a symbolic link', 'PassengerStartupFile soft.py', symlink => ["$shop/passenger_wsgi.py", 'soft.py']],
        ['Passengerfile.json of alice', 'PassengerStartupFile Passengerfile.json', link => ["$shop/passenger.json", 'Passengerfile.json']],
        ['alice\'s interpreter', "PassengerPython $shop/bin/python3"], ['a program that becomes root as interpreter', 'PassengerPython /usr/bin/passwd'], ['a command for an interpreter', "PassengerPython \"/bin/sh -c '$tell'\""],
        ['user alice', "PassengerUser $alice"], ['user root', 'PassengerUser root'], ['user 0', 'PassengerUser 0'], ['user #0', 'PassengerUser "#0"'], ['group root', 'PassengerGroup root'],
        ['group shadow', 'PassengerGroup shadow'], ['alice\'s group', "PassengerGroup $group"], ['the name of alice\'s group', 'PassengerAppGroupName shop'],
        ['a command', "PassengerAppStartCommand \"$tell\""], ['a command in a name', "PassengerAppGroupName \"\$($tell)\""], ['a command as environment', "PassengerAppEnv \"`$tell`\""],
        ['settings of Meteor', "PassengerAppType meteor\nPassengerMeteorAppSettings $shop/passenger.json"], ['PHP', "PassengerPHP $shop/bin/python3\nPassengerAppType php"],
        ['code by variables', "SetEnv BASH_ENV $shop/bin/python3\nSetEnv LD_PRELOAD /tmp/x.so\nPassengerEnvVar PYTHONPATH /tmp"], ['a value without end', 'PassengerAppEnv ' . 'x' x 5000],
    );
    mkdir "$h->{root}/open";
    chmod 01777, "$h->{root}/open";
    link "$shop/passenger_wsgi.py", "$h->{root}/open/passenger_wsgi.py" or die "link: $!";
    my $conf = "PassengerStatThrottleRate 0\nPassengerMaxPoolSize 60\nPassengerFriendlyErrorPages on\n" . vhost('shop', "$shop/public", "PassengerAppGroupName shop\n");
    for my $i (0 .. $#attack) {
        my (undef, $text, $how, $link) = @{ $attack[$i] };
        my $app = $h->copy_app('wsgi', "eve$i", owner => $eve);
        spew("$app/broken.py", "raise Exception('broken')\n");
        my $docroot = "$apps/site$i";
        mkdir $docroot;
        spew("$docroot/.htaccess", ($text =~ /^PassengerAppRoot/ ? '' : "PassengerAppRoot $app\n") . $text =~ s/\@APP\@/$app/gr . "\n");
        $h->own($_, $eve) for $app, $docroot;
        if ($how) {
            my $to = "$app/$link->[1]";
            $how eq 'fifo' ? POSIX::mkfifo($to, 0600) : $how eq 'link' ? (link $link->[0], $to or die "link: $!") : (symlink $link->[0], $to or die "symlink: $!");
            system('chown', '-h', $eve, $to) if $how =~ /symlink|fifo/;
        }
        $conf .= vhost("e$i", $docroot);
    }
    $h->start(conf => $conf);
    $h->allow_log(qr/PSG\d\d\d\d:|App \d+ output|AH\d+|PassengerStatThrottleRate|core:alert.*htaccess/);
    my $pid = $h->get('/', Host => 'shop')->json->{pid};
    my @before = map { join ' ', (stat "$shop/$_")[2, 4, 5, 7] } qw(secret.env own.log passenger.json);
    my (@refused, $done) = ();
    for my $i (0 .. $#attack) {
        my ($what, $text) = @{ $attack[$i] };
        my $r = $h->get('/process', Host => "e$i");
        my $uids = eval { $r->json->{uids} };
        ok $uids ? $uids->[0] == $eve_uid : $r->status >= 400, "$what: eve, or nobody" or diag $r->status, ' ', substr $r->body, 0, 300;
        unlike $r->body, qr/\Q$secret\E|root:[*!\$]/, '... without a word of what is not hers';
        push @refused, $what if $r->status >= 500;
        diag "$what: ", $uids ? "eve" : $r->status if $ENV{VERBOSE};
    }
    cmp_ok scalar(@refused), '>=', 15, scalar(@refused) . ' of ' . @attack . ' were refused as a whole';
    for my $i (grep { $attack[$_][1] =~ /^PassengerAppLogFile/ } 0 .. $#attack) {
        # What is printed would be written.
        $h->get('/slow?s=0', Host => "e$i");
        $h->expect_log(qr{PSG1900: .*/apps/eve$i\b}, "$attack[$i][0] is not written to");
    }
    my @lines = grep { /PSG0113|PSG17\d\d|PSG05\d\d|core:alert/ } split /\n/, $h->log_text;
    cmp_ok scalar(@lines), '>=', scalar(@refused), '... with a line in the log for each';
    unlike slurp($marker), qr/^(?:0|$alice_uid)$/m, 'nothing ran as alice or root';
    is_deeply [map { join ' ', (stat "$shop/$_")[2, 4, 5, 7] } qw(secret.env own.log passenger.json)], \@before, 'none of her files has changed';
    ok !-e "$shop/new.log" && !-e "$h->{root}/logs/new.log", '... and none has come';
    is $h->get('/', Host => 'shop')->json->{pid}, $pid, 'alice\'s process has seen nothing of it';
    unlike $h->log_text, qr/\Q$secret/, 'the log repeats nothing of hers';
}

# Where the administrator has set a base URI, and what stands there in the document root is a symbolic link, which whoever may write there makes.
sub links {
    my $h = Harness->new(mpm => $mpm);
    my $shop = shop($h);
    my $evil = $h->copy_app('wsgi', 'evil', owner => $eve);
    my $apps = "$h->{root}/apps";
    # name => where each link leads, and whose it is; base URI; who is met, or what the log says
    my %row = (
        strange => [['shop', "$shop/public", $eve]], script => [['shop', "$shop/public", $eve]], own => [['shop', "$evil/public", $eve], '/shop', $eve], roots => [['shop', "$shop/public", 'root'], '/shop', $alice],
        owners => [['shop', "$shop/public", $alice], '/shop', $alice], user => [['shop', "$evil/public", $alice], '/shop', $alice, "PassengerUser $alice\n"], detour => [['a', "$apps/alices", $eve], '/a/shop'],
        written => [['shop', "$shop/public", $alice]], relative => [['shop', '../shop/public', $eve]],
    );
    mkdir "$apps/alices";
    symlink "$shop/public", "$apps/alices/shop" or die "symlink: $!";
    system 'chown', '-hR', $alice, "$apps/alices";
    my $conf = "PassengerMaxPoolSize 10\n" . vhost('shop', "$shop/public", "PassengerAppGroupName shop\n");
    for my $name (sort keys %row) {
        my ($link, $base, undef, $more) = @{ $row{$name} };
        mkdir "$apps/$name";
        symlink $link->[1], "$apps/$name/$link->[0]" or die "symlink: $!";
        $h->own("$apps/$name", $eve);
        system 'chown', '-h', $link->[2], "$apps/$name/$link->[0]";
        $conf .= vhost($name, "$apps/$name", ($more // '') . 'PassengerBaseURI ' . ($base // '/shop') . ($name eq 'script' ? "\nPassengerAppType php\n" : "\n"));
    }
    spew("$apps/written/.htaccess", "PassengerAppEnv eves\n");
    $h->own("$apps/written/.htaccess", $eve);
    $h->start(conf => $conf);
    $h->allow_log(qr/PSG0113/);
    my $pid = $h->get('/', Host => 'shop')->json->{pid};
    for my $name (sort keys %row) {
        my (undef, $base, $who) = @{ $row{$name} };
        my $r = $h->get(($base // '/shop') . '/', Host => $name);
        my $uid = eval { $r->json->{uid} };
        is defined $uid ? getpwuid $uid : 'nobody', $who // 'nobody', "$name: " . ($who // 'nobody') or diag $r->status, ' ', substr $r->body, 0, 500;
    }
    for my $name (qw(strange relative script)) {
        $h->expect_log(qr{PSG2500: the symbolic link \Q$apps/$name/shop\E belongs to uid $eve_uid, but the application \S*/shop, to which it leads, to uid $alice_uid:}, "$name: the log names the link");
    }
    $h->expect_log(qr/PSG2501: .* by a symbolic link of uid $eve_uid, \Q$apps\E\/detour\/a, and by the link \S+ of somebody else's/, 'links of two users');
    $h->expect_log(qr/PSG2501: .* by a symbolic link of uid $alice_uid, \Q$apps\E\/written\/shop, and by an \.htaccess file of somebody else's/, 'a link and an .htaccess file');
    is scalar(() = $h->log_text =~ /PSG2500.*strange/g), 1, 'each is told once';
    is $h->get('/', Host => 'shop')->json->{pid}, $pid, 'alice\'s process has seen nothing of it';
}

# What eve's environment file may be: a file of hers. Nothing else holds anybody up.
sub env_files {
    my $h = Harness->new(mpm => $mpm);
    my %make = (
        fifo => sub { system('mkfifo', $_[0]) }, folder => sub { mkdir $_[0] }, zero => sub { symlink '/dev/zero', $_[0] }, terminal => sub { symlink '/dev/tty', $_[0] }, itself => sub { symlink $_[0], $_[0] },
        huge => sub { spew($_[0], ''); truncate $_[0], 10 * 2**30 }, memory => sub { symlink '/proc/self/mem', $_[0] }, all => sub { spew($_[0], "A=b\n"); chmod 0666, $_[0] }, noise => sub { spew($_[0], "\0\xff=\n") },
    );
    my $conf = "PassengerMaxPoolSize 4\n";
    for my $name (sort keys %make) {
        my $app = $h->copy_app('wsgi', $name, owner => $eve);
        unlink "$app/.env";
        $make{$name}->("$app/.env");
        system('chown', '-h', $eve, "$app/.env") unless $name eq 'all';
        $conf .= vhost($name, "$app/public", "PassengerEnvFile .env\n");
    }
    $h->start(conf => $conf);
    $h->allow_log('PSG0113', 'PSG0117', qr/App \d+ output/);
    for my $name (sort keys %make) {
        my $begin = time;
        cmp_ok $h->get('/', Host => $name)->status, '>=', 500, "an environment file that is none ($name)";
        cmp_ok time - $begin, '<', 10, '... is seen at once';
        $h->expect_log(qr{The environment file \S*/$name/\.env \(PassengerEnvFile\) was not read}, "... and the log says so ($name)");
    }
}

# Requests with lies in them, by whoever has Apache's user, beyond those of 50trust.t.
sub forged {
    my $h = Harness->new(mpm => $mpm);
    my $shop = shop($h);
    my $marker = marker($h);
    my $plain = $h->copy_app('wsgi', 'plain', owner => $alice);
    # A folder of root's in which everybody may make files, and one in which everybody may replace everything.
    my ($open, $loose) = map { "$h->{root}/$_" } qw(open loose);
    mkdir $_ for $open, $loose;
    chmod 01777, $open;
    chmod 0777, $loose;
    system('cp', '-a', $plain, "$loose/plain") == 0 or die 'cp';
    spew("$open/$_.py", "import os\nopen('$marker', 'a').write('%d\\n' % os.getuid())\n") for qw(json hashlib site sitecustomize);
    $h->own($open, 'www-data');
    system('chown', 'root:root', $open);
    $h->start(conf => "PassengerMaxPoolSize 30\n" . vhost('shop', "$shop/public"));
    $h->allow_log(qr/PSG01\d\d:|App \d+ output/);
    core_socket($h);
    my $pid = $h->get('/', Host => 'shop')->json->{pid};
    is user_of(attack(app_root => $open, startup => "$shop/passenger_wsgi.py")), 'none', 'alice\'s file does not run in a folder where others put its modules';
    $h->expect_log(qr/everybody may write into its folder \Q$open\E, and so decide what uid $alice_uid runs/, 'why');
    is user_of(attack(app_root => "$loose/plain")), 'none', 'nor an application that everybody could exchange for another';
    $h->expect_log(qr/everybody may write into \Q$loose\E, and so put another application in its place/, 'why');
    is user_of(attack(app_root => $plain)), $alice, '... unlike one in a folder of root\'s';
    my @row = (
        ['her environment file, in her own process only', { env_file => "$shop/secret.env" }], ['a page', { custom_error_page => '/etc/shadow' }], ['a log', { app_log_file => "$h->{root}/logs/error_log" }],
        ['a folder for restarts', { restart_dir => '/root' }], ['a shell', { python => '/bin/sh' }], ['a program with arguments', { python => "/bin/sh -c 'id -u >>$marker'" }],
        ['a method of starting', { spawn_method => "direct; id >>$marker" }], ['an environment with a line break', { app_env => "a\nLD_PRELOAD=/tmp/x.so" }], ['an environment with NUL', { app_env => "a\0b" }],
        ['a group with a slash', { group => '../root' }], ['user root', { user => 'root', group => 'root' }],
    );
    for my $row (@row) {
        my $r = attack(app_root => $plain, path => '/process', options => $row->[1]);
        my ($uids) = $r =~ /"uids": \[(\d+)/;
        ok !defined $uids || $uids == $alice_uid, "$row->[0]: the owner, or nobody" or diag substr $r, 0, 400;
        unlike $r, qr/LD_PRELOAD|root:[*!\$]/, '... and nothing of root\'s';
    }
    unlike slurp($marker), qr/^(?:0|$alice_uid)$/m, 'nothing of that ran as alice or root';
    is $h->get('/', Host => 'shop')->json->{pid}, $pid, 'her visitors meet the process that they met before';

    # What outlives whoever sent it: names of options that others use, and a configuration that claims to be newer than all that will come.
    my $digest = '0123456789abcdef';
    like attack(app_root => $plain, path => '/process', group => 'variants', digest => $digest, options => { app_env => 'evil' }), qr/"RACK_ENV": "evil"/, 'options by a name';
    like attack(app_root => $plain, path => '/process', group => 'variants', digest => $digest, untold => 1), qr/^HTTP\/1\.1 421 .*Passenger-Need-Options/ms, '... which means nothing on another link';
    like attack(app_root => $plain, path => '/process', group => 'newest', generation => 4294967295, options => { app_env => 'evil' }), qr/"RACK_ENV": "evil"/, 'options of the year 4294967295';
    my $taken = wait_for { attack(app_root => $plain, path => '/process', group => 'newest', generation => 1_000_000, digest => $digest, options => { app_env => 'good' }) =~ /"RACK_ENV": "good"/ } undef, 20;
    ok $taken, '... do not keep away what comes after';
}

# Runs code again and again as a user, until told to end; how often is what it leaves behind.
sub keep_doing {
    my ($user, $code) = @_;
    my $pid = open(my $told, '-|') // die "fork: $!";
    return [$pid, $told] if $pid;
    my ($uid, $gid) = (getpwnam $user)[2, 3];
    my ($n, $over) = (0, 0);
    $SIG{TERM} = sub { $over = 1 };
    # The others' processors are few, and they must do something to be raced with.
    POSIX::nice(5);
    become($uid, $gid);
    alarm 120;
    $code->(), $n++ until $over;
    syswrite STDOUT, $n;
    POSIX::_exit(0);
}

sub stop_doing { my ($busy) = @_; kill TERM => $busy->[0]; local $/; my $n = readline $busy->[1]; waitpid $busy->[0], 0; return $n || 0 }

# Asks again and again for so many seconds, beside others; "who was met" => how often.
sub keep_asking {
    my ($seconds, $ask) = @_;
    my $pid = open(my $told, '-|') // die "fork: $!";
    return [$pid, $told] if $pid;
    my ($end, %who) = (time + $seconds);
    while (time < $end) {
        my $r = eval { $ask->() } // '';
        my ($uid) = $r =~ /"uids?": \[?(\d+)/;
        $who{ $uid // 'none' }++;
        $who{told}++ if $r =~ /\Q$secret/;
    }
    syswrite STDOUT, JSON::PP->new->encode(\%who);
    POSIX::_exit(0);
}

sub answers { my ($asking) = @_; local $/; my $text = readline $asking->[1]; waitpid $asking->[0], 0; return eval { JSON::PP->new->decode($text) } // {} }

# Files that are exchanged for others while the helper looks at them. Each start is of an application of its own, so that all are looked at anew.
sub races {
    my $h = Harness->new(mpm => $mpm);
    my $shop = shop($h);
    my $marker = marker($h);
    my $apps = "$h->{root}/apps";
    my $mark = "import os\nopen('$marker', 'a').write('%d\\n' % os.getuid())\n";
    my $evil = $h->copy_app('wsgi', 'evil', owner => $eve);
    spew("$evil/passenger_wsgi.py", $mark . slurp("$evil/passenger_wsgi.py"));
    my ($files, $env) = map { $h->copy_app('wsgi', $_, owner => $eve) } qw(files env);
    mkdir "$apps/eve";
    # Something of eve's and something of alice's change places under one name.
    link "$shop/passenger_wsgi.py", "$files/alices" or die "link: $!";
    spew("$files/$_", slurp("$evil/passenger_wsgi.py")) for qw(passenger_wsgi.py eves);
    spew("$env/$_", "MINE=1\n") for qw(.env eves);
    symlink "$shop/secret.env", "$env/alices" or die "symlink: $!";
    $h->own("$apps/eve", $eve);
    system('chown', '-h', $eve, "$env/alices", "$env/eves", "$env/.env", "$files/eves", "$files/passenger_wsgi.py") == 0 or die 'chown';
    # A site of eve's below whose base URI a link changes, and one whose .htaccess file is now hers, now alice's.
    mkdir "$apps/$_" for qw(linked written);
    symlink "$evil/public", "$apps/linked/shop" or die "symlink: $!";
    spew("$apps/eves.htaccess", "PassengerAppRoot $shop\n");
    spew("$apps/alices.htaccess", "PassengerAppEnv staging\n");
    $h->own("$apps/$_", $eve) for qw(linked written eves.htaccess);
    $h->own("$apps/alices.htaccess", $alice);
    chmod 01777, $apps;
    symlink "$apps/eves.htaccess", "$apps/written/.htaccess" or die "symlink: $!";
    my $logs = $h->copy_app('wsgi', 'logs', owner => $eve);
    spew("$logs/app.log", '');
    $h->own("$logs/app.log", $eve);
    $h->start(conf => "PassengerStatThrottleRate 0\nPassengerMaxPoolSize 10\n" . vhost('shop', "$shop/public") . vhost('linked', "$apps/linked", "PassengerBaseURI /shop\n")
        . vhost('written', "$apps/written", "PassengerAppRoot $evil\n") . vhost('logs', "$logs/public", "PassengerAppLogFile app.log\n"));
    $h->allow_log(qr/PSG01\d\d:|App \d+ output|PSG170\d|PSG19\d\d|PSG250[01]|PassengerStatThrottleRate/);
    core_socket($h);
    my @before = map { join ' ', (stat "$shop/$_")[2, 4, 5, 7, 9] } qw(secret.env own.log tmp tmp/restart.txt);
    my $swap = sub { my ($name, @to) = @_; keep_doing($eve, sub { for my $to (@to) { symlink $to, "$name.new"; rename "$name.new", $name } }) };
    my %busy = (
        'a link to the application' => $swap->("$apps/eve/link", $shop, $evil),
        # Another name for alice's file each time: a rename of two names of one file does nothing.
        'the startup file' => keep_doing($eve, sub { for my $from (qw(alices eves)) { link "$files/$from", "$files/new"; rename "$files/new", "$files/passenger_wsgi.py" or unlink "$files/new" } }),
        'the environment file' => $swap->("$env/.env", "$shop/secret.env", "$env/eves"),
        'a link below a base URI' => $swap->("$apps/linked/shop", "$shop/public", "$evil/public"),
        'an .htaccess file' => $swap->("$apps/written/.htaccess", "$apps/eves.htaccess", "$apps/alices.htaccess"),
        'a log' => keep_doing($eve, sub { symlink "$shop/own.log", "$logs/new"; rename "$logs/new", "$logs/app.log"; if (open my $f, '>', "$logs/new") { close $f; rename "$logs/new", "$logs/app.log" } }),
        'the folder of restart.txt' => keep_doing($eve, sub { rename "$logs/tmp", "$logs/old"; symlink "$shop/tmp", "$logs/tmp"; unlink "$logs/tmp"; rename "$logs/old", "$logs/tmp" }),
    );
    my $by_apache = sub { my ($path, $host) = @_; sub { $h->get($path, Host => $host)->body } };
    my %ask = (
        'a link to the application' => sub { attack(path => '/process', app_root => "$apps/eve/link") }, 'the startup file' => sub { attack(path => '/process', app_root => $files) },
        'the environment file' => sub { attack(path => '/process', app_root => $env, options => { env_file => '.env' }) }, 'a link below a base URI' => $by_apache->('/shop/', 'linked'),
        'an .htaccess file' => $by_apache->('/', 'written'), 'a log' => $by_apache->('/slow?s=0', 'logs'), 'the folder of restart.txt' => $by_apache->('/', 'logs'),
    );
    my %asking = map { $_ => keep_asking(20, $ask{$_}) } sort keys %ask;
    my %who = map { $_ => answers($asking{$_}) } sort keys %asking;
    for my $what (sort keys %ask) {
        my $swaps = stop_doing($busy{$what});
        my ($n, %met) = (0, %{ $who{$what} });
        $n += $met{$_} for keys %met;
        is join(' ', grep { $_ ne 'none' && $_ ne $eve_uid } sort keys %met), '', "$what changes all the time: eve, or nobody" or diag explain \%met;
        cmp_ok $n, '>=', 1, "... asked $n times, eve answered " . ($met{$eve_uid} // 0) . " times";
        cmp_ok $swaps, '>=', 100, "... while it was exchanged $swaps times";
    }
    is_deeply [map { join ' ', (stat "$shop/$_")[2, 4, 5, 7, 9] } qw(secret.env own.log tmp tmp/restart.txt)], \@before, 'alice\'s files are as they were';
    unlike slurp($marker), qr/^(?:0|$alice_uid)$/m, 'nothing of eve\'s ran as alice or root';
    is getpwuid $h->get('/', Host => 'shop')->json->{uid}, $alice, 'alice\'s visitors meet alice\'s application';
    unlike $h->log_text, qr/\Q$secret/, 'the log repeats nothing of hers';
}

# The folder for instance directories, as others may have prepared it.
sub registry {
    {
        my $h = Harness->new(mpm => $mpm);
        my $app = $h->copy_app('wsgi');
        chmod 0777, "$h->{root}/registry";
        $h->start(conf => "DocumentRoot $app/public");
        $h->allow_log(qr/PSG0\d\d\d/);
        $h->expect_log(qr/registry is not safe for sockets: others may write into it/, 'a folder where everybody may replace everything');
        cmp_ok $h->get('/')->status, '>=', 500, '... is not used';
        $h->stop;
    }
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('wsgi');
    my ($registry, $keep) = ("$h->{root}/registry", "$h->{root}/keep");
    chmod 01777, $registry;
    my $victim = fork // die "fork: $!";
    if (!$victim) { setpgrp; exec 'sleep', 300 or POSIX::_exit(127) }
    mkdir $keep;
    spew("$keep/file", 'kept');
    # As eve would make it: notes about somebody else's process, links to somebody else's files.
    my $start = (split ' ', slurp("/proc/$victim/stat") =~ s/.*\) //sr)[19];
    my $fake = "$registry/instance-00000000000000000000000000000000";
    as_user($eve, sub { mkdir $fake; spew("$fake/$_", '') for 'lock', "p-$victim-$start", "q-$victim-$start"; symlink $keep, "$fake/link"; symlink $keep, "$registry/instance-link"; 'made' });
    ok -e "$fake/p-$victim-$start", 'a directory that looks like that of an instance that is gone';
    wait_for { getpgrp($victim) == $victim } 'a process with a group of its own';
    $h->start(conf => "DocumentRoot $app/public");
    is $h->get('/')->status, 200, 'a sticky folder is used';
    $h->expect_log(qr/PSG2100: instance\.foreign: \Q$fake\E belongs to uid $eve_uid/, 'who made that');
    is waitpid($victim, POSIX::WNOHANG()), 0, 'the process that its notes name lives';
    is slurp("$keep/file"), 'kept', '... and what its links name is there';
    kill KILL => $victim;
    waitpid $victim, 0;
    system 'rm', '-rf', $fake, "$registry/instance-link";
}

# What was installed, but can be changed by others.
sub installation {
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('wsgi');
    my $lib = "$h->{root}/lib";
    chmod 0775, $lib;
    $h->own("$lib/loaders/wsgi-loader.py", $eve);
    $h->start(conf => "DocumentRoot $app/public");
    is $h->get('/')->status, 200, 'it serves';
    $h->expect_log(qr/PSG2102: install\.unsafe: others than root can change \Q$lib\E \(it belongs to uid 0, mode 775\)/, 'a folder that a group can write');
    $h->expect_log(qr{PSG2102: .*/loaders/wsgi-loader\.py \(it belongs to uid $eve_uid,}, 'a loader that belongs to a user');
    is scalar(() = $h->log_text =~ /PSG2102/g), 2, '... and no more';
}
