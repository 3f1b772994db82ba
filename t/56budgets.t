# What one application may use: tasks, descriptors, processor time; who may say so; and neighbours that notice nothing. One MPM: limits are the helper's.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Harness;

plan skip_all => 'needs root' if $>;
my $h = Harness->new(mpm => 'event');
my $source = <<'PY';
import errno, json, os, resource, signal, sys, time

def bomb():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    children, failed = [], ''
    for i in range(300):
        try:
            pid = os.fork()
        except OSError as e:
            failed = errno.errorcode[e.errno]
            break
        if pid == 0:
            time.sleep(4)
            os._exit(0)
        children.append(pid)
    time.sleep(2.5)
    return {'children': len(children), 'failed': failed}

def files():
    kept, failed = [], ''
    try:
        while len(kept) < 5000:
            kept.append(open('/dev/null'))
    except OSError as e:
        failed = errno.errorcode[e.errno]
        n = len(kept)
        kept.clear()
        print('cannot open: %s' % e, file=sys.stderr, flush=True)
        return {'opened': n, 'failed': failed}
    return {'opened': len(kept), 'failed': failed}

def spin():
    end, n = time.time() + 2.5, 0
    while time.time() < end:
        n += 1
    return {'cpu': time.process_time()}

def hog():
    if os.fork() == 0:
        kept = []
        while True:
            kept.append(b'x' * (10 << 20))
            time.sleep(.02)
    time.sleep(60)

def limits():
    group = open('/proc/self/autogroup').read() if os.path.exists('/proc/self/autogroup') else ''
    return {'nofile': resource.getrlimit(resource.RLIMIT_NOFILE), 'nproc': resource.getrlimit(resource.RLIMIT_NPROC),
            'nice': os.getpriority(os.PRIO_PROCESS, 0), 'autogroup': group, 'pid': os.getpid()}

def application(environ, start_response):
    body = json.dumps(globals()[environ['PATH_INFO'][1:]]()).encode()
    start_response('200 OK', [('Content-Type', 'application/json')])
    return [body]
PY
my (%user, $conf);
# $n: which user; .htaccess comes last.
sub site {
    my ($name, $n, $lines, $htaccess) = @_;
    my $dir = $h->make_app($name, { 'passenger_wsgi.py' => $source, defined $htaccess ? ('public/.htaccess' => $htaccess) : () });
    $h->own($dir, $user{$name} = $h->app_user($n));
    $conf .= "<VirtualHost *>\nServerName $name\nDocumentRoot $dir/public\n$lines\n"
        . "<Directory $dir/public>\nAllowOverride All\nRequire all granted\n</Directory>\n</VirtualHost>\n";
    return $dir;
}
site(bomb => 0, "PassengerTaskLimit 20\nPassengerMaxInstances 1");
site(beside => 0, "PassengerTaskLimit 20\nPassengerMaxInstances 1");
site(hog => 0, "PassengerHardMemoryLimit 150\nPassengerMaxInstances 1");
site(calm => 1, '');
site(files => 1, 'PassengerAppFileDescriptorUlimit 64');
site(light => 2, 'PassengerCPUWeight 25');
site(higher => 2, "PassengerTaskLimit 30\nPassengerAppFileDescriptorUlimit 100",
    "PassengerTaskLimit 50\nPassengerAppFileDescriptorUlimit 4000\nPassengerCPUWeight 900\n");
my $lower = site(lower => 2, "PassengerTaskLimit 30\nPassengerAppFileDescriptorUlimit 100\nPassengerRollingRestarts on\nPassengerMaxInstances 2",
    "PassengerTaskLimit 25\nPassengerAppFileDescriptorUlimit 80\nPassengerCPUWeight 50\n");
my $smart = site(smart => 2, "PassengerSpawnMethod smart\nPassengerTaskLimit 40\nPassengerAppFileDescriptorUlimit 90\nPassengerCPUWeight 50");
my $limits = "PassengerTaskLimit 40\nPassengerAppFileDescriptorUlimit 90\nPassengerCPUWeight 50";
my %other = (
    node => ['app.js', "PassengerAppType node", <<'JS'],
require('http').createServer((q, r) => r.end(require('fs').readFileSync('/proc/self/limits') + 'nice ' + require('os').getPriority())).listen(0);
JS
    php => ['public/index.php', 'PassengerAppType php', <<'PHP'],
<?php $stat = explode(' ', preg_replace('/^.*\)/', '', file_get_contents('/proc/self/stat')));
echo file_get_contents('/proc/self/limits'), 'nice ', $stat[17];
PHP
    command => ['serve.py', 'PassengerAppStartCommand "python3 serve.py"', <<'COMMAND'],
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = (open('/proc/self/limits').read() + 'nice %d' % os.getpriority(os.PRIO_PROCESS, 0)).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), Handler).serve_forever()
COMMAND
);
for my $name (sort keys %other) {
    my ($file, $line, $text) = @{ $other{$name} };
    my $dir = site($name => 2, "$line\n$limits\nPassengerAppLogFile log/app.log");
    unlink "$dir/passenger_wsgi.py";
    mkdir "$dir/log";
    spew("$dir/$file", $text);
    $h->own($dir, $user{$name});
}
my $free = site(free => 1, '', "PassengerAppFileDescriptorUlimit 1000000\n");
$h->start(conf => "PassengerMaxPoolSize 20\nPassengerCoreFileDescriptorUlimit 3000\n$conf");
if ($h->log_text =~ /PSG2600: .* by cgroup v2/) {
    note 'this system lets Apache have control groups, which keep limits in another way (t/57cgroups.t)';
    $h->finish;
    done_testing;
    exit;
}
like $h->log_text, qr/PSG2600: limits\.way: applications' limits are kept by rlimits and sampling: \S/, 'the log says what keeps the limits, and why';
sub ask { my ($name, $path) = @_; $h->get("/$path", Host => $name) }
sub told { my ($name, $path) = @_; my $r = ask($name, $path // 'limits'); is $r->status, 200, "$name answers"; return $r->json }
sub rlimit { my ($pid, $name) = @_; my ($line) = slurp("/proc/$pid/limits") =~ /^Max \Q$name\E +(\S+ +\S+)/m; return $line // 'none' }

is told('calm')->{nofile}[0], 1024, '... without limits with the usual 1024 descriptors';
my $usual = getpriority 0, 0; # ours is Apache's
is told('calm')->{nice}, $usual, '... and the usual priority';
is_deeply told('calm')->{nproc}, told('free')->{nproc}, '... and as many tasks as everybody';
my $beside = told('beside')->{pid};

# All that takes its time, at once.
my %slow = map {; my $c = $h->client(timeout => 60); $c->write_request('GET', "/$_->[1]", Host => $_->[0], Connection => 'close'); ($_->[0] => $c) }
    [bomb => 'bomb'], [light => 'spin'], [hog => 'hog'];
soon { $h->log_text =~ /PSG2300/ } 'the log tells of the bomb', 20;
is ask('calm', 'limits')->status, 200, 'another user\'s application answers beside it';
is ask('beside', 'limits')->status, 200, '... as does another one of the same user';
is $slow{hog}->read_response('GET')->status, 502, 'what takes memory without end is killed, although a child of its own has it';
my ($hog) = ($h->expect_log(qr{PSG0119: app\.memory_hard: process (\d+) of \S*/hog\S* .*uses \d+ MB, more than PassengerHardMemoryLimit 150; .* in GET /hog}) // '') =~ /process (\d+)/;
$h->expect_log(qr{PSG0150: request\.failed: .*app\.memory_hard: it used \d+ MB, more than PassengerHardMemoryLimit 150});
soon { !kill 0, -$hog } '... as is that child';
is told('beside')->{pid}, $beside, '... and its neighbour goes on';
my $bomb = $slow{bomb}->read_response('GET');
is $bomb->status, 200, 'the bomb goes off';
is $bomb->json->{failed}, 'EAGAIN', '... and is held';
cmp_ok $bomb->json->{children}, '<=', 20 + 32, '... near its limit, before it is counted';
$h->expect_log(qr{PSG2300: app\.tasks_limit: process \d+ of \S*/bomb\S* .*has \d+ processes and threads, its limit is PassengerTaskLimit 20; .* in GET /bomb});
is $slow{light}->read_response('GET')->status, 200, 'what works hard with little weight gets there';

my $files = told('files', 'files');
is $files->{failed}, 'EMFILE', 'descriptors end';
cmp_ok $files->{opened}, '<', 64, '... at the limit';
is_deeply told('files')->{nofile}, [64, 64], '... which it cannot raise';
$h->expect_log(qr{PSG2302: app\.files_limit: process \d+ of \S*/files\S* .*PassengerAppFileDescriptorUlimit 64});
is_deeply told('calm', 'files')->{failed}, 'EMFILE', 'the usual limit is one too';
$h->expect_log(qr{PSG2302: app\.files_limit: process \d+ of \S*/calm\S* .*PassengerAppFileDescriptorUlimit 1024});

my $light = told('light');
sub nicer { my ($by) = @_; return $usual + $by > 19 ? 19 : $usual + $by }
is $light->{nice}, nicer(6), 'a quarter of the weight is nice 6';
like $light->{autogroup}, qr/nice 6/, '... for its session too' if $light->{autogroup};
is_deeply told('smart')->{nofile}, [90, 90], 'who was forked by a preloader has the limits';
is told('smart')->{nice}, nicer(3), '... the priority';
like told('smart')->{autogroup}, qr/nice 3/, '... for its own session too' if $light->{autogroup};
cmp_ok told('smart')->{nproc}[1], '<', 1000, '... and a limit of tasks';

for my $name (sort keys %other) {
    my $r = ask($name, '');
    is $r->status, 200, "$name answers";
    like $r->body, qr/^Max open files +90 +90 /m, '... with its descriptors';
    like $r->body, qr/^Max processes +\d{1,3} +\d{1,3} /m, '... its tasks';
    is +($r->body =~ /nice (-?\d+)$/)[0], nicer(3), '... and its priority';
}
my @scribes;
soon { @scribes = grep { "@{ $_->{cmdline} }" =~ /passenger-helper prepare/ } $h->processes } 'their logs are written', 10;
unlike join(' ', map { rlimit($_->{pid}, 'open files') } @scribes), qr/\b90\b/, '... by processes without their limits';

my $higher = told('higher');
is_deeply $higher->{nofile}, [100, 100], 'an .htaccess file cannot raise the descriptors';
is $higher->{nice}, $usual, '... nor the weight beyond what everybody has';
$h->expect_log(qr{PSG1701: PassengerTaskLimit at \S+higher/public/\.htaccess:1 is more than the server's configuration allows, which is 30});
$h->expect_log(qr{PSG1701: PassengerAppFileDescriptorUlimit at \S+higher/public/\.htaccess:2 is more than .* which is 100});
$h->expect_log(qr{PSG1701: PassengerCPUWeight at \S+higher/public/\.htaccess:3 is more than .* which is 100});
is scalar(() = $h->log_text =~ /PSG1701: PassengerTaskLimit/g), 1, '... which is told once';
cmp_ok told('free')->{nofile}[0], '<', 1000000, 'where nothing is said, the hard limit is the bound';

my $was = told('lower');
is_deeply $was->{nofile}, [80, 80], 'an .htaccess file can lower';
is $was->{nice}, nicer(3), '... everything';
spew("$lower/public/.htaccess", "PassengerTaskLimit 25\nPassengerAppFileDescriptorUlimit 70\nPassengerCPUWeight 50\n");
my %status;
soon { my $r = ask('lower', 'limits'); $status{ $r->status }++; $r->status == 200 && $r->json->{nofile}[0] == 70 } 'a change brings new processes', 20;
is_deeply [keys %status], [200], '... and no visitor notices';

like rlimit($h->core, 'open files'), qr/^3000 /, 'the core has as many descriptors as PassengerCoreFileDescriptorUlimit says';
$h->finish;
done_testing;
