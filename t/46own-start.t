# What an application's owner says about its start: Passengerfile.json, and startup files that are scripts.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Harness;

# How an application starts is the helper's business: one MPM.
my $mpm = (Harness->mpms)[0];
for my $part (qw(commands kinds variables wrong rights scripts panels servers)) {
    subtest $part => sub { no strict 'refs'; &$part() };
}
done_testing;

# Tells what it is; listens as it is told.
sub server {
    return <<'END';
import http.server, json, os, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass
    def do_GET(self):
        text = json.dumps({"path": self.path, "uid": os.getuid(), "pid": os.getpid(), "ppid": os.getppid(), "cwd": os.getcwd(), "argv": sys.argv[1:],
                           "env": dict(os.environ)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
if "late" in sys.argv: time.sleep(2)
http.server.ThreadingHTTPServer((sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
END
}

sub wsgi {
    return <<'END';
import json, os
def application(environ, start_response):
    start_response('200 OK', [])
    return [json.dumps({'kind': 'python', 'file': __file__, 'env': dict(os.environ)}).encode()]
END
}

# Virtual hosts with these files: name => { file => text }.
sub hosts {
    my ($h, $options, %app) = @_;
    my $conf = '';
    for my $name (sort keys %app) {
        my $dir = $h->make_app($name, { 'server.py' => server(), %{ $app{$name} } });
        chmod 0755, glob("$dir/*.sh $dir/bin/*");
        $conf .= "<VirtualHost *>\nServerName $name\nDocumentRoot $dir/public\n" . ($options->{$name} // '') . "\n</VirtualHost>\n";
    }
    return $conf;
}

sub file { my (%member) = @_; my $n = join ', ', map { qq("$_": ) . ($member{$_} =~ /^[{\[\d]/ ? $member{$_} : '"' . $member{$_} =~ s/(["\\])/\\$1/gr . '"') } sort keys %member; "{$n}\n" }

sub commands {
    my $h = Harness->new(mpm => $mpm);
    my $start = 'python3 server.py';
    my %app = (
        plain => { 'Passengerfile.json' => file(app_start_command => "$start a") },
        first => { 'Passengerfile.json' => file(app_start_command => "$start b"), 'passenger_wsgi.py' => wsgi() },
        comments => { 'Passengerfile.json' => "// started so\n{ /* the\n command */ \"app_start_command\": \"$start http://x\", \"port\": 3000, \"engine\": \"builtin\" }" },
        configured => { 'Passengerfile.json' => file(app_start_command => "$start file") },
        typed => { 'Passengerfile.json' => file(app_start_command => "$start file"), 'passenger_wsgi.py' => wsgi() },
        inroot => { 'Passengerfile.json' => file(app_start_command => $start) },
        shell => { 'Passengerfile.json' => file(app_start_command => "A=1; export A; exec $start \"\$A\"") },
        late => { 'Passengerfile.json' => file(app_start_command => "$start late") },
    );
    my %options = (configured => "PassengerAppStartCommand \"$start configuration\"", typed => 'PassengerAppType python',
        inroot => "PassengerAppRoot $h->{root}/apps/inroot\nDocumentRoot $h->{root}/apps/inroot");
    $h->start(conf => "PassengerMaxPoolSize 20\n" . hosts($h, \%options, %app));
    my %seen = map { ($_ => $h->get('/a?b', Host => $_)->json // {}) } sort keys %app;
    my ($uid) = (getpwnam $h->app_user)[2];
    is_deeply $seen{plain}{argv}, ['a'], 'app_start_command is run';
    is $seen{plain}{path}, '/a?b', '... and serves';
    is $seen{plain}{uid}, $uid, '... as its owner' unless $>;
    is $seen{plain}{cwd}, "$h->{root}/apps/plain", '... in its folder';
    is_deeply $seen{first}{argv}, ['b'], 'it comes before startup files';
    is_deeply $seen{comments}{argv}, ['http://x'], 'comments, and members for another server';
    is_deeply $seen{configured}{argv}, ['configuration'], 'the configuration comes before it';
    is $seen{typed}{kind}, 'python', '... a type too';
    is_deeply $seen{shell}{argv}, ['1'], 'a shell';
    is_deeply $seen{late}{argv}, ['late'], 'one that takes its time';
    is $h->get('/', Host => 'inroot')->json->{path}, '/', 'its folder may be the document root';
    unlike $h->get('/Passengerfile.json', Host => 'inroot')->body, qr/app_start_command/, '... and nobody can read it there';
    $h->allow_log('PSG1710');
    # It is read again for each process, and a restart finds another.
    spew("$h->{root}/apps/plain/Passengerfile.json", file(app_start_command => "$start changed"));
    spew("$h->{root}/apps/plain/tmp/restart.txt", '');
    soon { my $r = $h->get('/', Host => 'plain'); $r->status == 200 && $r->json->{argv}[0] eq 'changed' } 'restart.txt brings another command', 10;
}

# Without a command it may say which kind of application there is.
sub kinds {
    my $h = Harness->new(mpm => $mpm);
    my %app = (
        type => { 'Passengerfile.json' => file(app_type => 'wsgi', startup_file => 'web.py'), 'web.py' => wsgi() },
        usual => { 'Passengerfile.json' => file(app_type => 'python'), 'passenger_wsgi.py' => wsgi(), 'app.js' => 'exit' },
        nothing => { 'Passengerfile.json' => file(environment => 'staging', port => '{"a": [1]}'), 'passenger_wsgi.py' => wsgi() },
        stray => { 'Passengerfile.json' => file(startup_file => 'elsewhere.py'), 'passenger_wsgi.py' => wsgi() },
        unknown => { 'Passengerfile.json' => file(app_type => 'cobol'), 'passenger_wsgi.py' => wsgi() },
        static => { 'Passengerfile.json' => file(engine => 'builtin'), 'public/index.html' => "static\n" },
    );
    $h->start(conf => "PassengerMaxPoolSize 20\nPassengerFriendlyErrorPages on\n" . hosts($h, {}, %app));
    for my $name (qw(type usual nothing stray)) { is $h->get('/', Host => $name)->json->{kind}, 'python', $name }
    like $h->get('/', Host => 'type')->json->{file}, qr{/web\.py$}, 'with its startup file';
    $h->allow_log(qr/PSG0113: spawn\.failed/);
    is $h->get('/', Host => 'unknown')->status, 500, 'an unknown type';
    like $h->log_text, qr{PSG0113.*/unknown/Passengerfile\.json does not say how .* not cobol}, '... is a sentence';
    is $h->get('/index.html', Host => 'static')->body, "static\n", 'where there is no application files are served';
    is $h->get('/none', Host => 'static')->status, 404, '... and nothing else';
}

sub variables {
    my $h = Harness->new(mpm => $mpm);
    my $vars = file(A => 'own', B => 'own', NODE_ENV => 'own', PASSENGER_GENERATION => 'own', IN_PASSENGER => 'no', NODE_OPTIONS => '--max-old-space-size=200', SPACE => ' a"b ');
    my %app = (
        command => { 'Passengerfile.json' => file(app_start_command => 'python3 server.py', envvars => $vars) },
        python => { 'Passengerfile.json' => file(envvars => $vars), 'passenger_wsgi.py' => wsgi() },
    );
    $h->start(conf => "SetEnv B configuration\n" . hosts($h, {}, %app));
    for my $name (sort keys %app) {
        my $env = $h->get('/', Host => $name)->json->{env};
        is $env->{A}, 'own', "$name: a variable of its owner's";
        is $env->{B}, 'configuration', '... unless the configuration has one';
        is $env->{NODE_ENV}, 'own', '... also one that follows from PassengerAppEnv';
        is $env->{NODE_OPTIONS}, '--max-old-space-size=200', '... and one that nobody else may set';
        is $env->{SPACE}, ' a"b ', '... byte for byte';
        is $env->{IN_PASSENGER}, 1, '... but none of ours';
        isnt $env->{PASSENGER_GENERATION}, 'own', '... at all';
        is $env->{RACK_ENV}, 'production', '... and what it does not name is left alone';
    }
}

# What is wrong with it is said once, where every failed start is said.
sub wrong {
    my $h = Harness->new(mpm => $mpm);
    my %text = (
        syntax => "{\n  \"app_start_command\": \"x\"\n  \"port\": 1\n}\n", empty => '', array => '[]', number => '{"app_start_command": 5}',
        large => '{"x": "' . 'y' x (512 * 1024) . '"}', deep => '[' x 100_000, binary => "\xff\xfe\0\1", vars => '{"app_start_command": "x", "envvars": {"A": 1}}',
    );
    my %says = (syntax => qr{syntax/Passengerfile\.json, line 3, column \d+: }, empty => qr/line 1, column 1: /, array => qr/must be one JSON object/,
        number => qr/"app_start_command" must be a string/, large => qr/more than 524288 bytes/, deep => qr/line 1, column \d+: /, binary => qr/line 1, column \d+/,
        vars => qr/"A" in "envvars" must be a string/);
    my %app = map { ($_ => { 'Passengerfile.json' => $text{$_}, 'passenger_wsgi.py' => wsgi() }) } keys %text;
    $h->start(conf => "PassengerFriendlyErrorPages on\n" . hosts($h, {}, %app));
    $h->allow_log(qr/PSG0113: spawn\.failed/);
    for my $name (sort keys %text) {
        my $r = $h->get('/', Host => $name);
        is $r->status, 500, "$name: a 500";
        my ($line) = grep { m{PSG0113.*/\Q$name\E } } split /\n/, $h->log_text;
        like $line // '', $says{$name}, '... whose cause is in one line';
        like $r->body, qr{/\Q$name\E/Passengerfile\.json}, '... and on the friendly page';
    }
    spew("$h->{root}/apps/syntax/Passengerfile.json", file(app_start_command => 'python3 server.py'));
    soon { $h->get('/', Host => 'syntax')->status == 200 } 'a correction needs no restart', 20;
}

# The command runs with its owner's rights, and with nobody else's.
sub rights {
    plan skip_all => 'there is nobody to become without root' if $>;
    my $h = Harness->new(mpm => $mpm);
    my ($owner, $other) = map { $h->app_user($_) } 0, 1;
    my $command = file(app_start_command => 'python3 server.py');
    my %app = map { ($_ => { 'Passengerfile.json' => $command }) } qw(private theirs link roots open grouped granted mine);
    $app{hidden} = { 'Passengerfile.json' => file(port => 1), 'passenger_wsgi.py' => wsgi() };
    my $conf = hosts($h, { granted => "PassengerUser $other", mine => "PassengerUser $owner" }, %app);
    my $root = "$h->{root}/apps";
    chmod 0600, "$root/$_/Passengerfile.json" for qw(private hidden);
    $h->own("$root/theirs/Passengerfile.json", $other);
    spew("$h->{root}/elsewhere", $command);
    $h->own("$h->{root}/elsewhere", $other);
    unlink "$root/link/Passengerfile.json";
    symlink "$h->{root}/elsewhere", "$root/link/Passengerfile.json";
    system('chown', '-h', $owner, "$root/link/Passengerfile.json");
    # root's own, where everybody may read; and in a folder where others may write.
    $h->own("$root/roots", 'root');
    my %mode = (open => 0777, grouped => 0775);
    for my $name (sort keys %mode) {
        $h->own("$root/$name", 'root');
        chown -1, scalar(getgrnam $owner), "$root/$name";
        $h->own("$root/$name/Passengerfile.json", $owner);
        chmod $mode{$name}, "$root/$name";
    }
    $h->start(conf => "PassengerDefaultUser nobody\nPassengerMaxPoolSize 20\n$conf");
    my $user = sub { my $r = $h->get('/', Host => $_[0]); $r->status == 200 ? scalar getpwuid $r->json->{uid} : $r->status };
    is $user->('private'), $owner, 'one that only its owner may read is run';
    is $user->('mine'), $owner, '... PassengerUser may say the same';
    is $user->('roots'), 'nobody', 'root\'s own is run, but not by root';
    is $h->get('/', Host => 'hidden')->json->{kind}, 'python', 'where Apache cannot read it startup files are looked for';
    $h->allow_log(qr/PSG0113: spawn\.failed/);
    my %says = (theirs => qr/not clear whose application/, link => qr/belongs to uid \d+, but the application runs as uid \d+/, open => qr/everybody may write into its folder/, grouped => qr/others than root may write/,
        granted => qr/start command of \S+granted was not run: .*belongs to uid/);
    for my $name (sort keys %says) {
        is $user->($name), 500, "$name: refused";
        my ($line) = grep { m{PSG0113.*/\Q$name\E } } split /\n/, $h->log_text;
        like $line // '', $says{$name}, '... because of that';
    }
}

# A startup file that is a script of its own starts whatever it likes.
sub scripts {
    my $h = Harness->new(mpm => $mpm);
    my %app = (
        node => { 'start.sh' => "#!/bin/sh\ncd . && exec python3 server.py node\n" }, inner => { 'bin/start.sh' => "#!/bin/bash\nx=(python3 server.py inner)\n\"\${x[@]}\"\n" },
        bare => { 'start.sh' => "python3 server.py bare\n" }, noexec => { 'start.sh' => "#!/bin/sh\nexec python3 server.py noexec\n" },
        named => { 'Passengerfile.json' => file(app_type => 'node', startup_file => 'start.sh'), 'start.sh' => "exec python3 server.py named\n" },
        tools => { 'start.sh' => "exec node server.py tools\n", 'opt/bin/node' => "#!/bin/sh\nexec python3 \"\$@\"\n" },
        missing => { 'x' => '' }, broken => { 'start.sh' => "#!/no/such/program\n" },
    );
    my %options = map { ($_ => "PassengerAppType node\nPassengerAppRoot $h->{root}/apps/$_\nPassengerStartupFile start.sh") } qw(node bare noexec missing broken tools);
    $options{tools} .= "\nPassengerNodejs $h->{root}/apps/tools/opt/bin/node";
    $options{inner} = "PassengerAppType node\nPassengerAppRoot $h->{root}/apps/inner\nPassengerStartupFile bin/start.sh";
    my $conf = hosts($h, \%options, %app);
    chmod 0644, "$h->{root}/apps/noexec/start.sh";
    chmod 0755, "$h->{root}/apps/tools/opt/bin/node";
    $h->start(conf => "PassengerMaxPoolSize 20\n$conf");
    for my $name (qw(node inner bare noexec named tools)) {
        my $seen = $h->get('/', Host => $name)->json // {};
        is_deeply $seen->{argv}, [$name], $name;
        is $seen->{uid}, (getpwnam $h->app_user)[2], '... as its owner' unless $>;
    }
    $h->allow_log(qr/PSG0113: spawn\.failed/);
    is $h->get('/', Host => $_)->status, 500, "$_: a 500" for qw(missing broken);
    like $h->log_text, qr{PSG0113.*missing/start\.sh cannot be found}, 'a script that is not there';
    my %pid = map { ($_ => $h->get('/', Host => $_)->json->{pid}) } qw(node inner);
    spew("$h->{root}/apps/$_/tmp/restart.txt", '') for qw(node inner);
    for my $name (qw(node inner)) {
        soon { my $r = $h->get('/', Host => $name); $r->status == 200 && $r->json->{pid} != $pid{$name} && !Proc::alive($pid{$name}) } "$name: replaced", 10;
    }
}

# The same in .htaccess, as hosting panels write it: who owns that file and the application may say what starts it.
sub panels {
    my $h = Harness->new(mpm => $mpm);
    my $dir = $h->make_app('panel', { 'server.py' => server(), 'start.sh' => "#!/bin/sh\nexec node server.py \"\$PASSENGER_BASE_URI\"\n",
        'bin/node' => "#!/bin/sh\nexec python3 \"\$@\"\n", 'Passengerfile.json' => file(envvars => file(FROM => 'file')), 'docroot/.htaccess' => <<"END" });
# DO NOT REMOVE. CLOUDLINUX PASSENGER CONFIGURATION BEGIN
PassengerAppRoot "$h->{root}/apps/panel"
PassengerBaseURI "/api"
PassengerNodejs "$h->{root}/apps/panel/bin/node"
PassengerAppType node
PassengerStartupFile start.sh
# DO NOT REMOVE. CLOUDLINUX PASSENGER CONFIGURATION END
END
    chmod 0755, "$dir/start.sh", "$dir/bin/node";
    $h->start(conf => "DocumentRoot $dir/docroot\n<Directory $dir/docroot>\nAllowOverride All\n</Directory>");
    my $seen = $h->get('/api/a?b')->json // {};
    is $seen->{path}, '/api/a?b', 'a script that a panel names serves, and sees its base URI in the target';
    is_deeply $seen->{argv}, ['/api'], '... which it is told';
    is $seen->{env}{FROM}, 'file', '... with the variables of its Passengerfile.json';
    is getpwuid($seen->{uid} // 0), $h->app_user, '... as its owner' unless $>;
}

sub listener {
    return <<'END';
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    if (argc != 2 || strlen(argv[1]) >= sizeof sa.sun_path)
        return 1;
    strcpy(sa.sun_path, argv[1]);
    if (bind(s, (struct sockaddr *)&sa, sizeof sa) || listen(s, 10))
        return 2;
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
}

# Programs that listen in other ways, stay in the background, or bring workers of their own.
sub servers {
    my $h = Harness->new(mpm => $mpm);
    my $v6 = slurp('/proc/net/if_inet6') =~ /^0{31}1 /m;
    my %command = (any => 'python3 server.py x 0.0.0.0', daemon => 'python3 server.py daemon >/dev/null 2>&1 & exit 0', dies => 'echo no licence >&2; exit 4');
    # Two workers of a cluster, and an application that takes its time to load.
    $command{puma} = 'exec puma --workers 2 --threads 1:2 --preload --bind "unix://$PASSENGER_SOCKET" --environment production' if grep { -x "$_/puma" } qw(/usr/local/bin /usr/bin);
    $command{static} = './listen "$PASSENGER_SOCKET"';
    $command{gunicorn} = 'gunicorn --workers 2 --bind "127.0.0.1:$PORT" web:application' if grep { -x "$_/gunicorn" } qw(/usr/local/bin /usr/bin);
    my %app = map { ($_ => { 'Passengerfile.json' => file(app_start_command => $command{$_}), 'web.py' => wsgi() }) } keys %command;
    $app{puma}{'config.ru'} = "IO.select(nil, nil, nil, 3)\nrun lambda { |env| [200, { 'content-type' => 'text/plain' }, [\"puma, \#{Process.pid} of \#{Process.ppid}\"]] }\n" if $app{puma};
    $app{static}{'listen.c'} = listener();
    my $conf = hosts($h, {}, %app);
    my $static = "$h->{root}/apps/static/listen";
    is system("gcc -static -o $static $static.c"), 0, 'a program without libraries';
    $h->own("$h->{root}/apps/static", $h->app_user);
    $h->start(conf => "PassengerMaxPoolSize 20\nPassengerStartTimeout 30\n$conf");
    is $h->get('/', Host => 'any')->status, 200, 'on all addresses';
    is $h->get('/x', Host => 'static')->body, "in C, as GET\n", '... which listens at a unix socket';
    SKIP: {
        skip 'there is no puma', 4 unless $command{puma};
        my @answers = map { $h->client(timeout => 40)->get('/', Host => 'puma')->body } 1 .. 3;
        is scalar(grep { /^puma, \d+ of \d+$/ } @answers), 3, 'a cluster of puma, which takes seconds to start' or diag @answers, $h->log_text;
        my ($old) = $answers[0] =~ /of (\d+)/;
        ok((grep { $_ == $old } $h->apps), '... whose master is the process');
        spew("$h->{root}/apps/puma/tmp/restart.txt", '');
        soon { my $r = $h->get('/', Host => 'puma'); $r->status == 200 && $r->body !~ /of $old$/ } 'another follows', 30;
        soon { !Proc::alive($old) && !grep { $_->{ppid} == $old } Proc::all() } '... which leaves no worker of the first', 20;
    }
    SKIP: {
        skip 'there is no gunicorn', 3 unless $command{gunicorn};
        is $h->get('/', Host => 'gunicorn')->json->{kind}, 'python', 'gunicorn';
        soon { 3 == grep { "@{ $_->{cmdline} }" =~ /gunicorn/ } $h->processes } '... with its workers', 20;
        spew("$h->{root}/apps/gunicorn/tmp/restart.txt", '');
        my %old = map { ($_->{pid} => 1) } grep { "@{ $_->{cmdline} }" =~ /gunicorn/ } $h->processes;
        soon { $h->get('/', Host => 'gunicorn')->status == 200 && !grep { $old{ $_->{pid} } } $h->processes } '... which go with it', 15;
    }
    $h->allow_log(qr/PSG0113: spawn\.failed/, qr/PSG01\d\d: strays/);
    is $h->get('/', Host => 'dies')->status, 500, 'one that ends';
    like $h->log_text, qr{PSG0113.*/dies .*code 4}, '... says with which code';
    is $h->get('/', Host => 'daemon')->status, 500, 'one that goes to the background';
    like $h->log_text, qr{PSG0113.*/daemon .*must stay in the foreground}, '... is told not to';
    soon { !grep { "@{ $_->{cmdline} }" =~ /server\.py daemon/ } $h->processes } '... and is not left behind', 10;
}
