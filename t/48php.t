# PHP (PassengerAppType php): front controllers and scripts, as mod_php with rewriting gives them to applications; php-cgi and php-fpm.
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
# What follows is PHP's work and the core's, whatever the MPM.
for my $part (qw(answers uploads source layouts users lifetimes refusals fpm)) {
    subtest $part => sub { no strict 'refs'; &$part() };
}
done_testing;

# A front controller such as frameworks have: routes by the path below the folder that it is at.
my $index;
sub index_php {
    return $index //= <<'END';
<?php
$base = rtrim(dirname($_SERVER['SCRIPT_NAME']), '/');
$route = substr(parse_url('http://x' . $_SERVER['REQUEST_URI'], PHP_URL_PATH), strlen($base));
function say($data) { header('Content-Type: application/json'); echo json_encode($data); }
function show() {
    say(['server' => $_SERVER, 'get' => $_GET, 'post' => $_POST, 'cookie' => $_COOKIE, 'input' => sha1(file_get_contents('php://input')),
        'pid' => getmypid(), 'uid' => fileowner('/proc/self/stat'), 'cwd' => getcwd(), 'sapi' => PHP_SAPI, 'version' => PHP_VERSION,
        'files' => array_map(fn($f) => [$f['name'], $f['size'], $f['error'], $f['tmp_name'] ? sha1_file($f['tmp_name']) : ''], $_FILES),
        'env' => getenv('FROM_APACHE'), 'memory' => ini_get('memory_limit'), 'file' => __FILE__]);
}
switch ($route) {
case '/404': header('HTTP/1.1 404 Lost'); echo 'not here'; break;
case '/503': http_response_code(503); header('Retry-After: 7'); echo 'later'; break;
case '/status': header('Status: 418 Teapot'); echo 'tea'; break;
case '/cookies': setcookie('a', '1'); setcookie('b', '2', 0, '/x'); break;
case '/redirect': header('Location: /elsewhere'); break;
case '/moved': header('Location: http://other.example/', true, 301); break;
case '/204': http_response_code(204); break;
case '/304': header('ETag: "e"'); http_response_code(304); break;
case '/length': header('Content-Length: 5'); echo '12345'; break;
case '/binary': header('Content-Type: application/octet-stream'); for ($i = 0; $i < 256; $i++) echo chr($i); break;
case '/type': header('Content-Type: text/css'); echo 'a{}'; break;
case '/nothing': break;
case '/stream': for ($i = 0; $i < 3; $i++) { echo "piece $i\n"; @ob_flush(); flush(); usleep(300000); } break;
case '/large': for ($i = 0; $i < 320; $i++) echo str_repeat('x', 65536); break;
case '/fatal': undefined_function(); break;
case '/fatal-late': echo str_repeat('y', 100000); flush(); undefined_function(); break;
case '/throw': throw new RuntimeException('thrown on purpose');
case '/memory': ini_set('memory_limit', '4M'); $x = str_repeat('x', 64 << 20); break;
case '/exit': echo 'before'; exit(3); echo 'after'; break;
case '/die': header('X-A: b'); die('dead');
case '/die-head': header('X-A: b'); die();
case '/log': error_log('to the log'); file_put_contents('php://stderr', "to stderr\n"); echo 'logged'; break;
case '/warning': trigger_error('a warning of ours', E_USER_WARNING); echo 'goes on'; break;
case '/session': session_start(); $_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1; echo $_SESSION['n']; break;
case '/kill': posix_killed(); break;
case '/shutdown': header('Content-Length: 4'); echo 'soon'; register_shutdown_function(function () { @ob_flush(); flush(); usleep(900000); error_log('work is done'); }); break;
case '/read-some': echo fread(fopen('php://input', 'r'), 10); break;
case '/ignored': echo 'ignored'; break;
case '/leave': ignore_user_abort(true); echo str_repeat('z', 20000000); file_put_contents('php://stderr', "it went on\n"); break;
case '/sleep': usleep(500000); echo getmypid(); break;
case '/buffer': ob_start(); echo 'dropped'; ob_end_clean(); echo 'kept'; break;
case '/headers': header('X-List: a'); header('X-List: b', false); say(['sent' => headers_list()]); break;
case '/hang': for (;;) usleep(100000);
default: show();
}
function posix_killed() { exec('kill -9 ' . getmypid()); usleep(2000000); }
END
}

sub tool {
    return '<?php $secret = "source"; echo json_encode(["tool" => $_SERVER["SCRIPT_NAME"], "info" => $_SERVER["PATH_INFO"] ?? null, '
        . '"self" => $_SERVER["PHP_SELF"], "file" => $_SERVER["SCRIPT_FILENAME"], "uri" => $_SERVER["REQUEST_URI"], "cwd" => getcwd(), "pid" => getmypid()]);';
}

# public/ and an index.php; or, flat, all in one folder.
sub make {
    my ($h, $name, %arg) = @_;
    my $at = $arg{flat} ? '' : 'public/';
    my %files = ('index.php' => index_php(), 'tool.php' => tool(), 'admin/index.php' => tool(), 'admin/page.php' => tool(), 'style.css' => 'a{}', 'empty/x.txt' => 'x',
        'UPPER.PHP' => tool(), 'page.phtml' => tool(), '.user.ini' => "memory_limit = 77M\npost_max_size = 200M\nupload_max_filesize = 200M\n"
            . "session.save_path = $h->{root}/apps/$name/tmp\nuser_ini.cache_ttl = 0\n");
    my $dir = $h->make_app($name, { map({ ("$at$_" => $files{$_}) } keys %files), %{ $arg{files} // {} } }, owner => $arg{owner});
    rmdir "$dir/public" if $arg{flat};
    return $dir;
}

sub basics {
    my ($kind) = @_;
    my $h = Harness->new(mpm => $kind);
    my $dir = make($h, 'app');
    $h->start(conf => "DocumentRoot $dir/public\nPassengerAppType php\nSetEnv FROM_APACHE yes\nSetEnv SCRIPT_FILENAME /etc/passwd\nServerAdmin me\@here\n");
    my $r = $h->get('/some/path%20here?a=b%20c&d[]=e', Cookie => 'k=v', Proxy => 'evil', Authorization => 'Basic am9lOnNlY3JldA==', Host => 'shop.example:8080');
    is $r->status, 200, 'the front controller answers' or diag $h->log_text;
    my $seen = $r->json;
    my %want = (REQUEST_METHOD => 'GET', REQUEST_URI => '/some/path%20here?a=b%20c&d[]=e', QUERY_STRING => 'a=b%20c&d[]=e', SCRIPT_NAME => '/index.php',
        PHP_SELF => '/index.php', PATH_INFO => undef, SCRIPT_FILENAME => "$dir/public/index.php", DOCUMENT_ROOT => "$dir/public", REDIRECT_STATUS => 200,
        GATEWAY_INTERFACE => 'CGI/1.1', SERVER_NAME => 'shop.example', SERVER_PORT => 8080, SERVER_ADDR => '127.0.0.1', REMOTE_ADDR => '127.0.0.1',
        REQUEST_SCHEME => 'http', HTTPS => undef, HTTP_PROXY => undef, PHP_AUTH_USER => 'joe', PHP_AUTH_PW => 'secret', HTTP_HOST => 'shop.example:8080',
        FROM_APACHE => 'yes', SERVER_PROTOCOL => 'HTTP/1.1', CONTENT_LENGTH => undef);
    is $seen->{server}{$_}, $want{$_}, "... with $_" for sort keys %want;
    is_deeply $seen->{get}, { a => 'b c', d => ['e'] }, '... and the query';
    is_deeply $seen->{cookie}, { k => 'v' }, '... and cookies';
    is $seen->{cwd}, "$dir/public", '... in its folder';
    is $seen->{memory}, '77M', '... with .user.ini';
    is $seen->{env}, 'yes', '... and variables of Apache\'s in the environment';
    is getpwuid($seen->{uid}), $h->app_user, '... as its owner' unless $>;
    $seen = $h->post('/form', 'x=1&y=2', 'Content-Type' => 'application/x-www-form-urlencoded')->json;
    is_deeply $seen->{post}, { x => 1, y => 2 }, 'a form';
    is $h->get('/')->json->{server}{SCRIPT_NAME}, '/index.php', 'the root';
    is $h->get('/index.php')->json->{server}{PHP_SELF}, '/index.php', 'index.php itself';
    is $h->get('/index.php/a/b?c')->json->{server}{PATH_INFO}, '/a/b', '... with a path behind it';
    is $h->get('/index.php/a/b?c')->json->{server}{PHP_SELF}, '/index.php/a/b', '... which is part of PHP_SELF';
    is $h->get('/missing.php')->json->{server}{SCRIPT_NAME}, '/index.php', 'a script that is not there';
    is $h->get('/style.css')->body, 'a{}', 'files are Apache\'s';
    my $t = $h->get('/tool.php?q')->json;
    is_deeply [ @$t{qw(tool info self file uri cwd)} ], [ '/tool.php', undef, '/tool.php', "$dir/public/tool.php", '/tool.php?q', "$dir/public" ], 'a script';
    $t = $h->get('/tool.php/x%20y/z')->json;
    is_deeply [ @$t{qw(tool info self uri)} ], [ '/tool.php', '/x y/z', '/tool.php/x y/z', '/tool.php/x%20y/z' ], '... with a path behind it';
    is $h->get('/admin/')->json->{tool}, '/admin/index.php', 'a folder';
    is $h->get('/admin')->status, 301, '... without its slash';
    is $h->post('/admin', 'x')->json->{tool}, '/admin/index.php', '... and a form that goes there';
    is $h->get('/admin/page.php')->json->{cwd}, "$dir/public/admin", 'a script in a folder';
    is $h->get('/empty/')->json->{server}{SCRIPT_NAME}, '/index.php', 'a folder without an index';
    is $h->get('/UPPER.PHP')->json->{tool}, '/UPPER.PHP', 'a name in capitals';
    is $h->get('/page.phtml')->json->{tool}, '/page.phtml', 'another suffix';
    my %pid = map { $h->get('/x')->json->{pid} => 1 } 1 .. 20;
    is scalar(keys %pid), 1, 'one process serves them all';
}

sub answers {
    my $h = Harness->new(mpm => $mpm);
    my $dir = make($h, 'app');
    $h->start(conf => "DocumentRoot $dir/public\nPassengerAppType php\nPassengerMaxPoolSize 1");
    my $pid = $h->get('/x')->json->{pid};
    my %want = (404 => [404, 'Lost', 'not here'], 503 => [503, 'Service Unavailable', 'later'], status => [418, 'Teapot', 'tea'], redirect => [302, 'Found', ''],
        moved => [301, 'Moved Permanently', ''], 204 => [204, 'No Content', ''], 304 => [304, 'Not Modified', ''], length => [200, 'OK', '12345'],
        binary => [200, 'OK', join '', map chr, 0 .. 255], type => [200, 'OK', 'a{}'], nothing => [200, 'OK', ''], exit => [200, 'OK', 'before'],
        die => [200, 'OK', 'dead'], 'die-head' => [200, 'OK', ''], ignored => [200, 'OK', 'ignored'], buffer => [200, 'OK', 'kept'], warning => [200, 'OK', 'goes on']);
    for my $path (sort keys %want) {
        my $r = $h->get("/$path");
        is_deeply [ $r->status, $r->{reason}, $r->body, $r->complete ], [ @{ $want{$path} }, 1 ], "/$path" or diag $r->head;
    }
    is_deeply [ $h->get('/cookies')->headers('Set-Cookie') ], [ 'a=1', 'b=2; path=/x' ], 'two cookies';
    is $h->get('/redirect')->header('Location'), '/elsewhere', 'a place';
    is $h->get('/die')->header('X-A'), 'b', 'a field of one that died';
    is $h->get('/503')->header('Retry-After'), 7, 'a field of a 503';
    is $h->get('/304')->header('ETag'), '"e"', 'a field of a 304';
    is $h->get('/type')->header('Content-Type'), 'text/css;charset=UTF-8', 'a type';
    is join(',', $h->get('/headers')->headers('X-List')), 'a,b', 'a field that is there twice';
    my $r = $h->ask('HEAD', '/length');
    is_deeply [ $r->status, $r->header('Content-Length'), $r->body ], [ 200, 5, '' ], 'HEAD';
    $r = $h->ask('HEAD', '/die');
    is $r->status, 200, 'HEAD of what has no length';
    my $raw = join '', map chr, map { $_ * 7 % 256 } 1 .. 100_000;
    for my $method (qw(PUT PATCH DELETE)) {
        my $seen = $h->ask($method, '/x', body => $raw)->json;
        is "$seen->{server}{REQUEST_METHOD} $seen->{input}", "$method " . sha1_hex($raw), $method;
    }
    is $h->ask('OPTIONS', '/x')->json->{server}{REQUEST_METHOD}, 'OPTIONS', 'OPTIONS';
    my $seen = $h->ask('POST', '/x', 'Transfer-Encoding' => 'chunked', body => "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")->json;
    is "$seen->{input} $seen->{server}{CONTENT_LENGTH}", sha1_hex('hello world') . ' 11', 'a chunked body';
    is $h->post('/ignored', $raw)->body, 'ignored', 'a body that nobody reads';
    is $h->post('/read-some', $raw)->body, substr($raw, 0, 10), 'a body that is read in part';
    my $c = $h->client;
    $c->write_request('GET', '/stream');
    my $begun = time;
    wait_for { $c->_more(time + 1); $c->{in} =~ /piece 0/ } 'the first piece';
    cmp_ok time - $begun, '<', 0.6, 'flush() reaches the client';
    like $c->read_response('GET')->body, qr/^piece 0\npiece 1\npiece 2\n$/, '... and the rest follows';
    $r = $h->get('/large');
    ok $r->complete && length $r->body == 320 * 65536, 'a large response';
    my ($cookie) = $h->get('/session')->header('Set-Cookie') =~ /^(PHPSESSID=\w+)/;
    is $h->get('/session', Cookie => $cookie)->body, 2, 'a session';
    $begun = time;
    is $h->get('/shutdown')->body, 'soon', 'work after the response';
    cmp_ok time - $begun, '<', 0.8, '... does not hold up its client';
    is $h->get('/x')->json->{pid}, $pid, '... and the next one waits for it';
    $h->expect_log(qr/App $pid output: work is done/, 'that it was done');
    is $h->get('/log')->body, 'logged', 'the log';
    $h->expect_log(qr/App $pid output: $_$/, $_) for 'to the log', 'to stderr';
    $h->expect_log(qr/App $pid output: PHP Warning:  a warning of ours in .*index\.php on line \d+/, 'a warning');
    for my $path (qw(fatal throw memory)) {
        is $h->get("/$path")->status, 500, "/$path";
    }
    $h->expect_log(qr/App $pid output: PHP Fatal error:  $_/, $_) for 'Uncaught Error: Call to undefined function', 'Uncaught RuntimeException: thrown on purpose',
        'Allowed memory size';
    $r = $h->get('/fatal-late');
    is_deeply [ $r->status, length $r->body ], [ 200, 100_000 ], 'an error after the head';
    $c = $h->client;
    $c->write_request('GET', '/leave');
    wait_for { $c->_more(time + 1) } 'the beginning';
    $c->close;
    $h->expect_log(qr/output: it went on/, 'that a script may ignore that its client left');
    is $h->get('/x')->json->{pid}, $pid, 'all in one process';
    is $h->get('/kill')->status, 502, 'a process that dies';
    $h->expect_log(qr/PSG0102: app\.exited: process $pid .* signal=9/, 'how it ended');
    $h->expect_log(qr/PSG0150: request\.failed/, 'whom it failed');
    isnt $h->get('/x')->json->{pid}, $pid, '... and is replaced';
}

sub uploads {
    my $h = Harness->new(mpm => $mpm);
    my $dir = make($h, 'app');
    $h->start(conf => "DocumentRoot $dir/public\nPassengerAppType php\n");
    my $file = join '', map { pack 'N', $_ * 2654435761 % 4294967296 } 1 .. 262_144;
    $file x= 100;
    my $form = "--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"big.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n$file\r\n--B\r\n"
        . "Content-Disposition: form-data; name=\"t\"\r\n\r\ntext\r\n--B--\r\n";
    my $seen = $h->client(timeout => 60)->ask('POST', '/x', Connection => 'close', 'Content-Type' => 'multipart/form-data; boundary=B', body => $form)->json;
    is_deeply $seen->{files}{f}, [ 'big.bin', length $file, 0, sha1_hex($file) ], '100 MiB are uploaded';
    is $seen->{post}{t}, 'text', '... beside a field';
}

# Nobody gets the source of a script, whatever they ask for.
sub source {
    my $h = Harness->new(mpm => $mpm);
    my %copies = map { ("public/$_" => tool()) } qw(tool.php~ tool.php.bak tool.php.txt tool.phps .tool.php.swp admin/page.PHP.old);
    my $dir = make($h, 'app', files => { %copies, 'public/tool.phpx' => 'text', 'lib/inner.php' => tool() });
    my $else = $h->make_app('else', { 'other.php' => tool() });
    symlink "$dir/lib/inner.php", "$dir/public/linked.php";
    $h->start(conf => "DocumentRoot $dir/public\nPassengerAppType php\nAlias /else $else\nOptions +Indexes +MultiViews +FollowSymLinks\n", log_level => 'info');
    for my $name (map { s{^public}{}r } sort keys %copies) {
        my $r = $h->get($name);
        is $r->status, 403, "$name is not sent";
    }
    is $h->get('/else/other.php')->status, 403, 'a script elsewhere is neither run nor sent';
    $h->expect_log(qr{PSG1401: \S+/else/other\.php is neither run nor sent: it is not in the public folder}, 'why');
    is $h->get('/linked.php')->json->{tool}, '/linked.php', 'a link to a script of one\'s own';
    is $h->get('/tool.phpx')->body, 'text', 'other names are no source';
    my $bad = '';
    for my $path ('/tool.php', '/index.php', '/admin/', '/tool', '/tool.php/', '//tool.php', '/./tool.php', '/%74ool.php', '/tool%2ephp', '/tool.php%00.txt', '/tool.php?x', '/UPPER.PHP',
        '/admin/../tool.php', '/page.phtml', '/linked.php') {
        for my $how ([GET => $path], [POST => $path, body => 'x'], [PUT => $path, body => 'x'], [OPTIONS => $path], [GET => $path, Range => 'bytes=0-10'],
            [GET => $path, Accept => 'text/plain', 'If-None-Match' => '*']) {
            $bad .= " @$how[0, 1]" if $h->ask(@$how)->body =~ /<\?php|\$secret/;
        }
    }
    is $bad, '', 'whatever the method and the name';
}

# Where applications lie, and what rewrites for them.
sub layouts {
    my $h = Harness->new(mpm => $mpm);
    my $rules = "RewriteEngine On\nRewriteCond %{REQUEST_FILENAME} !-d\nRewriteCond %{REQUEST_FILENAME} !-f\nRewriteRule ^ index.php [L]\n";
    my $laravel = make($h, 'laravel', files => { 'public/.htaccess' => $rules });
    my $press = make($h, 'press', flat => 1, files => { 'tmp/x.php' => tool(), '.htaccess' => "RewriteEngine On\nRewriteRule ^index\\.php\$ - [L]\n" . ($rules =~ s/RewriteEngine On\n//r) });
    my $blog = make($h, 'blog');
    my $own = $h->make_app('own', { 'public/app.php' => tool(), 'public/x.php' => tool() });
    $h->start(conf => <<"END");
PassengerAppType php
PassengerMaxPoolSize 10
<Directory $h->{root}/apps>
    AllowOverride All
</Directory>
<VirtualHost *>
    ServerName laravel
    DocumentRoot $laravel/public
    Alias /blog $blog/public
    <Location /blog>
        PassengerBaseURI /blog
    </Location>
</VirtualHost>
<VirtualHost *>
    ServerName press
    DocumentRoot $press
</VirtualHost>
<VirtualHost *>
    ServerName fallback
    DocumentRoot $laravel/public
    FallbackResource /index.php
</VirtualHost>
<VirtualHost *>
    ServerName own
    DocumentRoot $own/public
    PassengerStartupFile public/app.php
</VirtualHost>
END
    for my $host (qw(laravel press fallback)) {
        my $root = $host eq 'press' ? $press : "$laravel/public";
        my $seen = $h->get('/users/7?x=y', Host => $host)->json;
        is_deeply [ @{ $seen->{server} }{qw(REQUEST_URI SCRIPT_NAME PHP_SELF PATH_INFO SCRIPT_FILENAME QUERY_STRING)} ],
            [ '/users/7?x=y', '/index.php', '/index.php', undef, "$root/index.php", 'x=y' ], "$host: a route";
        is $h->get('/admin/page.php', Host => $host)->json->{tool}, '/admin/page.php', '... a script';
        is $h->get('/style.css', Host => $host)->body, 'a{}', '... a file';
        is $h->post('/form', 'a=b', Host => $host, 'Content-Type' => 'application/x-www-form-urlencoded')->json->{post}{a}, 'b', '... a form';
    }
    is $h->get('/tmp/x.php', Host => 'press')->status, 403, 'what is the application\'s own is neither run nor sent';
    $h->expect_log(qr/PSG1710: /, 'why');
    my $seen = $h->get('/blog/users/7', Host => 'laravel')->json;
    is_deeply [ @{ $seen->{server} }{qw(REQUEST_URI SCRIPT_NAME PHP_SELF SCRIPT_FILENAME)}, $seen->{file} ],
        [ '/blog/users/7', '/blog/index.php', '/blog/index.php', ("$blog/public/index.php") x 2 ], 'below a base URI: a route';
    is $h->get('/blog/tool.php/i', Host => 'laravel')->json->{self}, '/blog/tool.php/i', '... a script';
    is $h->get('/blog/admin/', Host => 'laravel')->json->{tool}, '/blog/admin/index.php', '... a folder';
    is $h->get('/blog/style.css', Host => 'laravel')->body, 'a{}', '... a file';
    is $h->get('/blog/404', Host => 'laravel')->body, 'not here', '... and its routes';
    is $h->get('/users', Host => 'own')->json->{tool}, '/app.php', 'a front controller of another name';
    is $h->get('/x.php', Host => 'own')->json->{tool}, '/x.php', '... and a script beside it';
    my %root = map { (readlink("/proc/$_/cwd") => 1) } $h->apps;
    is join(' ', sort grep { $_ eq $press } keys %root), $press, 'without public/ the document root is the application\'s root';
    my $pid = $h->get('/x', Host => 'press')->json->{pid};
    spew("$press/tmp/restart.txt", '');
    wait_for { ($h->get('/x', Host => 'press')->json->{pid} // $pid) != $pid } 'a restart';
}

# Two users, who cannot read each other's files through PHP.
sub users {
    my $h = Harness->new(mpm => $mpm);
    plan skip_all => 'needs root' if $>;
    my @dir = map { make($h, "app$_", owner => $h->app_user($_), files => { 'secret.php' => '<?php echo "secret";' }) } 0, 1;
    chmod 0600, "$dir[1]/secret.php";
    symlink "$dir[1]/secret.php", "$dir[0]/public/neighbour.php";
    $h->start(conf => join '', map { "<VirtualHost *>\nServerName app$_\nDocumentRoot $dir[$_]/public\nPassengerAppType php\n</VirtualHost>\n" } 0, 1);
    for my $n (0, 1) {
        is getpwuid($h->get('/x', Host => "app$n")->json->{uid}), $h->app_user($n), "app$n runs as its owner";
    }
    my $r = $h->get('/neighbour.php', Host => 'app0');
    unlike $r->body, qr/secret/, 'a link to a neighbour\'s script runs nothing';
    cmp_ok $r->status, '>=', 400, '... and is an error';
    $h->allow_log(qr/PSG/);
}

# The pool is the one that every kind has.
sub lifetimes {
    my $h = Harness->new(mpm => $mpm);
    my $dir = make($h, 'app');
    my $worn = make($h, 'worn');
    $h->start(conf => "MaxKeepAliveRequests 0\nPassengerMaxPoolSize 4\nPassengerMaxInstancesPerApp 3\n<VirtualHost *>\nServerName app\nDocumentRoot $dir/public\nPassengerAppType php\n"
            . "PassengerMaxRequestTime 3\n</VirtualHost>\n<VirtualHost *>\nServerName worn\nDocumentRoot $worn/public\nPassengerAppType php\n"
            . "PassengerMaxRequests 5\n</VirtualHost>\n");
    my $pid = $h->get('/x', Host => 'app')->json->{pid};
    my $w = $h->client;
    my $same = grep { $w->get('/x', Host => 'app')->json->{pid} == $pid } 1 .. 600;
    is $same, 600, 'no limit of PHP\'s own ends a process';
    my @c = map { my $c = $h->client; $c->write_request('GET', '/sleep', Host => 'app'); $c } 1 .. 6;
    my %pid = map { my $r = $_->read_response('GET'); ($r->status == 200 ? $r->body : 'failed') => 1 } @c;
    ok !$pid{failed} && keys %pid > 1 && keys %pid <= 3, 'several processes serve what comes at once' or diag explain \%pid;
    $h->allow_log(qr/PSG00/);
    $h->kill_core;
    ok exists $pid{ $h->get('/x', Host => 'app')->json->{pid} }, 'a new core takes them over';
    spew("$dir/tmp/restart.txt", '');
    my $bad = 0;
    wait_for { my $r = $h->get('/x', Host => 'app'); $bad += $r->status != 200; !grep { $pid{$_} } $h->apps } 'new processes', 20;
    is $bad, 0, 'a restart loses nothing';
    my %seen;
    my @status = map { my $r = $h->get('/x', Host => 'worn'); $seen{ $r->json->{pid} }++; $r->status } 1 .. 30;
    is "@status", join(' ', (200) x 30), 'PassengerMaxRequests loses nothing';
    cmp_ok scalar(keys %seen), '>', 1, '... and replaces processes';
    is $h->get('/hang', Host => 'app')->status, 504, 'PassengerMaxRequestTime';
    $h->expect_log(qr/PSG0158: request\.timeout/, 'the limit');
    $h->allow_log(qr/PSG0157: app\.stuck/);
    is $h->get('/x', Host => 'app')->status, 200, '... and another process serves';
}

sub refusals {
    my $h = Harness->new(mpm => $mpm);
    my $open = make($h, 'open');
    my $wrong = make($h, 'wrong');
    my $none = $h->make_app('none', { 'public/a.txt' => 'a' });
    chmod 0777, "$open/public";
    my $conf = "PassengerFriendlyErrorPages on\nPassengerAppType php\n";
    my %more = (open => '', wrong => 'PassengerPHP /nowhere/php-cgi9.9', none => '');
    $conf .= "<VirtualHost *>\nServerName $_\nDocumentRoot $h->{root}/apps/$_/public\n$more{$_}\n</VirtualHost>\n" for sort keys %more;
    $h->start(conf => $conf);
    $h->allow_log(qr/PSG011\d/);
    $h->expect_log(qr{PSG2801: PassengerPHP /nowhere/php-cgi9\.9 at .*there is no}, 'what is missing, at the start');
    is $h->get('/', Host => 'open')->status, 500, 'a folder that everybody may write to is not PHP\'s';
    $h->expect_log(qr{The folder \S+/open/public may be written by everybody}, 'why');
    is $h->get('/', Host => 'wrong')->status, 500, 'a PHP that is not there';
    $h->expect_log(qr{The interpreter /nowhere/php-cgi9\.9 cannot be run: No such file or directory\. Correct PassengerPHP\.}, 'which');
    my $r = $h->get('/x', Host => 'none');
    is $r->status, 404, 'without a front controller what is not there is not found';
    is $h->get('/a.txt', Host => 'none')->body, 'a', '... and files are there';
}

# php-fpm, of which only the program is taken: its package would start a service.
sub fpm {
    my $h = Harness->new(mpm => $mpm);
    my ($fpm) = reverse sort glob '/usr/sbin/php-fpm[0-9]*';
    if (!$fpm) {
        my ($package) = `apt-cache depends php-fpm 2>/dev/null` =~ /Depends: (php[\d.]+-fpm)/;
        system("cd $h->{root}/lib && apt-get download $package >/dev/null 2>&1 && dpkg-deb -x ${package}_*.deb .") if $package;
        ($fpm) = glob "$h->{root}/lib/usr/sbin/php-fpm*";
    }
    plan skip_all => 'php-fpm cannot be had here' if !$fpm;
    my $dir = make($h, 'app');
    my $cgi = make($h, 'cgi');
    $h->start(conf => "PassengerAppType php\nPassengerMaxInstancesPerApp 2\n<VirtualHost *>\nServerName app\nDocumentRoot $dir/public\nPassengerPHP $fpm\n"
            . "SetEnv FROM_APACHE yes\n</VirtualHost>\n<VirtualHost *>\nServerName cgi\nDocumentRoot $cgi/public\n</VirtualHost>\n");
    my $seen = $h->get('/some/path?a=b', Host => 'app')->json;
    is $seen->{sapi}, 'fpm-fcgi', 'php-fpm answers' or diag $h->log_text;
    is $h->get('/x', Host => 'cgi')->json->{sapi}, 'cgi-fcgi', '... beside php-cgi';
    is getpwuid($seen->{uid}), $h->app_user, '... as the owner' unless $>;
    is_deeply [ @{ $seen->{server} }{qw(SCRIPT_NAME PHP_SELF REQUEST_URI SCRIPT_FILENAME)}, $seen->{env}, $seen->{memory} ],
        [ '/index.php', '/index.php', '/some/path?a=b', "$dir/public/index.php", 'yes', '77M' ], '... and knows what php-cgi knows';
    my ($master) = grep { "@{ Proc::get($_)->{cmdline} }" =~ /php-fpm/ } $h->apps;
    is Proc::get($seen->{pid})->{ppid}, $master, '... in a child of the process that was started';
    is $h->get('/x', Host => 'app')->json->{pid}, $seen->{pid}, '... which stays';
    is $h->get('/tool.php/x', Host => 'app')->json->{self}, '/tool.php/x', 'a script';
    my $large = join '', map { sha1_hex($_) } 1 .. 100_000;
    is $h->post('/x', $large, Host => 'app')->json->{input}, sha1_hex($large), 'a body';
    my $begun = time;
    is $h->get('/fatal', Host => 'app')->status, 500, 'an error';
    $h->expect_log(qr/App $master output: .*PHP Fatal error:  Uncaught Error/, 'the error');
    my @c = map { my $c = $h->client; $c->write_request('GET', '/sleep', Host => 'app'); $c } 1 .. 4;
    my %pid = map { my $r = $_->read_response('GET'); ($r->status == 200 ? $r->body : 'failed') => 1 } @c;
    ok !$pid{failed} && keys %pid == 2, 'two processes serve what comes at once' or diag explain \%pid;
    spew("$dir/tmp/restart.txt", '');
    my $bad = 0;
    wait_for { my $r = $h->get('/x', Host => 'app'); $bad += $r->status != 200; !grep { $_ == $master } $h->apps } 'new processes', 20;
    is $bad, 0, 'a restart loses nothing';
    ok !Proc::alive($seen->{pid}), '... and leaves no child';
}
