# Meteor: applications that its tool runs, and those that it has bundled, with a stand-in for the tool that behaves like it.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Harness;

plan skip_all => 'there is no node' unless grep { -x "$_/node" } qw(/usr/local/bin /usr/bin /bin);
# How an application starts is the helper's business: one MPM.
my $mpm = (Harness->mpms)[0];
for my $part (qw(run settings missing bundled)) {
    subtest $part => sub { no strict 'refs'; &$part() };
}
done_testing;

# meteor run: says what it does, takes its time, listens itself as a proxy, runs the server and a database as children, and ends them at SIGINT. Two in
# one folder are an error, as with the tool's database.
sub tool {
    return <<'END';
#!/usr/bin/env node
const { spawn } = require('child_process');
const fs = require('fs');
const http = require('http');
const args = process.argv.slice(2);
const port = Number(args[args.indexOf('-p') + 1]);
if (args[0] !== 'run' || !port || !fs.existsSync('.meteor/release')) { console.error('This is not a Meteor project.'); process.exit(1); }
try { fs.mkdirSync('.meteor/local'); } catch (error) { console.error('another meteor runs here'); process.exit(1); }
process.stdout.write('[[[[[ ' + process.cwd() + ' ]]]]]\n\n=> Started proxy.\n');
process.stdout.write('=> Building...\r');
const database = spawn('sh', ['-c', 'tail -f /dev/null & p=$!; trap "kill $p; echo database ends; exit 0" INT TERM; wait'], { stdio: ['ignore', 'inherit', 'inherit'] });
const child = spawn(process.execPath, ['-e', `
    process.on('SIGINT', () => process.exit(0));
    require('http').createServer((q, r) => r.end(JSON.stringify({ url: q.url, pid: process.ppid, uid: process.getuid(), args: ${JSON.stringify(args)},
        env: process.env, cwd: process.cwd() }))).listen(0, '127.0.0.1', function () { process.stdout.write('PORT ' + this.address().port + '\\n'); });
`], { stdio: ['ignore', 'pipe', 'inherit'] });
child.stdout.on('data', (text) => {
    const target = Number(/PORT (\d+)/.exec(text)[1]);
    setTimeout(() => http.createServer((q, r) => {
        q.pipe(http.request({ port: target, host: '127.0.0.1', method: q.method, path: q.url, headers: q.headers }, (a) => { r.writeHead(a.statusCode, a.headers); a.pipe(r); }));
    }).listen(port, () => console.log('=> App running at: http://localhost:' + port + '/')), 700);
});
let left = 2;
function gone() { if (--left === 0) { fs.rmdirSync('.meteor/local'); console.log('=> Exited.'); process.exit(0); } }
child.on('exit', gone);
database.on('exit', gone);
process.on('SIGINT', () => console.log('told by SIGINT'));
process.on('SIGTERM', () => { child.kill(); database.kill(); });
END
}

sub conf { my ($name, $dir, $more) = @_; "<VirtualHost *>\nServerName $name\nDocumentRoot $dir/public\n" . ($more // '') . "\n</VirtualHost>\n" }

# A folder for the tool; the command is found where PATH leads, which the user's profile sets. Apache's test has none, so it is set by Passengerfile.json.
sub found_in { my ($dir) = @_; ('Passengerfile.json' => "{\"envvars\": {\"PATH\": \"$dir:/usr/local/bin:/usr/bin:/bin\"}}") }

sub put_tool {
    my ($h, $dir) = @_;
    mkdir $dir;
    spew("$dir/meteor", tool());
    chmod 0755, "$dir/meteor";
}

sub files { my (%file) = @_; return { '.meteor/release' => "METEOR\@2.16\n", 'server/main.js' => '', %file } }

sub run {
    my $h = Harness->new(mpm => $mpm);
    put_tool($h, "$h->{root}/tool");
    my $app = $h->make_app('chat', files(found_in("$h->{root}/tool"), 'app.js.txt' => ''));
    $h->start(conf => "PassengerMaxPoolSize 4\n" . conf('chat', $app, "SetEnv ROOT_URL http://chat.example/\nPassengerRollingRestarts on\nPassengerMaxInstances 3"));
    my $r = $h->get('/a?b=c', Host => 'chat');
    is $r->status, 200, 'a folder .meteor is enough';
    my $seen = $r->json // {};
    is $seen->{url}, '/a?b=c', '... it is asked for what was asked';
    is_deeply [ grep { !/^\d+$/ } @{ $seen->{args} } ], [qw(run -p --production)], '... by meteor run, for production';
    is $seen->{cwd}, $app, '... in its folder';
    is getpwuid($seen->{uid}), $h->app_user, '... as its owner' unless $>;
    is $seen->{env}{ROOT_URL}, 'http://chat.example/', '... with the configuration\'s variables';
    like $h->log_text, qr/=> App running at/, 'what it prints is in the log';
    is_deeply [ $h->apps ], [ $seen->{pid} ], 'no shell stays before it';
    my ($group) = map { (split ' ', slurp("/proc/$_/stat") =~ s/.*\) //sr)[2] } $seen->{pid};
    is $group, $seen->{pid}, 'it has a process group of its own';
    spew("$app/tmp/restart.txt", '');
    soon { my $r = $h->get('/', Host => 'chat'); $r->status == 200 && $r->json->{pid} != $seen->{pid} } 'a restart waits until the folder is free', 20;
    like $h->log_text, qr/output: told by SIGINT/, '... having told it by SIGINT';
    like $h->log_text, qr/output: database ends.*output: => Exited\./s, '... and all that it had started';
    unlike $h->log_text, qr/another meteor runs here/, '... so that never two run';
    ok $h->stop, 'stop';
}

sub settings {
    my $h = Harness->new(mpm => $mpm);
    my %tool = found_in("$h->{root}/tool");
    put_tool($h, "$h->{root}/tool");
    my $conf = '';
    my %options = (relative => 'PassengerMeteorAppSettings settings.json', absolute => "PassengerMeteorAppSettings $h->{root}/apps/absolute/settings.json",
        develop => 'PassengerAppEnv development', gone => 'PassengerMeteorAppSettings nowhere.json', typed => "PassengerAppType meteor\nPassengerAppRoot $h->{root}/apps/typed");
    $conf .= conf($_, $h->make_app($_, files(%tool, 'settings.json' => '{"a": 1}')), $options{$_}) for sort keys %options;
    $h->start(conf => "PassengerMaxPoolSize 10\n$conf");
    my %args = map { my $r = $h->get('/', Host => $_); ($_ => $r->status == 200 ? [ grep { !/^\d+$/ } @{ $r->json->{args} } ] : $r->status) } sort keys %options;
    is_deeply $args{$_}, [ 'run', '-p', '--settings', "$h->{root}/apps/$_/settings.json", '--production' ], "$_ settings" for qw(relative absolute);
    is_deeply $args{develop}, [qw(run -p)], 'another environment is not production';
    is_deeply $args{typed}, [qw(run -p --production)], 'the type may be named';
    is $args{gone}, 500, 'settings that are not there';
    $h->expect_log(qr{PSG0113: .*nowhere\.json \(PassengerMeteorAppSettings\) cannot be read}, 'which file is missing');
}

# Where the tool is looked for, and what is said when it is nowhere.
sub missing {
    plan skip_all => 'meteor is installed' if grep { -x "$_/meteor" } qw(/usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin);
    my $h = Harness->new(mpm => $mpm);
    my $home = "$h->{root}/home";
    mkdir $home;
    put_tool($h, "$home/.meteor");
    my $conf = conf('nowhere', $h->make_app('nowhere', files())) . conf('home', $h->make_app('home', files('Passengerfile.json' => "{\"envvars\": {\"HOME\": \"$home\"}}")));
    $h->start(conf => $conf);
    is $h->get('/', Host => 'home')->status, 200, 'it is found where its installer puts it';
    is $h->get('/', Host => 'nowhere')->status, 500, 'it is nowhere';
    $h->expect_log(qr{PSG0113: .*The program meteor was found neither in PATH .*meteor build.*PassengerAppType node}, 'what to do');
}

# What meteor build makes is an application for Node.js: main.js, which wants ROOT_URL, MONGO_URL, METEOR_SETTINGS and PORT.
sub bundled {
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->make_app('bundle', {
        'main.js' => "process.argv.splice(2, 0, 'program.json');\nprocess.chdir(require('path').join(__dirname, 'programs', 'server'));\nrequire('./programs/server/boot.js');\n",
        'star.json' => '{"format": "site-archive-pre1"}', 'programs/server/program.json' => '{"load": []}',
        'programs/server/boot.js' => <<'END' });
if (!process.env.ROOT_URL) throw new Error('Must pass options.rootUrl or set ROOT_URL in the server environment');
if (!process.env.MONGO_URL) throw new Error('MONGO_URL must be set in environment');
const settings = JSON.parse(process.env.METEOR_SETTINGS || '{}');
const cluster = require('cluster');
const server = require('http').createServer((q, r) => r.end(JSON.stringify({ url: q.url, root: process.env.ROOT_URL, settings, cwd: process.cwd(), argv: process.argv.slice(2), worker: cluster.isWorker })));
server.listen(process.env.PORT, process.env.BIND_IP || '0.0.0.0', () => console.log('LISTENING'));
END
    my $node = "PassengerAppType node\nPassengerStartupFile main.js\nPassengerAppRoot $app";
    my $bare = $h->make_app('bare', {});
    system('cp', '-r', "$app/.", $bare) == 0 or die 'cp';
    $h->own($bare, $h->app_user);
    $h->start(conf => conf('bundle', $app, "$node\nSetEnv ROOT_URL http://bundle.example\nSetEnv MONGO_URL mongodb://127.0.0.1/x\nSetEnv METEOR_SETTINGS '{\"public\": {\"a\": 1}}'")
        . conf('bare', $bare, "PassengerAppType node\nPassengerStartupFile main.js\nPassengerAppRoot $bare"));
    my $seen = $h->get('/x', Host => 'bundle')->json;
    is_deeply $seen, { url => '/x', root => 'http://bundle.example', settings => { public => { a => 1 } }, cwd => "$app/programs/server", argv => ['program.json'], worker => $seen->{worker} },
        'a bundle runs as an application for Node.js';
    ok $seen->{worker}, '... and starts no workers of its own';
    is $h->get('/', Host => 'bare')->status, 500, 'without its variables it does not start';
    $h->expect_log(qr/PSG0113: .*Must pass options\.rootUrl or set ROOT_URL/, 'which one is missing');
}
