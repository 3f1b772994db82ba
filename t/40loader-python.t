# The Python loader by itself: this test is its core (t/lib/Loader.pm). PYTHON names another interpreter.
use strict;
use warnings;
use Cwd qw(abs_path);
use lib 't/lib';
use IO::Select;
use POSIX qw(:sys_wait_h);
use Socket qw(SHUT_WR);
use Test::More;
use Loader;

my $python = $ENV{PYTHON} // '/usr/bin/python3';
plan skip_all => "$python is not there" unless -x $python;
# Without a tb_next that can be set a traceback keeps the frames after the application's.
my $old = system($python, '-c', 'import sys; sys.exit(sys.version_info < (3, 7))') >> 8;
my $loader = abs_path('helper/loaders/wsgi-loader.py');
my $shapes = abs_path('t/apps/wsgi-shapes');
my $limit = 20;
Loader::use($python, $loader, $shapes, 'passenger_wsgi.py');
my $hello = "def application(e, s):\n    s('200 OK', [('Content-Type', 'text/plain')])\n    return [b'hello world\\n']\n";

for my $file (glob 'helper/loaders/*.py') {
    is system($^X, '-e', 'exit system(@ARGV) >> 8', $python, '-c', <<'END', $file), 0, "$file is Python 3.6 by its syntax";
import ast, sys
source = open(sys.argv[1]).read()
ast.parse(source, **({'feature_version': (3, 6)} if sys.version_info >= (3, 8) else {}))
assert 'imp' not in [alias.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import) for alias in node.names]
END
}

# An older Python must be able to read the file, for one sentence.
SKIP: {
    skip 'no lib2to3, which knows the syntax of Python 2', 1 if system("$python -W ignore -c 'import lib2to3.pgen2.driver' 2>/dev/null") != 0;
    is system($python, '-W', 'ignore', '-c', <<'END', $loader), 0, 'the loader is Python 2 by its syntax';
import sys
from lib2to3 import pygram, pytree
from lib2to3.pgen2 import driver
driver.Driver(pygram.python_grammar, convert=pytree.convert).parse_file(sys.argv[1])
END
}
{
    open my $out, '-|', $python, '-c', <<'END', $loader or die "$python: $!";
import sys
sys.version_info, sys.version = (2, 7, 18, 'final', 0), '2.7.18 (as if)'
exec(compile(open(sys.argv[1]).read(), sys.argv[1], 'exec'), {'__name__': '__main__', '__file__': sys.argv[1]})
END
    my $said = do { local $/; <$out> };
    close $out;
    is $? >> 8, 1, 'an old Python ends at once';
    is $said, "!> Error\n\nPython 3.6 or newer is needed; " . `$python -c 'import sys; print(sys.executable, end="")'` . " is Python 2.7.18: set PassengerPython to a newer one.\n",
        '... with one sentence';
}

# The start, and what a process is given

$app = start(ignore => [qw(HUP USR1 TERM INT)], block => [POSIX::SIGTERM(), POSIX::SIGUSR1()], env => { PASSENGER_GENERATION => 5 });
my $r = ask('/process');
is $r->{status}, 200, 'the application answers';
my %fact = $r->{body} =~ /^(\w+)=(.*)$/mg;
is $fact{main}, '[]', '__main__ is clean';
is $fact{argv}, "['$loader']", 'sys.argv is the loader';
is $fact{path0}, "'$shapes'", "sys.path begins with the application's folder";
is $fact{loader_on_path}, 'False', "and has not the loader's";
is $fact{file}, "'$shapes/passenger_wsgi.py'", '__file__ is absolute';
is $fact{name}, "'passenger_wsgi'", 'the module has its name';
is $fact{module}, 'True', 'and is registered under it';
is $fact{spec}, "'$shapes/passenger_wsgi.py'", 'and has a spec';
is $fact{stdin}, "''", 'standard input is empty';
is $fact{cwd}, "'$shapes'", 'it works in its folder';
is $fact{inheritable}, '[]', 'no descriptor above 2 is for children';
is $fact{handshake}, 'False', 'the handshake is not in the environment';
is lc $fact{encoding}, "'utf-8'", 'output is UTF-8';
is $fact{int}, 'True', 'an interrupt is caught';
is $fact{hup}, 0, 'ignored signals are reset';
is $fact{mask}, 0, 'blocked signals are freed';

# environ

$r = ask('/show?a=b', HTTP_X_EMPTY => '', HTTP_X_LATIN => "caf\xe9", HTTP_X_UTF => "\xe2\x82\xac", HTTP_X_BAD => "\xff\xfe", 'HTTP_X=Y' => '=',
    HTTP_X_LONG => 'l' x 131072, CONTENT_TYPE => 'text/x');
is $r->{status}, 200, 'a large head';
for my $line ("HTTP_X_EMPTY=''", q{HTTP_X_LATIN='caf\xe9'}, q{HTTP_X_UTF='\xe2\x82\xac'}, q{HTTP_X_BAD='\xff\xfe'}, q{HTTP_X=Y='='}, "QUERY_STRING='a=b'",
    "CONTENT_TYPE='text/x'", "PATH_INFO='/show'", "wsgi.url_scheme='http'", 'wsgi.version=(1, 0)', 'wsgi.multithread=False', 'wsgi.multiprocess=True',
    'wsgi.run_once=False', 'wsgi.input_terminated=True') {
    ok index("\n$r->{body}", "\n$line\n") >= 0, "environ has $line" or diag $r->{body};
}
like $r->{body}, qr/^HTTP_X_LONG='(?:l{4096}){32}'$/m, 'a value of 128 KiB arrives whole';
unlike ask('/show', HTTP_TRANSFER_ENCODING => 'chunked', body => $_)->{body}, qr/TRANSFER_ENCODING/, 'a body whose length is known has no chunks any more' for '', 'x';
like ask('/show', HTTPS => $_)->{body}, qr/^wsgi\.url_scheme='https'$/m, "HTTPS=$_ is https" for qw(on ON 1 true yes);
like ask('/show', HTTPS => $_)->{body}, qr/^wsgi\.url_scheme='http'$/m, "HTTPS=$_ is not" for 'off', '';

# Responses

is_answer(ask('/hello'), 200, "hello world\n", 'length', 'a list of one block has a length');
is_answer(ask('/lists?empty'), 200, '', 'length', 'an empty list is an empty body');
is_answer(ask('/lists'), 200, 'one two three', 'length', 'a tuple of several blocks has a length');
is_answer(ask('/late_start'), 202, 'late', 'chunked', 'the head waits for the first block that is not empty');
is_answer(ask('/write'), 200, 'written and returned', 'chunked', 'write()');
is_answer(ask('/closing'), 200, 'ab', 'chunked', 'an iterable of unknown length is chunked');
is_answer(ask('/replaced'), 503, 'replaced', 'length', 'exc_info before the first block replaces the head');
for my $size (32767, 32769, 1000001, 1000000) { is_answer(ask("/big?$size"), 200, 'x' x $size, 'length', "a body of $size bytes") }
is_ahead('/big?1000000', 'the system takes much of it before anybody reads');
$r = ask('/good_headers');
is_answer($r, 200, 'fine', 'length', 'headers of every good kind');
is $r->{reason}, 'Fine by me', 'a reason of its own';
like $r->{head}, qr/^X-Latin: caf\xe9\r\nX-Tab: a\tb\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nx-Empty: \r\nContent-Length: 4\r$/m,
    'headers keep order, letters and bytes; those of one hop are dropped';
is_answer(ask('/hello', REQUEST_METHOD => 'HEAD'), 200, '', 'length', 'HEAD: the length without the body');
is_answer(ask('/closing', REQUEST_METHOD => 'HEAD'), 200, '', 'none', 'HEAD of unknown length');
is_answer(ask('/lists?empty', REQUEST_METHOD => 'HEAD'), 200, '', 'none', 'HEAD: an empty list does not say that the body is empty');
is_answer(ask('/endless', REQUEST_METHOD => 'HEAD'), 200, '', 'none', 'HEAD: an endless body ends');
is_answer(ask("/status?$_"), substr($_, 0, 3), '', 'none', "$_: neither body nor framing") for '204 No Content', '304 Not Modified';
is_answer(ask('/status?404 Gone Fishing'), 404, 'body', 'length', 'another status');
is_answer(ask('/status?200'), 200, 'body', 'length', 'a status without a reason');
is_answer(ask('/hello'), 200, "hello world\n", 'length', 'the connection is still in step');

forget($app);
for my $bad ('100 Continue', '103 Early Hints', '20 OK', 'abc', '', "200 O\nK", '2000 x') {
    is ask("/status?$bad")->{status}, 500, 'not a final status: ' . ($bad =~ s/\n/\\n/r);
}
is ask("/headers?$_")->{status}, 500, "a wrong header: $_"
    for qw(newline bytes name colon empty nul unicode three length delete bytesname);
is ask('/not_list')->{status}, 500, 'headers that are no list';
is ask('/twice')->{status}, 500, 'start_response() twice';
is ask('/never')->{status}, 500, 'start_response() never called, a block';
is ask('/never?empty')->{status}, 500, 'start_response() never called, no block';
for my $kind (qw(none bytes int wide wides)) { is ask("/result?$kind")->{status}, 500, "a wrong result: $kind" }
# What no standard allows, but applications for Passenger do.
is ask('/headers?int')->{status}, 200, 'a number as a header' for 1, 2;
for (['str', 'text'], ['list', 'text'], ['two', 'ab'], ['latin', "caf\xe9"]) { is ask("/result?$_->[0]")->{body}, $_->[1], "text as the body: $_->[0]" }
drain($app);
like $app->{log}, qr/an exception while serving 'GET  \/headers':\nTraceback.*?passenger_wsgi\.py", line \d+, in application/s, 'the log has the traceback';
like $app->{log}, qr/'X-A', 'a\\r\\nSet-Cookie: b'|a control character in X-A/, 'and the reason';
is scalar(() = $app->{log} =~ /$_/g), 1, "the log says so once: $_" for 'a value of type int, which is taken', 'of type str, which is sent as Latin-1';
like $app->{log}, qr/with characters beyond Latin-1, not bytes/, 'and what cannot be taken';

# Content-Length and what was sent

forget($app);
is_answer(ask('/declared?4,ab,cd'), 200, 'abcd', 'length', 'a declared length that is right');
is_answer(ask('/declared?3,ab,cd,ef'), 200, 'abc', 'length', 'too much is cut');
ok wait_log($app, qr/longer than its Content-Length of 3: cut/), 'and logged';
is_answer(ask('/hello'), 200, "hello world\n", 'length', 'and the connection stays');
$r = ask('/declared?9,ab,cd');
ok !$r->{whole} && $r->{closed} && $r->{body} eq 'abcd', 'too little ends with the connection';
ok wait_log($app, qr/5 bytes shorter than its Content-Length of 9/), 'and is logged';
$r = ask('/declared?9');
ok !$r->{whole} && $r->{closed}, 'so does nothing at all';

# Exceptions

for my $where (qw(call exit interrupt started first generatorexit)) {
    forget($app);
    $r = ask("/fails?$where");
    is_answer($r, 500, "Internal Server Error\n", 'length', "an exception before the first byte: $where");
    unlike $r->{body} . $r->{head}, qr/secret/, 'the page has no detail';
    ok wait_log($app, $where =~ /exit$/ ? qr/^(SystemExit|GeneratorExit)/m : $where eq 'interrupt' ? qr/^KeyboardInterrupt/m : qr/^ValueError: secret detail/m), 'the log has';
}
is_answer(ask('/fails?call', REQUEST_METHOD => 'HEAD'), 500, '', 'length', 'the error page for HEAD');
$r = ask('/fails?middle');
ok !$r->{whole} && $r->{closed} && $r->{body} eq 'begun', 'an exception in the middle cuts the response';
$r = ask('/too_late');
ok !$r->{whole} && $r->{closed} && $r->{body} eq 'begun', 'so does exc_info when the response has begun';
forget($app);
is_answer(ask('/fails?close'), 200, 'x', 'chunked', 'an exception in close() spoils nothing');
ok wait_log($app, qr/an exception in close\(\):\nTraceback.*ValueError: close\(\) failed/s), 'and is logged';

# close(), exactly once

sub closes { return ask('/closes')->{body} }
for my $case (['/closing'], ['/closing', REQUEST_METHOD => 'HEAD'], ['/status?304 x'], ['/fails?middle'], ['/fails?first'], ['/fails?close'], ['/declared?9,a'],
    ['/declared?1,ab,c'], ['/never'], ['/endless', REQUEST_METHOD => 'HEAD'], ['/sent_file?counted']) {
    my $before = closes();
    ask(@$case);
    is closes() - $before, 1, "close() is called once: @$case";
}
my $before = closes();
forget($app);
my $gone = link_to($app);
put($gone, pairs('/endless'));
sysread $gone, my $some, 20000;
close $gone;
is closes() - $before, 1, 'close() is called once: the client left';
is_answer(ask('/prints'), 200, "hello world\n", 'length', 'printing whatever');
ok wait_log($app, qr/no newline\n/), 'prints come out';
unlike $app->{log}, qr/Traceback|exception|Broken/, 'a client that left is no news';
like $app->{log}, qr/^printed \xe2\x82\xac \\udcff\nerrors \xe2\x98\x83\na line\nno newline\n/m, 'prints come line by line, in order';

# Request bodies

is_answer(ask('/reads?none'), 200, "[b'', b'', b'', [], []]", 'length', 'no body: at its end at once');
is_answer(ask('/reads?none', REQUEST_METHOD => 'POST', body => ''), 200, "[b'', b'', b'', [], []]", 'length', 'an empty body');
is_answer(ask('/reads?lines', body => "a\nb\n\nc"), 200, q{[b'a\n', b'b\n', b'\n', b'c']}, 'length', 'readlines()');
is_answer(ask('/reads?iter', body => "a\nb"), 200, q{[b'a\n', b'b']}, 'length', 'iteration');
is_answer(ask('/reads?readline', body => "one\nlonger\nend"), 200, q{[b'one\n', b'lon', b'ger\n', b'end']}, 'length', 'readline()');
is_answer(ask('/reads?some', body => 'abcdef'), 200, q{[b'abc', b'', b'def', b'', b'']}, 'length', 'read(n) stops at the end');
my $large = join '', map { sprintf "%09d\n", $_ } 1 .. 50000;
is_answer(ask('/echo', body => $large), 200, $large, 'length', 'a large body');
is_answer(ask("/reads?$_", body => $large), 200, '500000', 'length', "a large body: $_") for qw(length count);
is_answer(ask('/reads?lines', body => "l\n" x 100000), 200, qr/^\[(?:(?:b'l\\n'(?:, |\]$)){1000}){100}/, 'length', 'a large body: lines');
is_answer(ask('/hello', body => $large), 200, "hello world\n", 'length', 'an unread body');
is_answer(ask('/hello'), 200, "hello world\n", 'length', 'is skipped, and the connection stays');
{
    my $l = link_to($app);
    put($l, pairs('/echo', CONTENT_LENGTH => 6));
    for my $part (qw(ab cd ef)) { put($l, $part) }
    is answer($l)->{body}, 'abcdef', 'a body that comes later, in parts';
    my $first = pairs('/reads?hurried', CONTENT_LENGTH => 500_000);
    for ([$first, 100], ['', 1000]) {
        put($l, $_->[0] . 'x' x $_->[1]);
        ok wait_log($app, qr/^hurried $_->[1]$/m), 'read1() and readinto1() take what is there';
    }
    put($l, $_) for 'x' x 200_000, 'x' x 298_900;
    is answer($l)->{body}, '[100, 1000, 300000, 198900]', '... and read() waits for as much as it is to';
    my $head = pairs('/echo', CONTENT_LENGTH => 4);
    put($l, substr $head, 0, 3);
    put($l, substr $head, 3, 50);
    put($l, substr($head, 53) . 'body' . pairs('/hello'));
    my $text = '';
    while ($text !~ /hello world\n/) { IO::Select->new($l)->can_read($limit) && sysread($l, $text, 4096, length $text) or last }
    like $text, qr{\r\n\r\nbodyHTTP/1\.1 200 OK\r\n.*hello world\n$}s, 'a head in parts, and the next request right behind';
    my $c = link_to($app);
    put($c, pairs('/echo', HTTP_TRANSFER_ENCODING => 'chunked', REQUEST_METHOD => 'POST') . 'until ');
    put($c, 'the end');
    shutdown $c, SHUT_WR;
    my $r = answer($c);
    is_answer($r, 200, 'until the end', 'length', 'a body of unknown length ends when the core ends it');
    ok closed($c), 'and so does the connection';
    $c = link_to($app);
    put($c, pairs('/hello', CONTENT_LENGTH => 5 << 20));
    is answer($c)->{status}, 200, 'a body of 5 MiB that nobody wants';
    ok closed($c), 'is not read';
    forget($app);
    $c = link_to($app);
    put($c, pairs('/echo', CONTENT_LENGTH => 10) . 'half');
    shutdown $c, SHUT_WR;
    is answer($c)->{status}, 0, 'a body that ends early gets no answer';
    $c = link_to($app);
    put($c, pairs('/write') . pairs('/echo', CONTENT_LENGTH => 10) . 'half');
    close $c;
    is_answer(ask('/prints'), 200, "hello world\n", 'length', 'the next request is answered');
    wait_log($app, qr/no newline/);
    unlike $app->{log}, qr/Traceback/, 'and it was no news';
}

# Files

is_answer(ask('/sent_file'), 200, "a text of thirty-two characters\n", 'length', 'a file');
is_answer(ask('/sent_file', REQUEST_METHOD => 'HEAD'), 200, '', 'length', 'a file: HEAD');
is_answer(ask('/sent_file?offset'), 200, "a text of thirty-two characters\n" =~ s/^.{6}//r, 'length', 'a file from where it stands');
is_answer(ask('/sent_file?6'), 200, 'a text', 'length', 'a file that is longer than declared');
is_answer(ask('/sent_file?memory'), 200, 'in memory', 'chunked', 'a file in memory');
is_answer(ask('/sent_file?temporary'), 200, 'orary', 'chunked', 'a file in a wrapper');
$r = ask('/sent_file?40');
ok !$r->{whole} && $r->{closed}, 'a file that is shorter than declared';

is_answer(ask('/valid', body => 'input'), 200, 'valid input', 'chunked', 'wsgiref.validate finds no fault') for 1 .. 2;
is_answer(ask('/valid', REQUEST_METHOD => $_, body => 'x'), 200, $_ eq 'HEAD' ? '' : 'valid x', 'chunked', "wsgiref.validate: $_") for qw(POST PUT);

# Streaming

{
    my $fifo = fifo();
    my $l = link_to($app);
    put($l, pairs("/steps?$fifo"));
    my $text = '';
    while ($text !~ /first\n\r\n/) { IO::Select->new($l)->can_read($limit) && sysread($l, $text, 4096, length $text) or last }
    like $text, qr/\r\n\r\n6\r\nfirst\n\r\n$/, 'a block arrives before the next is made';
    let_go($fifo);
    while ($text !~ /\n0\r\n\r\n/) { IO::Select->new($l)->can_read($limit) && sysread($l, $text, 4096, length $text) or last }
    like $text, qr/first\n\r\n7\r\nsecond\n\r\n0\r\n\r\n$/, 'an empty block is no chunk';
}

# Connections

{
    my @links = map { link_to($app) } 1 .. 20;
    put($_, pairs('/hello')) for @links;
    is scalar(grep { answer($_)->{body} eq "hello world\n" } @links), 20, 'twenty connections';
    put($_, pairs('/hello')) for reverse @links;
    is scalar(grep { answer($_)->{body} eq "hello world\n" } @links), 20, 'which are kept';
    close $_ for @links;
    ok eventually { my @fds = glob "/proc/$app->{pid}/fd/*"; @fds < 12 }, 'and closed with their peers';
    is_answer(ask('/hello'), 200, "hello world\n", 'length', 'the first connection goes on');
    is_answer(ask('/socket_timeout'), 200, "hello world\n", 'length', 'socket.setdefaulttimeout()');
    my $l = link_to($app);
    forget($app);
    put($l, pairs('/echo_aloud', CONTENT_LENGTH => 4));
    wait_log($app, qr/about to read/);
    eventually { open my $fh, '<', "/proc/$app->{pid}/stat"; <$fh> =~ /\) S/ };
    put($l, 'late');
    is answer($l)->{body}, 'late', 'is not for our connections';
}
for my $case (["GET / HTTP/1.1\r\n\r\n", 'HTTP'], ["\0\0\0\0", 'no pairs'], [pack('N', 4) . 'abcd', 'no NUL'], [pack('N', 6) . "a\0b\0c\0", 'an odd count'],
    [pack('N', 4) . "a\0b\0", 'no method'], [pairs('/hello', CONTENT_LENGTH => 'x1'), 'a bad length'], [pairs('/hello', CONTENT_LENGTH => -1), 'a negative length'],
    [pack('N', 100) . 'a', 'an early end', 1]) {
    forget($app);
    my $l = link_to($app);
    put($l, $case->[0]);
    shutdown $l, SHUT_WR if $case->[2];
    ok closed($l), "garbage ends the connection: $case->[1]";
    ok wait_log($app, qr/\Awsgi-loader: dropped a connection: .*\n\z/), 'with one line';
}
is_answer(ask('/hello'), 200, "hello world\n", 'length', 'and only that');

# Children

is_answer(ask("/forks?$_"), 200, "hello world\n", 'length', "os.fork(): $_") for qw(return raise exit);
is_answer(ask('/forks?subprocess'), 200, "from a subprocess\n", 'length', 'subprocess');
is_answer(ask('/forks?multiprocessing'), 200, '4', 'length', 'multiprocessing with fresh interpreters');
is_answer(ask('/forks?terminate'), 200, '15', 'length', 'a child can be ended by SIGTERM');
is_answer(ask('/forks?twice'), 200, '0', 'length', 'what a child has opened, its own child has, too');
$r = ask('/forking_blocks');
ok $r->{body} eq '0' && $r->{whole}, 'a fork in the middle of a response leaves one of them';
$r = ask('/forks?stays');
my $child = $r->{body};
ok alive($child), 'a child may stay';
SKIP: {
    skip 'needs os.register_at_fork()', 1 if system($python, '-c', 'import os, sys; sys.exit(not hasattr(os, "register_at_fork"))') >> 8;
    is scalar(grep { (readlink($_) // '') =~ /^socket:/ } glob "/proc/$child/fd/*"), 0, 'and has none of our sockets';
}
kill KILL => $child;
is_answer(ask('/hello'), 200, "hello world\n", 'length', 'and the server goes on');

# Signals and the end

forget($app);
my $idle = fifo();
ask("/spins?$idle");
kill QUIT => $app->{pid};
ok wait_log($app, qr/Thread 0x.*read_fifo.*Current thread.*in run/s), 'SIGQUIT prints the stacks of all threads' or diag $app->{log};
kill INT => $app->{pid};
is_answer(ask('/hello'), 200, "hello world\n", 'length', 'and, like SIGINT, ends nothing');
let_go($idle);
forget($app);
is ask('/closes_stderr')->{status}, 500, 'an application that closes sys.stderr';
ok wait_log($app, qr/^ValueError: after sys\.stderr\.close\(\)$/m), 'closes it for itself';
ok defined($r = stop($app)) && $r == 0, 'at the end of standard input it exits 0' or diag $app->{log};
like $app->{log}, qr/^atexit ran$/m, 'after its atexit handlers';
undef $link;

$app = start();
kill TERM => $app->{pid};
is wait_exit($app), 0, 'SIGTERM while idle: exit 0';
like $app->{log}, qr/^atexit ran$/m, 'after its atexit handlers';

for my $how (qw(TERM EOF)) {
    $app = start();
    my $fifo = fifo();
    $link = link_to($app);
    my $other = link_to($app);
    put($link, pairs("/waits?$fifo"));
    ok wait_log($app, qr/waiting for the fifo/), "$how in flight: it waits";
    put($other, pairs('/hello'));
    if ($how eq 'TERM') { kill TERM => $app->{pid} } else { close $app->{in} }
    # Only when the signal has been taken may the request go on: SigCgt loses it then.
    ok eventually { open my $fh, '<', "/proc/$app->{pid}/status"; my ($mask) = join('', <$fh>) =~ /SigCgt:\s*(\w+)/; !(hex($mask) & (1 << 14)) }, 'it has the signal'
        if $how eq 'TERM';
    let_go($fifo);
    is answer($link)->{body}, 'finished go', 'the request is finished';
    is answer($other)->{body}, "hello world\n", 'and the one that was sent before';
    is wait_exit($app), 0, 'then it exits 0';
    like $app->{log}, qr/was let go\n(.*\n)*atexit ran/, 'after its atexit handlers';
}
{
    $app = start();
    my $fifo = fifo();
    $link = link_to($app);
    put($link, pairs("/waits?$fifo"));
    wait_log($app, qr/waiting for the fifo/);
    kill TERM => $app->{pid};
    eventually { open my $fh, '<', "/proc/$app->{pid}/status"; my ($mask) = join('', <$fh>) =~ /SigCgt:\s*(\w+)/; !(hex($mask) & (1 << 14)) };
    kill TERM => $app->{pid};
    my $status = wait_exit($app);
    is $status & 127, POSIX::SIGTERM(), 'a second SIGTERM ends it at once';
}
{
    $app = start();
    undef $link;
    close $app->{out};
    is_answer(ask('/print_much'), 200, "hello world\n", 'length', 'a log that nobody reads kills nobody') for 1 .. 2;
    close $app->{in};
    ok eventually { waitpid($app->{pid}, WNOHANG) == $app->{pid} }, 'it ends';
    is $?, 0, 'with 0';
    forked($app);
}

# Threads

my @threads = (keys => ['concurrency_model: thread', 'thread_count: 4'], concurrency => 4);
{
    $app = start(@threads);
    undef $link;
    like ask('/show')->{body}, qr/^wsgi\.multithread=True$/m, 'threads: the application is told';
    is scalar(grep { ask('/hello')->{body} eq "hello world\n" } 1 .. 100), 100, 'threads: a kept connection';
    is_answer(ask('/echo', body => $large), 200, $large, 'length', 'threads: a large body');
    is_answer(ask('/hello', body => $large), 200, "hello world\n", 'length', 'threads: an unread body');
    is_answer(ask('/hello'), 200, "hello world\n", 'length', 'threads: is skipped');
    my @fifos = map { fifo() } 1 .. 4;
    my @links = map { link_to($app) } @fifos;
    put($links[$_], pairs("/waits?$fifos[$_]")) for 0 .. 3;
    ok wait_log($app, qr/(?:waiting for the fifo.*?){4}/s), 'threads: four requests at once' or diag $app->{log};
    let_go($fifos[0]);
    is answer($links[0])->{body}, 'finished go', 'threads: one of them ends';
    is_answer(ask('/hello'), 200, "hello world\n", 'length', 'threads: and makes place for another');
    forget($app);
    kill QUIT => $app->{pid};
    ok wait_log($app, qr{(?:thread 0x\w+ has served 'GET  /waits' for [\d.]+ s\n.*?){3}}s), 'threads: SIGQUIT names the request of each' or diag $app->{log};
    my ($thread) = $app->{log} =~ /thread (0x\w+) has served/;
    like $app->{log}, qr/\Q$thread\E[^\n]* \(most recent call first\):\n(?:  File .*\n)*?.* in read_fifo\n/, 'threads: under the number that its stack has';
    is_answer(ask("/forks?$_"), 200, "hello world\n", 'length', "threads: os.fork(): $_") for qw(return raise exit);
    is_answer(ask('/fails?call'), 500, "Internal Server Error\n", 'length', 'threads: an exception');
    close $app->{in};
    let_go($fifos[$_]) for 1 .. 3;
    is answer($links[$_])->{body}, 'finished go', 'threads: requests in flight are finished' for 1 .. 3;
    is wait_exit($app), 0, 'threads: then it exits 0';
    like $app->{log}, qr/^atexit ran$/m, 'threads: after its atexit handlers';
}
for my $how (qw(TERM EOF)) {
    $app = start(@threads);
    undef $link;
    my $fifo = fifo();
    my $busy = link_to($app);
    put($busy, pairs("/waits?$fifo"));
    ok wait_log($app, qr/waiting for the fifo/), "threads: $how in flight";
    if ($how eq 'TERM') { kill TERM => $app->{pid} } else { close $app->{in} }
    ok eventually { my @tasks = glob "/proc/$app->{pid}/task/*"; @tasks == 2 }, 'threads: those with nothing to do end';
    let_go($fifo);
    is answer($busy)->{body}, 'finished go', 'threads: the request is finished';
    is wait_exit($app), 0, 'threads: then it exits 0';
}
{
    $app = start(keys => ['concurrency_model: process', 'thread_count: 4']);
    undef $link;
    like ask('/show')->{body}, qr/^wsgi\.multithread=False$/m, 'a count of threads alone means nothing';
    stop($app);
    $app = start(@threads);
    my @links = map { link_to($app) } 1 .. 20;
    my $right = 0;
    for (1 .. 20) {
        put($_, pairs('/hello')) for @links;
        $right += grep { answer($_)->{body} eq "hello world\n" } @links;
    }
    is $right, 400, 'threads: twenty connections';
    close $_ for @links;
    ok eventually { my @fds = glob "/proc/$app->{pid}/fd/*"; @fds < 15 }, 'threads: which are closed with their peers';
    is stop($app), 0, 'threads: idle ones end at once';
}

# Startup files

for my $name (qw(passenger_wsgi.py app.wsgi start with-dash.py)) {
    $app = start(app_with($hello, $name));
    undef $link;
    is_answer(ask('/'), 200, "hello world\n", 'length', "a startup file named $name");
    stop($app);
}
{
    my %arg = app_with("import os, sys, select\nprint('partial', end='')\n" . $hello);
    for my $module (qw(select socket traceback signal enum)) { open my $fh, '>', "$arg{root}/$module.py"; print $fh "raise ImportError('not this one')\n" }
    $app = start(%arg);
    undef $link;
    is_answer(ask('/'), 200, "hello world\n", 'length', 'modules named like the standard ones do not get in our way');
    like $app->{log}, qr/^partial\n!> Ready$/m, 'a partial line does not hide Ready';
    stop($app);
    $app = start(app_with("import os\npid = os.fork()\nif pid:\n    os.waitpid(pid, 0)\nelse:\n    print('the child')\n$hello"));
    undef $link;
    is_answer(ask('/'), 200, "hello world\n", 'length', 'a fork while loading');
    is scalar(() = $app->{log} =~ /^!> Ready/mg), 1, 'leaves one that is ready';
    stop($app);
}

# Another interpreter

my $preamble = "import os, sys\nINTERP = %s\nif sys.executable != INTERP:\n    os.execl(INTERP, INTERP, *sys.argv)\n"
    . "assert 'PASSENGER_HANDSHAKE' not in os.environ\n$hello";
symlink $python, "$top/other-python";
$app = start(app_with(sprintf $preamble, "'$top/other-python'"));
undef $link;
is_answer(ask('/'), 200, "hello world\n", 'length', 'os.execl(INTERP, INTERP, *sys.argv)');
is scalar(() = $app->{log} =~ /I have control/g), 1, 'with one handshake';
is readlink("/proc/$app->{pid}/fd/0"), '/dev/null', 'and standard input is empty again';
is stop($app), 0, 'and its end is still seen';
{
    my %arg = app_with(sprintf $preamble, "'$top/venv/bin/python'");
    SKIP: {
        skip 'no venv here', 1 if system("$python -m venv --without-pip --symlinks $top/venv >/dev/null 2>&1");
        $app = start(%arg);
        undef $link;
        is_answer(ask('/'), 200, "hello world\n", 'length', 'the interpreter of a venv');
        stop($app);
    }
    open my $fh, '>', "$top/wrapper" or die $!;
    print $fh "#!/bin/sh\nexec $python \"\$@\"\n";
    close $fh;
    chmod 0755, "$top/wrapper";
}

sub refused {
    my ($name, $arg, @patterns) = @_;
    my $app = launch(%$arg);
    wait_log($app, qr/^!> I have control 1\.0\n/);
    say_to($app, parameters($app));
    my $status = wait_exit($app);
    is $status, 1 << 8, "$name: exit code 1";
    my ($text) = $app->{log} =~ /^!> Error\n\n(.*)/ms;
    ok defined $text, "$name: an error" or diag $app->{log};
    like $text // '', $_, "$name: $_" for @patterns;
    my $ours = $old ? qr/!> Ready/ : qr/!> Ready|wsgi-loader\.py"|importlib/;
    unlike $app->{log}, $ours, "$name: nothing of ours in it";
}
refused('a loop of interpreters', { app_with(sprintf $preamble, "'$top/wrapper'") }, qr/^\S+passenger_wsgi\.py: it executed another interpreter 4 times.*\n/);
refused('no such interpreter', { app_with(sprintf $preamble, "'/nowhere/python'") }, qr/^\S+, line 4: FileNotFoundError/);
refused('no startup file', { app_with(undef) }, qr/^\S+passenger_wsgi\.py: there is no such startup file: create it/);
refused('a syntax error', { app_with("import os\n\ndef f(:\n    pass\n") }, qr/^\S+passenger_wsgi\.py, line 3: SyntaxError: .* correct that line/, qr/def f\(:/);
refused('a module that is missing', { app_with("import os\nimport no_such_module_here\n") },
    qr/^\S+, line 2: ModuleNotFoundError: No module named 'no_such_module_here': install what is missing for Python 3/, qr/^sys\.path:\n  \S+app/m, qr/^Interpreter: /m);
refused('no application', { app_with("apps = 1\n") }, qr/^\S+: it defines neither "application" nor "app"/);
refused('an app that is no callable', { app_with("app = 1\n") }, qr/^\S+: "app" is of type int/);
refused('an application that is no callable', { app_with("application = 'text'\n") }, qr/^\S+: "application" is of type str/);
refused('sys.exit()', { app_with("import sys\nsys.exit(3)\n") }, qr/^\S+, line 2: the application called sys\.exit\(3\)/);
refused('an exception', { app_with("def f():\n    raise ValueError('why\\nnot')\nf()\n") },
    qr/^\S+, line 2: ValueError: why not: correct that/, qr/^Traceback \(most recent call last\):\n  File "\S+passenger_wsgi\.py", line 3/m);
refused('a folder', { app_with(undef), startup => $top }, qr/^\S+: Is a directory/);
refused('a latin-1 source', { app_with("x = '\xe9'\n") }, qr/SyntaxError/);
refused('an assertion in another module', do {
    my %arg = app_with("import helper_of_mine\n");
    open my $fh, '>', "$arg{root}/helper_of_mine.py";
    print $fh "\n\nassert False, 'no'\n";
    \%arg;
}, qr{^\S+/helper_of_mine\.py, line 3: AssertionError: no});
$app = launch();
wait_log($app, qr/control/);
say_to($app, "You have control 2.0\n\n");
is wait_exit($app), 1 << 8, 'another version of the handshake is refused';
like $app->{log}, qr/^!> Error\n\nThe handshake began with 'You have control 2\.0'/m, 'with a sentence';
$app = launch();
close $app->{in};
is wait_exit($app), 1 << 8, 'no handshake at all';
like $app->{log}, qr/no handshake on standard input/, 'is told too';

done_testing;
