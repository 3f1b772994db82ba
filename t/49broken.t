# Applications that do not start: for each, the log and the friendly page begin with the true cause, and the page for visitors tells none of it.
# One MPM: Apache has no part in it.
use strict;
use warnings;
use lib 't/lib';
use File::Path qw(make_path);
use JSON::PP;
use Test::More;
use Harness;

my @cases;
# name, type of startup file, its text; conf => [...], files => {}, make => sub { after everything was written }, why => the sentence,
# details => more on the friendly page.
sub case { my ($name, $kind, $text, %arg) = @_; push @cases, { name => $name, kind => $kind, text => $text, %arg } }
my %file = (python => 'passenger_wsgi.py', ruby => 'config.ru', nodejs => 'app.js', command => 'note.txt');
my $app = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'ok']\n";

# Python
case('py-module', 'python', "import os\nimport flaks\n$app", why => qr{^\S+/passenger_wsgi\.py, line 2: ModuleNotFoundError: No module named 'flaks': install what is missing for Python 3}, details => qr/^sys\.path:/m);
case('py-syntax', 'python', "x = (1,\ndef f(:\n", why => qr{^\S+/passenger_wsgi\.py, line \d: SyntaxError: });
case('py-two', 'python', "print 'hello'\n$app", why => qr{^\S+/passenger_wsgi\.py, line 1: SyntaxError: Missing parentheses in call to 'print'.*PassengerPython});
case('py-none', 'python', "def app1(e, s): pass\n", why => qr{^\S+/passenger_wsgi\.py: it defines neither "application" nor "app"});
case('py-string', 'python', "application = 'shop'\n", why => qr{^\S+: "application" is of type str, which cannot be called});
case('py-circle', 'python', "from one import x\n$app", files => { 'one.py' => "from two import y\nx = 1\n", 'two.py' => "from one import x\ny = 1\n" },
    why => qr{^\S+/two\.py, line 1: ImportError: cannot import name 'x' from partially initialized module 'one' .*circular import});
case('py-latin', 'python', "x = 'caf\xe9'\n$app", why => qr{^\S+/passenger_wsgi\.py.*: SyntaxError: .*utf-8});
case('py-utf16', 'python', "\xff\xfei\0m\0p\0o\0r\0t\0", why => qr{^\S+/passenger_wsgi\.py: it is not in UTF-8, but most likely in UTF-16: save it as UTF-8});
case('py-tabs', 'python', "def f():\n    a = 1\n\tb = 2\n$app", why => qr{^\S+/passenger_wsgi\.py, line 3: SyntaxError: (?:inconsistent use of tabs|unindent)});
case('py-exit', 'python', "import sys\nprint('bye')\nsys.exit(0)\n", why => qr{^\S+/passenger_wsgi\.py, line 3: the application called sys\.exit\(0\) while it was loaded}, details => qr/^It had printed:\nbye$/m);
case('py-_exit', 'python', "import os\nprint('the database is gone', flush=True)\nos._exit(1)\n", why => qr{^the application exited with code 1 before it was ready; it said last: the database is gone$});
case('py-kill', 'python', "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", why => qr{^the application was ended by signal 9 \(Killed\) before it was ready, by somebody else or because the system, or its limit, had no memory left$});
case('py-crash', 'python', "import ctypes\nctypes.string_at(0)\n", why => qr{^the application was ended by signal 11 \(Segmentation fault\) before it was ready}, details => qr/passenger_wsgi\.py", line 2/);
case('py-hang', 'python', "import time\ndef wait_for_database():\n    time.sleep(3600)\nwait_for_database()\n", conf => ['PassengerStartTimeout 2'],
    why => qr{^the application was not ready after 2 seconds \(PassengerStartTimeout\): it was at File "\S+/passenger_wsgi\.py", line 3 in wait_for_database$});
case('py-flood', 'python', "import os\nfor i in range(20000): print('x' * 100)\nraise RuntimeError('after the flood')\n", logs => ['PSG0105'], why => qr{^\S+/passenger_wsgi\.py, line 3: RuntimeError: after the flood});
case('py-mute', 'python', "import os, sys\nos.close(1)\nos.close(2)\nraise RuntimeError('nobody hears this')\n", why => qr{^\S+/passenger_wsgi\.py, line 4: RuntimeError: nobody hears this});
case('py-deaf', 'python', "import os\nos.close(1)\n$app", why => qr{^The application has closed its standard output .*leave descriptor 1 open});
case('py-env', 'python', "import os\nKEY = os.environ['SECRET_KEY']\n", why => qr{^\S+/passenger_wsgi\.py, line 2: KeyError: 'SECRET_KEY'});
case('py-unreadable', 'python', $app, make => sub { chmod 0, "$_[0]/passenger_wsgi.py" }, why => qr{^\S+/passenger_wsgi\.py: Permission denied: let user [a-z]\w+ \(uid \d+\) read the startup file});
case('py-root', 'python', $app, make => sub { chown 0, 0, $_[0], "$_[0]/passenger_wsgi.py"; chmod 0600, "$_[0]/passenger_wsgi.py" }, why => qr{^\S+/passenger_wsgi\.py: Permission denied: let user nobody \(uid \d+\) read});
case('py-folder', 'python', $app, conf => sub { "PassengerAppRoot $_[0]/nowhere", 'PassengerAppType wsgi' }, why => qr{^The application's folder \S+/nowhere cannot be opened: No such file or directory});
case('py-startup', 'python', $app, conf => ['PassengerAppType wsgi', 'PassengerStartupFile wsgi.py'], why => qr{^The startup file \S+/wsgi\.py cannot be found: No such file});
case('py-program', 'python', $app, conf => ['PassengerPython /usr/bin/python2.7'], why => qr{^The interpreter /usr/bin/python2\.7 cannot be run: No such file or directory\. Correct PassengerPython\.$});
case('py-wrong', 'python', $app, conf => ['PassengerPython /bin/ls'], why => qr{^the interpreter /bin/ls exited with code 0 before it ran the loader: it is none for this kind of application});
case('py-settings', 'python', "import os\nos.environ['DJANGO_SETTINGS_MODULE'] = 'shop.settings'\nfrom django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n",
    why => qr{^\S+/passenger_wsgi\.py, line 4: ModuleNotFoundError: No module named 'shop'});
# Ruby
case('rb-gem', 'ruby', "require 'sinatraa'\nrun 1\n", why => qr{^\S+/config\.ru, line 1: LoadError: cannot load such file -- sinatraa: install what is missing});
case('rb-syntax', 'ruby', "run lambda { |env|\n  [200, {}, []\n}\n", why => qr{^\S+/config\.ru, line 3: SyntaxError: });
case('rb-run', 'ruby', "use Rack::Lint\n", why => qr{^\S+/config\.ru: .*(?:missing run|"run")}i);
case('rb-lock', 'ruby', "run 1\n", files => { Gemfile => "source 'https://example.invalid'\ngem 'rack', '9.9.9'\n" }, why => qr{^\S+/Gemfile: Bundler::GemNotFound: .*rack.*: run "bundle install" there as the application's user});
case('rb-old', 'ruby', "run 1\n", files => { Gemfile => "ruby '9.9.9'\n" }, why => qr{^\S+/Gemfile: Bundler::RubyVersionMismatch: Your Ruby version is .*9\.9\.9});
case('rb-name', 'ruby', "run Shop::Application\n", why => qr{^\S+/config\.ru, line 1: NameError: uninitialized constant Shop});
case('rb-exit', 'ruby', "exit 3\n", why => qr{^\S+/config\.ru, line 1: the application called exit\(3\) while it was loaded});
case('rb-hang', 'ruby', "def wait_for_redis\n  sleep\nend\nwait_for_redis\n", conf => ['PassengerStartTimeout 2'],
    why => qr{^the application was not ready after 2 seconds \(PassengerStartTimeout\): it was at \S+/config\.ru:2:in .sleep});
# Node.js
case('js-module', 'nodejs', "const express = require('expres');\n", why => qr{^\S+/app\.js, line 1: Error: Cannot find module 'expres'});
case('js-syntax', 'nodejs', "const x = {;\n", why => qr{^\S+/app\.js, line 1: SyntaxError: Unexpected token ';'});
case('js-esm', 'nodejs', "import http from 'http';\nhttp.createServer().listen();\n", files => { 'package.json' => '{"type": "commonjs"}' }, why => qr{^\S+/app\.js, line 1: SyntaxError: Cannot use import statement outside a module});
case('js-cjs', 'nodejs', "const http = require('http');\n", files => { 'package.json' => '{"type": "module"}' }, why => qr{^\S+/app\.js, line 1: ReferenceError: require is not defined in ES module scope});
case('js-throw', 'nodejs', "\nthrow new Error('no DATABASE_URL');\n", why => qr{^\S+/app\.js, line 2: Error: no DATABASE_URL});
case('js-silent', 'nodejs', "console.log('nothing to do');\n", why => qr{^\S+ended before it called listen.*|it must call listen\(\)});
case('js-never', 'nodejs', "setInterval(() => {}, 1000);\n", conf => ['PassengerStartTimeout 2'], why => qr{^the application was not ready after 2 seconds \(PassengerStartTimeout\); it must call listen\(\) on an http\.Server});
case('js-rejected', 'nodejs', "async function connect() { throw new Error('no route to database'); }\nconnect();\n", why => qr{^\S+/app\.js, line 1: Error: no route to database});
# Commands
case('cmd-missing', 'command', '', conf => ['PassengerAppStartCommand ./servr'], why => qr{^the application exited with code 127 before it was ready, because its command, or the program that runs it, was not found; it said last: .*servr: not found$});
case('cmd-right', 'command', '', files => { server => "#!/bin/sh\nexit 0\n" }, conf => ['PassengerAppStartCommand ./server'], why => qr{^the application exited with code 126 before it was ready, because its command may not be executed; it said last: .*server: Permission denied$});
case('cmd-crlf', 'command', '', files => { server => "#!/bin/sh\r\nexec true\r\n" }, make => sub { chmod 0755, "$_[0]/server" }, conf => ['PassengerAppStartCommand ./server'],
    why => qr{^\./server has lines that end as on Windows \(CR LF\), so that the program of its first line is not found; save it with LF alone});
case('cmd-done', 'command', '', conf => ['PassengerAppStartCommand true'], why => qr{^the application exited with code 0 before it was ready; it must stay in the foreground and listen on \$PORT});
case('cmd-daemon', 'command', '', conf => ['PassengerAppStartCommand "setsid tail -f /dev/null & exit 0"'], why => qr{^the application exited with code 0 before it was ready; it must stay in the foreground});
case('cmd-deaf', 'command', '', conf => ['PassengerAppStartCommand "exec tail -f /dev/null"', 'PassengerStartTimeout 2'], why => qr{^the application was not ready after 2 seconds \(PassengerStartTimeout\); it must stay in the foreground and listen on \$PORT, or at \$PASSENGER_SOCKET$});
case('cmd-program', 'command', '', files => { server => "#!/opt/nowhere/node\n" }, make => sub { chmod 0755, "$_[0]/server" }, conf => ['PassengerAppStartCommand "./server --port $PORT"'],
    why => qr{^\./server names /opt/nowhere/node in its first line, which cannot be run: No such file});
case('cmd-port', 'command', '', files => { 'server.pl' => "use IO::Socket::INET;\n\$s = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', LocalPort => 0) or die;\n1 while accept(C, \$s);\n" },
    conf => ['PassengerAppStartCommand "exec perl server.pl"', 'PassengerStartTimeout 4'], why => qr{^the application was not ready after 4 seconds \(PassengerStartTimeout\); .* at \$PASSENGER_SOCKET\. The application listens on port \d+, but its port \(\$PORT\) is \d+\.$});
case('cmd-taken', 'command', '', files => { 'server.pl' => "use IO::Socket::INET;\nfor (1, 2) { \$s[\$_] = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', LocalPort => \$s[1] ? \$s[1]->sockport : 0) or die qq(cannot listen: \$!\\n) }\n" },
    conf => ['PassengerAppStartCommand "exec perl server.pl"'], why => qr{^the application exited with code \d+ before it was ready; it said last: cannot listen: Address already in use$});
# Who runs it, and how far
case('user-folder', 'python', $app, root => 'closed/app', make => sub { my ($dir) = $_[0] =~ m{^(.*)/}; chown 0, (getpwnam 'www-data')[3], $dir; chmod 0750, $dir },
    why => qr{^The user \S+ may not enter \S+/closed\. Give it the right to \(chmod a\+x \S+/closed\)});
case('user-exit', 'python', $app, why => qr{^the login shell of the application's user exited with code 3 before it ran the application: .*PassengerLoadShellEnvvars off; it said last: no quota$});
case('user-hang', 'python', $app, conf => ['PassengerStartTimeout 2'], why => qr{^the application was not ready after 2 seconds \(PassengerStartTimeout\): the login shell of its user did not come so far as to run it});
case('user-print', 'python', $app, why => undef, status => 200);

my $h = Harness->new(log_level => 'notice');
my $user = $h->app_user;
if (!$>) { # a user with a profile of its own
    my $made = "psgb$$";
    $user = $made if !system("useradd -M -s /bin/bash -d $h->{root}/home $made >/dev/null 2>&1");
}
END { my $status = $?; system("userdel -f psgb$$ >/dev/null 2>&1") unless $>; $? = $status }
make_path("$h->{root}/home");
spew("$h->{root}/home/.profile", <<'END');
case $PWD in
*/user-exit) echo 'no quota'; exit 3 ;;
*/user-hang) read x < "$HOME/nobody-writes" ;;
*/user-print) echo 'Welcome!'; echo '!> Welcome' | sed 's/^..//' ;;
esac
END
system('mkfifo', "$h->{root}/home/nobody-writes");
$h->own("$h->{root}/home", $user);
@cases = grep { $_->{name} !~ /^user-/ } @cases if $>;
@cases = grep { $_->{name} !~ /^user-(?:exit|hang)$/ } @cases unless $user =~ /^psgb/;

# Pages of the application's own: name, what PassengerCustomErrorPage says, { file => text }, make, whether it is used; htaccess => 1: said there.
my @pages;
sub page { my ($name, $file, $files, %arg) = @_; push @pages, { name => "page-$name", file => $file, files => $files, used => 1, %arg } }
my $sorry = "<h1>Sorry</h1>\n\n   <p>{{id}} {{other}} {{status}}</p>\n" . ('x' x 9000) . ' ' . ('y' x 9000) . "\n<p>{{unended\n";
page('public', 'public/error.html', { 'public/error.html' => $sorry });
page('inside', 'errors/500.html', { 'errors/500.html' => $sorry });
page('smart', 'public/error.html', { 'public/error.html' => $sorry }, conf => "PassengerSpawnMethod smart\n");
page('direct', 'public/error.html', { 'public/error.html' => $sorry }, conf => "PassengerSpawnMethod direct\n");
page('htaccess', 'public/error.html', { 'public/error.html' => $sorry }, htaccess => 1);
page('private', '.env', { '.env' => 'SECRET=1' }, htaccess => 1, used => 0, says => qr/the server's configuration does not name it/);
page('closed', 'public/error.html', { 'public/error.html' => 'SECRET=1' }, htaccess => 1, used => 0, make => sub { chmod 0600, "$_[0]/public/error.html" }, says => qr/everybody may read/);
page('climbs', 'public/../.env', { '.env' => 'SECRET=1' }, htaccess => 1, used => 0, says => qr/the server's configuration does not name it/);
page('link', 'public/error.html', {}, make => sub { symlink '/etc/shadow', "$_[0]/public/error.html" }, used => 0, says => qr/Permission denied/);
page('fifo', 'public/error.html', {}, make => sub { system('mkfifo', "$_[0]/public/error.html") }, used => 0, says => qr/no plain file/);
page('large', 'public/error.html', { 'public/error.html' => 'x' x 50_000 }, used => 0, says => qr/larger than 48 KiB/);
page('theirs', 'public/error.html', { 'public/error.html' => 'SECRET=1' }, make => sub { $h->own("$_[0]/public/error.html", $h->app_user(1)) }, used => 0, says => qr/belongs to somebody who is neither root nor/);
page('none', 'public/error.html', {}, used => 0, says => qr/No such file/);
@pages = grep { $_->{name} !~ /link|theirs/ } @pages if $>;

my $conf = "PassengerMaxPoolSize 100\n";
for my $case (@cases) {
    my $name = $case->{name};
    my $root = $case->{dir} = $h->make_app($case->{root} // $name, { $file{ $case->{kind} } => $case->{text}, %{ $case->{files} // {} } }, owner => $user);
    $case->{make}->($root) if $case->{make};
    my @lines = ref $case->{conf} eq 'CODE' ? $case->{conf}->($root) : @{ $case->{conf} // [] };
    for my $page (qw(open shut)) {
        # Another environment is another application.
        $conf .= "<VirtualHost *>\nServerName $name.$page\nDocumentRoot $root/public\n" . ($page eq 'open' ? "PassengerFriendlyErrorPages on\n" : "PassengerAppEnv visitors\n")
            . join('', map { "$_\n" } @lines) . "</VirtualHost>\n";
    }
}
for my $page (@pages) {
    my $root = $page->{dir} = $h->make_app($page->{name}, { 'passenger_wsgi.py' => "raise RuntimeError('broken')\n", %{ $page->{files} } }, owner => $user);
    my $line = "PassengerCustomErrorPage $page->{file}\n" . ($page->{conf} // '');
    spew("$root/public/.htaccess", $line) if $page->{htaccess};
    $h->own("$root/public/.htaccess", $user) if $page->{htaccess};
    $page->{make}->($root) if $page->{make};
    $conf .= "<VirtualHost *>\nServerName $page->{name}.open\nDocumentRoot $root/public\nPassengerFriendlyErrorPages on\n"
        . ($page->{htaccess} ? "<Directory $root>\nAllowOverride All\n</Directory>\n" : $line) . "</VirtualHost>\n";
}
$h->start(conf => $conf);
$h->allow_log(qr/PSG(?:0113|0105|2801)\b/);

sub ask_all {
    my ($page, @which) = @_;
    my %client = map { my $c = $h->client(timeout => 60); $c->send("GET / HTTP/1.1\r\nHost: $_->{name}.$page\r\nConnection: close\r\n\r\n"); ($_->{name} => $c) } @which;
    return map { ($_ => $client{$_}->read_response) } sort keys %client;
}
my %open = ask_all(open => @cases);
my $log = $h->log_text;
$ENV{PASSENGER_INSTANCE_REGISTRY_DIR} = "$h->{root}/registry";
$ENV{ASAN_OPTIONS} = 'detect_leaks=0';
my $status = `$ENV{PASSENGER_BUILD}/passenger-status`;

sub text { my ($html) = @_; $html =~ s/&lt;/</g; $html =~ s/&gt;/>/g; $html =~ s/&quot;/"/g; $html =~ s/&#39;/'/g; $html =~ s/&amp;/&/g; return $html }
my %id;
for my $case (@cases) {
    my ($name, $r) = ($case->{name}, $open{ $case->{name} });
    is $r->status, $case->{status} // 500, "$name: " . ($case->{status} // 500) or diag $r->body;
    my @lines = grep { m{PSG0113: spawn\.failed: \Q$case->{dir}\E[ /]} } split /\n/, $log;
    if (!$case->{why}) { is scalar(@lines), 0, '... and nothing is wrong'; next }
    my ($sentence, $id) = ($lines[0] // '') =~ m{PSG0113: spawn\.failed: \S+ \(\w+\): (?:spawn\.timeout: )?(.*) \(error id ([0-9a-f]{8}); };
    like $sentence // '', $case->{why}, '... the log says why' or diag map { "$_\n" } grep { /\b\Q$name\E\b/ } split /\n/, $log;
    my ($shown) = $r->body =~ m{<p>(.*?)</p>}s;
    is text($shown // '') =~ s/^spawn\.timeout: //r, $sentence, '... so does the page';
    like text($r->body), $case->{details}, '... with details' if $case->{details};
    $id{$name} = $id;
    like $r->body, qr/error id \Q$id\E/, '... with the same error id' if defined $id;
    ok index($status, $sentence // '-') >= 0, '... and passenger-status';
}

# What visitors see says nothing but where to look.
my @shut = grep { $_->{why} && $_->{name} =~ /^(?:py-module|py-_exit|rb-lock|js-throw|cmd-missing|user-folder)$/ } @cases;
my %shut = ask_all(shut => @shut);
for my $case (@shut) {
    my ($r) = $shut{ $case->{name} };
    is $r->status, 500, "$case->{name}, for visitors: 500";
    unlike $r->body, qr/\Q$h->{root}\E|passenger_wsgi|config\.ru|app\.js|Error:|Traceback|exited|interpreter|Python|Ruby|Node/, '... without the reason';
    my ($id) = $r->body =~ /under the error id ([0-9a-f]{8})\./;
    ok defined $id && $h->log_text =~ /PSG0113: spawn\.failed: \Q$case->{dir}\E\b.*error id $id/, '... but with the id of the log\'s line';
    like $r->header('Cache-Control') // '', qr/no-store/, '... and not to be kept';
    unlike $r->body, qr{(?:src|href|url\()}, '... needing nothing from elsewhere';
}

# Pages of the application's own.
my %page = ask_all(open => @pages);
for my $page (@pages) {
    my $r = $page{ $page->{name} };
    is $r->status, 500, "$page->{name}: 500";
    unlike $r->body, qr/SECRET|root:/, '... with nothing that is nobody\'s business';
    if ($page->{used}) {
        my ($id) = $h->log_text =~ /PSG0113: spawn\.failed: \Q$page->{dir}\E .*error id ([0-9a-f]{8})/;
        is $r->body, $sorry =~ s/\{\{id\}\}/$id/r =~ s/\{\{status\}\}/500/r, '... and its page';
        is $r->header('Content-Type'), 'text/html; charset=utf-8', '... as HTML';
    } else {
        like $r->body, qr/RuntimeError: broken/, '... and the usual page';
        like $h->log_text, qr/App \d+ output: The page \Q$page->{dir}\E\S+ \(PassengerCustomErrorPage\) was not read: .*$page->{says}/, '... for a reason';
    }
}

# What programs get.
for my $case (grep { $_->{name} eq 'py-module' } @cases) {
    my $r = $h->get('/', Host => 'py-module.shut', Accept => 'application/json');
    is $r->header('Content-Type'), 'application/json', 'JSON for who asks for it';
    my $told = $r->json;
    is $told->{status}, 500, '... with the status';
    like $told->{message}, qr/under the error id \Q$told->{id}\E\./, '... and the id, no more';
    ok !exists $told->{details}, '... for visitors';
    $told = $h->get('/', Host => 'py-module.open', Accept => '*/*', 'Content-Type' => 'application/json')->json;
    like $told->{message}, $case->{why}, '... the reason where it may be seen';
    like $told->{details}, qr/^sys\.path:/m, '... and the details';
    like $h->get('/', Host => 'py-module.open', Accept => 'text/html,application/json')->header('Content-Type'), qr{^text/html}, 'a page for browsers';
    is $h->ask('HEAD', '/', Host => 'py-module.open', Accept => 'application/json')->body, '', 'nothing for HEAD';
    like $h->get('/', Host => 'page-public.open', Accept => 'application/json')->json->{message}, qr/RuntimeError: broken/, 'JSON before a page of its own';
}
undef $h;
done_testing;
