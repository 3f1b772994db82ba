# Applications with a command of their own: anything that speaks HTTP at a port, or at a unix socket, that it is told.
use strict;
use warnings;
use lib 't/lib';
use Digest::SHA qw(sha1_hex);
use Test::More;
use Time::HiRes qw(time);
use Harness;

my $mpm = (Harness->mpms)[0];
for my $kind (Harness->mpms) {
    subtest "$kind: basics" => sub { basics($kind) };
}
for my $part (qw(places commands requests refusals failures ends foreign several)) {
    subtest $part => sub { no strict 'refs'; &$part() };
}
done_testing;

# An application in Python without our loader: one thread for each connection.
my $server;
sub server {
    return $server //= <<'END';
import hashlib, http.server, json, os, signal, socket, socketserver, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def address_string(self): return "-"
    def log_message(self, *args): pass
    def answer(self):
        body = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while True:
                size = int(self.rfile.readline(), 16)
                body += self.rfile.read(size)
                self.rfile.readline()
                if not size: break
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith("/slow"):
            print("slow begins", flush=True)
            time.sleep(0.8)
        if self.path == "/drop":
            self.close_connection = True
            return
        facts = {"method": self.command, "path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}, "length": len(body),
                 "sha1": hashlib.sha1(body).hexdigest(), "pid": os.getpid(), "uid": os.getuid(), "cwd": os.getcwd(), "env": dict(os.environ),
                 "peer": len(self.client_address), "connection": id(self),
                 "fds": {fd: os.readlink("/proc/self/fd/" + fd) for fd in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + fd)}}
        text = json.dumps(facts).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)
    do_GET = do_POST = do_PUT = do_HEAD = answer

class Threads(socketserver.ThreadingMixIn):
    daemon_threads = True
    allow_reuse_address = True

def serve(family, address):
    base = socketserver.UnixStreamServer if family == socket.AF_UNIX else socketserver.TCPServer
    kind = type("Server", (Threads, base), {"address_family": family, "request_queue_size": 128})
    kind(address, Handler).serve_forever()

def leave(number, frame):
    print("told to leave", flush=True)
    open("left", "a").write("x")
    os._exit(0)

signal.signal(signal.SIGTERM, leave)
where = sys.argv[1] if len(sys.argv) > 1 else "port"
port = int(os.environ["PORT"])
if where == "late": time.sleep(1)
if where == "half": sys.stdout.write("half a line"); sys.stdout.flush()
if where == "socket": serve(socket.AF_UNIX, os.environ["PASSENGER_SOCKET"])
elif where == "any": serve(socket.AF_INET, ("0.0.0.0", port))
elif where == "v6": serve(socket.AF_INET6, ("::1", port))
elif where == "v6any": serve(socket.AF_INET6, ("::", port))
else: serve(socket.AF_INET, ("127.0.0.1", port))
END
}

# Virtual hosts: name => command, all with the same files.
sub hosts {
    my ($h, $command, $more) = @_;
    my $conf = '';
    for my $name (sort keys %$command) {
        my $dir = $h->make_app($name, { 'server.py' => server(), 'index.txt' => "from $name\n" });
        my $quoted = $command->{$name} =~ s/(["\\])/\\$1/gr;
        $conf .= "<VirtualHost *>\nServerName $name\nDocumentRoot $dir/public\nPassengerAppStartCommand \"$quoted\"\n" . ($more // '') . "\n</VirtualHost>\n";
    }
    return $conf;
}

sub basics {
    my ($kind) = @_;
    my $h = Harness->new(mpm => $kind);
    my $conf = hosts($h, { app => 'python3 server.py' }, "SetEnv FROM_APACHE yes\nSetEnv PORT 1");
    spew("$h->{root}/apps/app/public/file.txt", "static\n");
    $h->start(conf => $conf);
    my $r = $h->get('/a%20b?c=d', Host => 'app', 'X-Two' => 2);
    is $r->status, 200, 'it answers' or diag $h->log_text;
    my $seen = $r->json;
    is $seen->{path}, '/a%20b?c=d', '... to what was asked';
    is $seen->{headers}{'x-two'}, 2, '... with the fields';
    is $seen->{headers}{'x-forwarded-for'}, '127.0.0.1', '... knowing the client';
    is $seen->{cwd}, "$h->{root}/apps/app", '... in its folder';
    is getpwuid($seen->{uid}), $h->app_user, '... as its owner' unless $>;
    is $seen->{env}{FROM_APACHE}, 'yes', '... with variables of the configuration';
    like $seen->{env}{PORT}, qr/^[1-9]\d{3,4}$/, '... but a port of ours';
    like $seen->{env}{PASSENGER_SOCKET}, qr{^/.*/own-\d+/socket$}, '... and a place for a socket';
    ok((grep { $_ == $seen->{pid} } $h->apps), '... as the very process that was started');
    is_deeply [ grep { $_ > 2 && $seen->{fds}{$_} !~ m{^socket:|/proc/} } keys %{ $seen->{fds} } ], [], '... without other descriptors';
    is $h->get('/file.txt', Host => 'app')->body, "static\n", 'public files are Apache\'s';
    my @other = grep { $_->{cmdline}[1] && $_->{cmdline}[1] eq 'prepare' } $h->processes;
    is scalar(@other), 0, 'nobody else is left of the start';
    is scalar(() = $h->log_text =~ /App \d+ output:/g), 0, '... nor a line in the log';
}

# Where an application may listen.
sub places {
    my $h = Harness->new(mpm => $mpm);
    my $v6 = slurp('/proc/net/if_inet6') =~ /^0{31}1 /m;
    my %command = map { ($_ => "python3 server.py $_") } qw(port any socket late half), $v6 ? qw(v6 v6any) : ();
    $h->start(conf => "PassengerMaxPoolSize 20\n" . hosts($h, \%command));
    my %port;
    for my $name (sort keys %command) {
        my $seen = $h->get('/', Host => $name)->json;
        ok $seen, "$name: it is found" or next;
        is $h->post('/', 'abc', Host => $name)->json->{pid}, $seen->{pid}, '... again';
        $port{ $seen->{env}{PORT} }++;
        is $seen->{peer}, $name eq 'socket' ? 0 : $name =~ /^v6/ ? 4 : 2, '... there' if $name ne 'v6any';
    }
    is scalar(keys %port), scalar(keys %command), 'each has a port of its own';
    like $h->log_text, qr/output: half a line$/m, 'half a line of output is one';
    # The folder is its user's and the core's.
    SKIP: {
        skip 'one user only', 3 if $>;
        my ($folder) = map { m{^(.*)/} } $h->get('/', Host => 'socket')->json->{env}{PASSENGER_SOCKET};
        my @stat = stat $folder;
        is sprintf('%o %s', $stat[2] & 07777, scalar getpwuid $stat[4]), '710 ' . $h->app_user, 'the folder of the socket is closed to others';
        my $core = $h->core;
        is $stat[5], (stat "/proc/$core")[5], '... but for the core';
        system 'rm', '-rf', $folder;
        is $h->get('/', Host => 'socket')->status, 200, '... who does not need it any more';
    }
    # A dead core's heir finds the way.
    $h->allow_log(qr/PSG001[34]/);
    my %before = map { ($_ => 1) } $h->apps;
    $h->kill_core;
    for my $name (grep { $_ ne 'socket' } sort keys %command) {
        soon { my $r = $h->get('/', Host => $name); $r->status == 200 && $before{ $r->json->{pid} } } "$name outlives the core", 10;
    }
}

# What may be a command.
sub commands {
    my $h = Harness->new(mpm => $mpm);
    my $c = <<'END';
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((unsigned short)atoi(getenv("PORT")))};
    int s = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(s, (struct sockaddr *)&sa, sizeof sa) || listen(s, 10))
        return 1;
    for (;;) {
        char text[65536];
        int fd = accept(s, NULL, NULL);
        ssize_t n = read(fd, text, sizeof text - 1);
        if (n > 0)
            dprintf(fd, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nin C, as %.*s\n", (int)strcspn(text, " "), text);
        close(fd);
    }
}
END
    my $py = 'python3 -m http.server "$PORT" --bind 127.0.0.1';
    my %command = (
        c => './server', plain => $py, script => './start.sh', quoted => 'python3 -m "http.server" \'--bind\' 127.0.0.1 $PORT', both => "cd . && $py",
        variable => "NAME=value $py", already => "exec $py", background => "$py & wait", redirected => "$py 2>/dev/null", shebang => './server.pl',
    );
    my @npm = grep { -x "$_/npm" } qw(/usr/local/bin /usr/bin);
    $command{npm} = 'npm start' if @npm;
    my $conf = hosts($h, \%command, 'PassengerStartTimeout 30');
    my $root = "$h->{root}/apps";
    spew("$root/c/server.c", $c);
    SKIP: {
        skip 'there is no compiler', 0 if system "gcc -o $root/c/server $root/c/server.c";
    }
    spew("$root/script/start.sh", "#!/bin/sh\necho starting\n$py\n");
    spew("$root/shebang/server.pl", "#!/usr/bin/perl\nexec 'python3', '-m', 'http.server', \$ENV{PORT}, '--bind', '127.0.0.1';\n");
    chmod 0755, "$root/script/start.sh", "$root/shebang/server.pl";
    spew("$root/npm/package.json", '{"name": "x", "version": "1.0.0", "scripts": {"start": "python3 server.py"}}') if @npm;
    $h->own("$root/$_", $h->app_user) for keys %command;
    $h->start(conf => "PassengerMaxPoolSize 20\n$conf");
    for my $name (sort keys %command) {
        my $r = $h->get('/index.txt', Host => $name);
        is $r->status, 200, "$name: $command{$name}";
        like $r->body, $name eq 'c' ? qr/^in C, as GET$/ : $name eq 'npm' ? qr/"pid"/ : qr/^from \Q$name\E$/, '... serves';
        ok $r->complete, '... to the end';
    }
    my %cmdline = map { ((split m{/}, $_->{cwd} // '')[-1] // '', "@{ $_->{cmdline} }") } grep { my $p = $_; grep { $_ == $p->{pid} } $h->apps } $h->processes;
    like $cmdline{$_}, qr/^python3/, "$_: no shell stays" for qw(plain quoted already redirected);
    like $cmdline{$_}, qr/sh/, "$_: a shell does what a shell must" for qw(background script);
}

sub chunked { join('', map { sprintf "%x\r\n%s\r\n", length, $_ } @_) . "0\r\n\r\n" }

sub requests {
    my $h = Harness->new(mpm => $mpm);
    $h->start(conf => hosts($h, { kept => 'python3 server.py' }) . hosts($h, { passed => 'python3 server.py' }, 'PassengerBufferUpload off'));
    for my $host (qw(kept passed)) {
        for my $size (0, 10, 300_000, 3_000_000) {
            my $body = 'abcdefghij' x ($size / 10);
            is $h->post('/', $body, Host => $host)->json->{sha1}, sha1_hex($body), "$host: a body of $size bytes";
            my $r = $h->post('/', chunked(unpack '(A40000)*', $body), Host => $host, 'Transfer-Encoding' => 'chunked')->json;
            is $r->{sha1}, sha1_hex($body), '... and in chunks';
        }
    }
    my @c = map { my $c = $h->client; $c->write_request('GET', '/slow', Host => 'kept'); $c } 1 .. 10;
    is scalar(grep { $_->read_response('GET')->status == 200 } @c), 10, 'ten at once';
    my ($first, $second) = map { $h->get('/', Host => 'kept')->json->{connection} } 1, 2;
    is $first, $second, 'a connection is kept';
    is scalar($h->apps), 2, '... and one process serves them all';
    $h->allow_log(qr/PSG0150: request\.failed: .*app\.died/);
    is $h->post('/drop', '', Host => 'kept')->status, 502, 'a request that gets no answer';
    is $h->get('/', Host => 'kept')->status, 200, '... leaves the others alone';
}

# Only the server's configuration names commands.
sub refusals {
    my $h = Harness->new(mpm => $mpm);
    my $dir = $h->make_app('htaccess', { 'server.py' => server(), 'public/.htaccess' => "PassengerAppStartCommand \"python3 server.py\"\n" });
    $h->start(conf => "DocumentRoot $dir/public\n<Directory $dir>\nAllowOverride All\n</Directory>");
    $h->allow_log(qr/PSG0113: spawn\.failed/);
    is $h->get('/')->status, 500, 'a command in .htaccess is not run';
    like $h->log_text, qr/PSG0113.*start command.*\.htaccess/, '... and the log says why';
}

sub failures {
    my $h = Harness->new(mpm => $mpm);
    my %command = (missing => 'no-such-program --port $PORT', ends => 'true', ends3 => 'exit 3', never => 'exec tail -f /dev/null',
        wrong => 'python3 -m http.server 1 --bind 127.0.0.1', syntax => 'if then');
    my %says = (missing => qr/exited with code 127/, ends => qr/exited with code 0 .*foreground/, ends3 => qr/exited with code 3/,
        never => qr/spawn\.timeout: .*\$PORT/, wrong => qr/exited with code 1/, syntax => qr/exited with code 2/);
    $h->start(conf => "PassengerFriendlyErrorPages on\n" . hosts($h, \%command, 'PassengerStartTimeout 2'));
    $h->allow_log(qr/PSG0113: spawn\.failed/);
    for my $name (sort keys %command) {
        my $r = $h->get('/', Host => $name);
        is $r->status, 500, "$name: a 500";
        my ($line) = grep { /PSG0113.*\Q\/$name \E/ } split /\n/, $h->log_text;
        like $line // '', $says{$name}, '... whose cause is in one line';
    }
    like $h->get('/', Host => 'missing')->body, qr/no-such-program/, 'the shell\'s words are on the friendly page';
    is scalar(() = $h->log_text =~ /!>/g), 0, 'nothing of our own talk is in the log';
}

# It does not know what the end of its input means: it is told by SIGTERM, and whatever it started goes with it.
sub ends {
    my $h = Harness->new(mpm => $mpm);
    my $conf = hosts($h, { one => 'python3 server.py', shell => 'tail -f /dev/null & python3 server.py; true', socket => 'python3 server.py socket' }, 'PassengerRollingRestarts off');
    $h->start(conf => $conf);
    my %before = map { ($_ => $h->get('/', Host => $_)->json->{pid}) } qw(one shell socket);
    my ($folder) = $h->get('/', Host => 'socket')->json->{env}{PASSENGER_SOCKET} =~ m{^(.*)/};
    ok -d $folder, 'it has a folder' unless $>;
    # What an application leaves there is no reason to stay.
    mkdir("$folder/deep");
    spew("$folder/deep/file", '');
    symlink('/etc', "$folder/deep/link");
    spew("$h->{root}/apps/$_/tmp/restart.txt", '') for keys %before;
    for my $name (sort keys %before) {
        soon { my $r = $h->get('/', Host => $name); $r->status == 200 && $r->json->{pid} != $before{$name} } "$name: replaced", 10;
        soon { !Proc::alive($before{$name}) } '... and gone', 10;
    }
    is slurp("$h->{root}/apps/one/left"), 'x', 'it was told, once';
    soon { 1 == grep { "@{ $_->{cmdline} }" eq 'tail -f /dev/null' } $h->processes } 'what the shell has started went too', 10;
    soon { !-e $folder } 'the folder of its socket is gone', 5;
    ok -e '/etc/passwd', '... and nothing else';
    my $begin = time;
    ok $h->stop, 'stop';
    cmp_ok time - $begin, '<', 6, '... is quick';
    is slurp("$h->{root}/apps/one/left"), 'xx', '... and told again';
}

# A port that somebody else listens on by now gets nothing.
sub foreign {
    plan skip_all => 'there is only one user' if $>;
    my $h = Harness->new(mpm => $mpm);
    my $thief = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', LocalPort => 0, ReuseAddr => 1) or die "listen: $@";
    my ($uid) = (getpwnam $h->app_user(1))[2];
    my $port = $thief->sockport;
    mkdir "$h->{root}/evil";
    $h->own("$h->{root}/evil", $h->app_user(1));
    close $thief;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        POSIX::setuid($uid);
        my $s = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', LocalPort => $port, ReuseAddr => 1) or POSIX::_exit(1);
        while (my $c = $s->accept) { my $text; spew("$h->{root}/evil/stolen", $text) if sysread $c, $text, 65536 }
        POSIX::_exit(0);
    }
    wait_for { my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port); $s } 'the thief';
    # It says so itself, as a loader would.
    my $lie = "printf '!> Ready\\n!> socket: main;tcp://127.0.0.1:$port;http;0\\n!> \\n'; exec tail -f /dev/null";
    my $path = "printf '!> Ready\\n!> socket: main;unix:/run/dbus/system_bus_socket;http;0\\n!> \\n'; exec tail -f /dev/null";
    $h->start(conf => hosts($h, { port => $lie, path => $path }, 'PassengerStartTimeout 5'));
    $h->allow_log(qr/PSG0200: app\.foreign_port/, qr/PSG0113: spawn\.failed/, qr/PSG010[0-9]/, qr/PSG01[15]\d/);
    for my $host (qw(port path)) {
        my $r = $h->get('/secret', Host => $host);
        cmp_ok $r->status, '>=', 500, "$host: what is somebody else's gets no request";
    }
    $h->expect_log(qr/PSG0200: app\.foreign_port: .*port $port, .*uid $uid/, 'whose port it is');
    kill KILL => $pid;
    waitpid $pid, 0;
    ok !-e "$h->{root}/evil/stolen", '... not a byte';
}

# A limit for those who want one, and restarts that nobody notices.
sub several {
    my $h = Harness->new(mpm => $mpm);
    $h->start(conf => hosts($h, { app => 'python3 server.py' }, "PassengerMaxInstances 3\nPassengerForceMaxConcurrentRequestsPerProcess 1"));
    my @c = map { my $c = $h->client; $c->write_request('GET', '/slow', Host => 'app'); $c } 1 .. 6;
    my %pid = map { my $r = $_->read_response('GET'); ($r->status == 200 ? $r->json->{pid} : 'failed') => 1 } @c;
    ok !$pid{failed}, 'six requests at once are served';
    soon { my @apps = $h->apps; @apps == 3 } '... by three processes', 10;
    spew("$h->{root}/apps/app/tmp/restart.txt", '');
    my ($bad, %seen) = (0);
    wait_for {
        ;
        my $r = $h->get('/', Host => 'app');
        $r->status == 200 ? $seen{ $r->json->{pid} }++ : $bad++;
        !grep { $pid{$_} } $h->apps;
    } 'new processes', 20;
    is $bad, 0, 'a restart loses nothing';
}
