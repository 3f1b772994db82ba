# Which interpreter runs an application, on one MPM: Apache has no part in it. Version managers are played by folders as they make them; the home
# directory is that of a user who is made for this test.
use strict;
use warnings;
use lib 't/lib';
use File::Path qw(make_path);
use JSON::PP;
use Test::More;
use Harness;

plan skip_all => 'only root can make a user' if $>;
my $user = "psgu$$";
plan skip_all => 'no useradd' if system("useradd -M -s /bin/bash $user >/dev/null 2>&1");
END { my $status = $?; system("userdel -f $user >/dev/null 2>&1") if $user && !$>; $? = $status }

my $h = Harness->new(log_level => 'notice');
my $home = "$h->{root}/home/$user";
make_path($home);
system('usermod', '-d', $home, $user) == 0 or die 'usermod';

my %source = (
    python => ['passenger_wsgi.py', <<'END'],
import json, os, subprocess, sys
def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'application/json')])
    seen = {name: os.environ.get(name) for name in ('PATH', 'VIRTUAL_ENV', 'GEM_HOME', 'GEM_PATH', 'PROFILE')}
    seen.update(program=sys.executable, prefix=sys.prefix, which=subprocess.run(['sh', '-c', 'command -v python'], capture_output=True, text=True).stdout.strip())
    return [json.dumps(seen).encode()]
END
    ruby => ['config.ru', <<'END'],
require 'json'
run lambda { |env| [200, { 'content-type' => 'application/json' }, [JSON.generate(%w(PATH VIRTUAL_ENV GEM_HOME GEM_PATH WRAPPED).to_h { |n| [n, ENV[n]] })]] }
END
    nodejs => ['app.js', <<'END'],
require('http').createServer((req, res) => {
    res.setHeader('Content-Type', 'application/json');
    res.end(JSON.stringify({ PATH: process.env.PATH, program: process.argv0 }));
}).listen();
END
);
my %program = (python => '/usr/bin/python3', ruby => '/usr/bin/ruby', nodejs => '/usr/bin/node');

sub put {
    my ($path, $text, $mode) = @_;
    make_path($path =~ s{/[^/]*$}{}r);
    spew($path, $text);
    chmod $mode, $path if $mode;
}
# An installed version: a link to the system's interpreter, as a file with a path of its own.
sub version { my ($kind, $path) = @_; make_path($path =~ s{/[^/]*$}{}r); symlink $program{$kind}, $path or die "$path: $!" }
sub venv { my ($path) = @_; version(python => "$path/bin/python"); put("$path/pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = true\n") }

version(python => "$home/.pyenv/versions/$_/bin/python") for qw(3.9.1 3.11.4 3.11.10 3.12.0rc1);
version(python => "$home/.asdf/installs/python/3.8.2/bin/python");
version(ruby => "$home/.rbenv/versions/3.1.9/bin/ruby");
version(ruby => "$home/.rvm/rubies/ruby-2.7.8/bin/ruby");
make_path("$home/.rvm/gems/ruby-2.7.8");
symlink '/usr/share/rubygems-integration/all', "$home/.rvm/gems/ruby-2.7.8\@shop";
put("$home/.rvm/wrappers/ruby-3.0.1/ruby", "#!/usr/bin/env bash\nexport WRAPPED=yes\nexec /usr/bin/ruby \"\$@\"\n", 0755);
put("$home/.rbenv/shims/ruby", "#!/usr/bin/env bash\nexport WRAPPED=shim\nexec $home/.rbenv/versions/3.1.9/bin/ruby \"\$@\"\n", 0755);
put("$home/bin/ruby", "#!/usr/bin/env ruby\nENV['WRAPPED'] = 'script'\nexec '/usr/bin/ruby', *ARGV\n", 0755);
version(ruby => "$home/.rubies/ruby-3.2.2/bin/ruby");
version(nodejs => "$home/.nvm/versions/node/$_/bin/node") for qw(v18.1.0 v22.3.0 v22.11.0);
put("$home/.nvm/alias/lts/*", "lts/jod\n");
put("$home/.nvm/alias/lts/jod", "v22.3.0\n");
put("$home/.nvm/alias/default", "18\n");
# A profile as Debian's: it sets PATH, whatever it was.
put("$home/.bash_profile", "PATH=/usr/local/bin:/usr/bin:/bin\nexport PATH PROFILE=read\nGEM_HOME=/profile\n");

my @cases;
# name, kind, what is done in the folder, what is expected: program (relative to the application's folder, or to ~), why, more of the answer.
sub case { my ($name, $kind, %arg) = @_; push @cases, { name => $name, kind => $kind, root => $arg{root} // "$home/apps/$name", %arg } }

case('venv', 'python', make => sub { venv("$_[0]/venv") }, program => 'venv/bin/python', rule => 'found: venv/bin/python', venv => 'venv');
case('dotvenv', 'python', make => sub { venv("$_[0]/.venv"); venv("$_[0]/env") }, program => '.venv/bin/python', rule => 'found: .venv/bin/python', venv => '.venv');
case('env', 'python', make => sub { version(python => "$_[0]/env/bin/python") }, program => 'env/bin/python', rule => 'found: env/bin/python');
case('settings', 'python', make => sub { put("$_[0]/env/production", "A=1\n") }, program => '/usr/bin/python3', rule => 'the system\'s');
case('both', 'python', make => sub { venv("$_[0]/venv"); put("$_[0]/.python-version", "3.9.1\n") }, program => 'venv/bin/python', rule => 'found: venv/bin/python', venv => 'venv');
case('named', 'python', make => sub { venv("$_[0]/venv"); venv("$_[0]/other") }, conf => ["PassengerPython $home/apps/named/other/bin/python"],
    program => 'other/bin/python', rule => 'PassengerPython', venv => 'other');
case('inside/project', 'python', make => sub { venv("$home/apps/inside") }, program => "~/apps/inside/bin/python", venv => "~/apps/inside",
    rule => "found: the application lies in the environment $home/apps/inside");
case('panel', 'python', make => sub { venv("$home/virtualenv/apps/panel/$_") for qw(3.9 3.11 3.8) }, program => '~/virtualenv/apps/panel/3.11/bin/python',
    rule => 'found: ~/virtualenv/apps/panel/3.11/bin/python', venv => '~/virtualenv/apps/panel/3.11');
case('pyenv', 'python', make => sub { put("$_[0]/.python-version", "3.9.1\n") }, program => '~/.pyenv/versions/3.9.1/bin/python', rule => 'found: .python-version asks for 3.9.1');
case('prefix', 'python', make => sub { put("$_[0]/.python-version", "# any\n3.11\n3.9.1\n") }, program => '~/.pyenv/versions/3.11.10/bin/python',
    rule => 'found: .python-version asks for 3.11');
case('asdf', 'python', make => sub { put("$_[0]/.tool-versions", "ruby 3.1\npython 3.8.2 # old\n") }, program => '~/.asdf/installs/python/3.8.2/bin/python',
    rule => 'found: .tool-versions asks for 3.8.2');
case('shared/deep/er', 'python', make => sub { put("$home/apps/shared/.python-version", "3.9.1\n") }, program => '~/.pyenv/versions/3.9.1/bin/python',
    rule => "found: $home/apps/shared/.python-version asks for 3.9.1");
case('absent', 'python', make => sub { put("$_[0]/.python-version", "3.7.5\n") }, program => '/usr/bin/python3', rule => 'the system\'s', warns => 1,
    note => qr{^\Q$home\E/apps/absent/\.python-version asks for 3\.7\.5, which is not installed in ~/\.pyenv/versions, ~/\.asdf/installs/python$});
case('system', 'python', make => sub { put("$_[0]/.python-version", "system\n") }, program => '/usr/bin/python3', rule => 'the system\'s, as .python-version says');
case('fifo', 'python', make => sub { system('mkfifo', "$_[0]/.python-version") == 0 or die; symlink '/dev/zero', "$_[0]/.tool-versions" }, program => '/usr/bin/python3', rule => 'the system\'s');
# Links of the user's own are followed, as deployment tools make them; a stranger's are not.
case('linked', 'python', make => sub { put("$home/apps/linked.version", "3.9.1\n"); symlink "$home/apps/linked.version", "$_[0]/.python-version" },
    program => '~/.pyenv/versions/3.9.1/bin/python', rule => 'found: .python-version asks for 3.9.1');
case('theirs', 'python', make => sub { venv("$_[0]/venv") }, after => sub { $h->own("$_[0]/venv", $h->app_user(1)) }, program => '/usr/bin/python3', rule => 'the system\'s',
    warns => 1, note => qr{^\S+/venv/bin/python is not used, because \S+/apps/theirs/venv belongs to uid \d+, neither root nor});
case('config', 'python', make => sub { venv("$_[0]/venv") }, after => sub { $h->own("$_[0]/venv/pyvenv.cfg", $h->app_user(1)) }, program => '/usr/bin/python3', rule => 'the system\'s',
    warns => 1, note => qr{^\S+/venv/bin/python is not used, because \S+/venv/pyvenv.cfg belongs to uid \d+});
case('quiet', 'python', make => sub { venv("$_[0]/venv") }, conf => ['PassengerLoadShellEnvvars off'], program => 'venv/bin/python', rule => 'found: venv/bin/python', venv => 'venv', profile => 0);
case('rbenv', 'ruby', make => sub { put("$_[0]/.ruby-version", "3.1.9\n") }, program => '~/.rbenv/versions/3.1.9/bin/ruby', rule => 'found: .ruby-version asks for 3.1.9');
case('rvm', 'ruby', make => sub { put("$_[0]/.ruby-version", "ruby-2.7.8\@shop\n") }, program => '~/.rvm/rubies/ruby-2.7.8/bin/ruby', rule => 'found: .ruby-version asks for ruby-2.7.8@shop',
    more => { GEM_HOME => "$home/.rvm/gems/ruby-2.7.8\@shop", GEM_PATH => "$home/.rvm/gems/ruby-2.7.8\@shop:$home/.rvm/gems/ruby-2.7.8\@global" });
case('wrapper', 'ruby', make => sub { put("$_[0]/.ruby-version", "3.0.1\n") }, program => '~/.rvm/wrappers/ruby-3.0.1/ruby', rule => 'found: .ruby-version asks for 3.0.1',
    path => 0, more => { WRAPPED => 'yes' });
case('chruby', 'ruby', make => sub { put("$_[0]/.ruby-version", "3.2\n") }, program => '~/.rubies/ruby-3.2.2/bin/ruby', rule => 'found: .ruby-version asks for 3.2');
case('shim', 'ruby', conf => ["PassengerRuby $home/.rbenv/shims/ruby"], program => '~/.rbenv/shims/ruby', rule => 'PassengerRuby', path => 0, more => { WRAPPED => 'shim' });
case('script', 'ruby', conf => ["PassengerRuby $home/bin/ruby"], program => '~/bin/ruby', rule => 'PassengerRuby', path => 0, more => { WRAPPED => 'script' });
case('nvm', 'nodejs', make => sub { put("$_[0]/.nvmrc", "22\n") }, program => '~/.nvm/versions/node/v22.11.0/bin/node', rule => 'found: .nvmrc asks for 22');
case('lts', 'nodejs', make => sub { put("$_[0]/.nvmrc", "lts/*\n") }, program => '~/.nvm/versions/node/v22.3.0/bin/node', rule => 'found: .nvmrc asks for v22.3.0');
case('nodefile', 'nodejs', make => sub { put("$_[0]/.node-version", "v18.1.0") }, program => '~/.nvm/versions/node/v18.1.0/bin/node', rule => 'found: .node-version asks for v18.1.0');
case('nodevenv', 'nodejs', make => sub { version(nodejs => "$home/nodevenv/apps/nodevenv/$_/bin/node") for 9, 22 }, program => '~/nodevenv/apps/nodevenv/22/bin/node',
    rule => 'found: ~/nodevenv/apps/nodevenv/22/bin/node');
case('plain', 'nodejs', program => '/usr/bin/node', rule => 'the system\'s');
# The preamble that tutorials give.
case('preamble', 'python', make => sub { venv("$_[0]/own"); put("$_[0]/passenger_wsgi.py",
        "import os, sys\nINTERP = '$_[0]/own/bin/python'\nif sys.executable != INTERP:\n    os.execl(INTERP, INTERP, *sys.argv)\n$source{python}[1]") },
    program => '/usr/bin/python3', rule => 'the system\'s', runs => 'own/bin/python', path => 0);
# Those that do not start.
case('gone', 'python', make => sub { make_path("$_[0]/venv/bin"); symlink '/nowhere/python3.5', "$_[0]/venv/bin/python" },
    fails => qr{The interpreter \S+/apps/gone/venv/bin/python leads to /nowhere/python3\.5, which is not there: .*python3 -m venv --clear});
case('windows', 'python', make => sub { put("$_[0]/venv/pyvenv.cfg", "home = C:\\Python\n"); make_path("$_[0]/venv/Scripts") },
    fails => qr{\S+/apps/windows/venv is a virtual environment without bin/python\. Make it anew on this machine});
case('forbidden', 'python', make => sub { put("$_[0]/venv/bin/python", "#!/bin/sh\n", 0644) }, fails => qr{The interpreter \S+/venv/bin/python cannot be run: Permission denied});
case('loop', 'python', make => sub { put("$_[0]/again", "#!/bin/sh\nexec /usr/bin/python3 \"\$@\"\n", 0755); put("$_[0]/passenger_wsgi.py",
        "import os, sys\nINTERP = '$_[0]/again'\nif sys.executable != INTERP:\n    os.execl(INTERP, INTERP, *sys.argv)\n") },
    fails => qr{passenger_wsgi\.py: it executed another interpreter 4 times});
case('missing', 'python', make => sub { put("$_[0]/.python-version", "3.7.5\n"); put("$_[0]/passenger_wsgi.py", "import no_such_thing\n") }, warns => 1,
    fails => qr{No module named 'no_such_thing'.* \(\S+/\.python-version asks for 3\.7\.5, which is not installed in [^;]*; /usr/bin/python3 was used\)});

my $conf = "PassengerMaxPoolSize 60\n";
my %seen;
for my $case (@cases) {
    my $root = $case->{root};
    my ($file, $text) = @{ $source{ $case->{kind} } };
    ($case->{host} = $case->{name}) =~ s{/.*}{};
    make_path("$root/public");
    put("$root/$file", $text);
    $case->{make}->($root) if $case->{make};
    $conf .= "<VirtualHost *>\nServerName $case->{host}\nDocumentRoot $root/public\n" . join('', map { "$_\n" } @{ $case->{conf} // [] }) . "</VirtualHost>\n";
}
system('chown', '-hR', "$user:", $home) == 0 or die 'chown';
$_->{after}->($_->{root}) for grep { $_->{after} } @cases;
$h->start(conf => $conf);
$h->allow_log(qr/PSG0113/);
$h->allow_log(qr/PSG1300: app\.interpreter: process \d+ of \S+\/apps\/$_->{name}:/) for grep { $_->{warns} } @cases;

sub absolute { my ($case, $path) = @_; return $path =~ m{^/} ? $path : $path =~ s{^~}{$home} ? $path : "$case->{root}/$path" }
sub chosen { my ($case) = @_; (grep { m{PSG1300: app\.interpreter: process \d+ of \Q$case->{root}\E: } } split /\n/, $h->log_text)[0] // '' }

for my $case (@cases) {
    my $r = $h->get('/', Host => $case->{host});
    if ($case->{fails}) {
        is $r->status, 500, "$case->{name}: does not start";
        my ($line) = grep { m{PSG0113: spawn\.failed: \Q$case->{root}\E } } split /\n/, $h->log_text;
        like $line // '', $case->{fails}, '... and why';
        next;
    }
    is $r->status, 200, "$case->{name}: starts" or do { diag grep { m{/apps/$case->{name}\b} } map { "$_\n" } split /\n/, $h->log_text; next };
    my $got = $r->json;
    my $program = absolute($case, $case->{program});
    my $line = chosen($case);
    like $line, qr{: \Q$program\E \(\Q$case->{rule}\E\)}, "... $case->{program}, $case->{rule}";
    my ($note) = $line =~ m{\): (.*)$};
    $case->{note} ? like $note // '', $case->{note}, '... with a warning' : is $note, undef, '... without a warning';
    is $got->{program}, absolute($case, $case->{runs} // $case->{program}), '... and that is what runs' if $case->{kind} eq 'python';
    my $bin = $program =~ s{/[^/]+$}{}r;
    my $first = $bin ne '/usr/bin' && ($case->{path} // 1);
    $first ? like $got->{PATH}, qr{^\Q$bin\E:}, '... with its tools first in PATH' : unlike $got->{PATH}, qr{\Q$home\E}, '... with PATH as it was';
    is $got->{which}, $program, '... so that a shell finds the same' if $case->{kind} eq 'python' && $first;
    is $got->{VIRTUAL_ENV}, $case->{venv} && absolute($case, $case->{venv}), '... VIRTUAL_ENV' if $case->{kind} eq 'python';
    is $got->{prefix}, absolute($case, $case->{venv}), '... and its own modules' if $case->{venv};
    is $got->{PROFILE}, ($case->{profile} // 1) ? 'read' : undef, '... after the profile' if $case->{kind} eq 'python';
    is $got->{$_}, $case->{more}{$_}, "... $_" for sort keys %{ $case->{more} // {} };
}

# Where an administrator looks.
$ENV{PASSENGER_INSTANCE_REGISTRY_DIR} = "$h->{root}/registry";
$ENV{ASAN_OPTIONS} = 'detect_leaks=0';
my $status = "$ENV{PASSENGER_BUILD}/passenger-status";
sub in_status {
    my ($when) = @_;
    like scalar(`$status --verbose`), qr{^    Interpreter: \Q$home\E/apps/venv/venv/bin/python \(found: venv/bin/python\)$}m, "$when: passenger-status --verbose";
    like scalar(`$status --show=xml`), qr{<interpreter>\Q$home\E/apps/venv/venv/bin/python</interpreter>\s+<interpreter_rule>found: venv/bin/python</interpreter_rule>}, '... --show=xml';
    my ($group) = grep { $_->{app_root} =~ m{/apps/absent$} } @{ decode_json(scalar `$status --show=json`)->{groups} };
    is_deeply [@{ $group->{processes}[0] }{qw(interpreter interpreter_rule)}], ['/usr/bin/python3', 'the system\'s'], '... --show=json';
}
in_status('at first');
my $old = $h->kill_core;
wait_for { ($h->core // $old) != $old } 'another core', 20;
$h->expect_log('PSG0013');
soon { `$status --verbose` =~ /Interpreter/ } 'another core knows', 10;
in_status('another core');
undef $h;
done_testing;
